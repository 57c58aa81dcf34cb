"""The text of ``--help``; no recipe has to be imported for it."""

from __future__ import annotations

import ast
import inspect
import re
import signal
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from agents.algorithms.registry import ALGORITHMS
from recipes.settings.overrides import as_typed
from recipes.settings.presets import CONF, preset_files
from recipes.settings.schema import RECIPES


def show(text: str) -> None:
    """Print a text of which not all may be read, as in ``--help | head``."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    print(text)


def docstring(recipe: str) -> str:
    script = Path(CONF).parent / f"{recipe}.py"
    return ast.get_docstring(ast.parse(script.read_text())) or ""


def help_text(recipe: str) -> str:
    """The recipe's docstring, then every setting with its default and the comment beside it."""
    parts = [docstring(recipe), "\nSettings:", *_settings(RECIPES[recipe]())]
    if recipe == "train":
        for name, config in ALGORITHMS.items():
            parts += [f"\nSettings of algorithm={name}:", *_settings(config(), "algorithm.")]
        parts.append(f"\nFurther presets for algorithm=: {', '.join(sorted(preset_files() - ALGORITHMS.keys()))}")
    return "\n".join(parts)


def _settings(config: Any, prefix: str = "") -> Iterator[str]:
    comments = {}
    for cls in reversed(type(config).__mro__[:-1]):
        comments |= dict(re.findall(r"^    (\w+): [^#\n]*  # (.+)$", inspect.getsource(cls), re.MULTILINE))
    own_first = sorted(fields(config), key=lambda entry: bool(entry.kw_only))  # those that algorithms share come last
    for entry in own_first:
        value = getattr(config, entry.name)
        if is_dataclass(value):
            yield from _settings(value, f"{prefix}{entry.name}.")
            continue
        default = "" if value == MISSING else f"={as_typed(value)}"
        comment = comments.get(entry.name, "").replace("None", "null")
        yield f"  {prefix}{entry.name}{default}".ljust(46) + f"  {comment}".rstrip()
