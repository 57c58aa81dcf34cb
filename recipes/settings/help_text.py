"""What ``--help`` prints."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from omegaconf import MISSING

from agents.algorithms.registry import ALGORITHMS
from recipes.settings.overrides import RECIPES


def help_text(recipe: str, doc: str) -> str:
    """What ``--help`` prints: the recipe's docstring, then every setting with its default and the comment beside it."""
    parts = [doc.strip(), "\nSettings:", *_settings(RECIPES[recipe]())]
    if recipe == "train":
        for name, config in ALGORITHMS.items():
            parts += [f"\nSettings of algorithm={name}:", *_settings(config(), "algorithm.")]
    return "\n".join(parts)


def _settings(config: Any, prefix: str = "") -> Iterator[str]:
    comments = {}
    for cls in reversed(type(config).__mro__[:-1]):
        comments |= dict(re.findall(r"^    (\w+): [^#\n]*  # (.+)$", inspect.getsource(cls), re.MULTILINE))
    for entry in fields(config):
        value = getattr(config, entry.name)
        if is_dataclass(value):
            yield from _settings(value, f"{prefix}{entry.name}.")
            continue
        default = "" if value == MISSING else f"={_as_typed(value)}"
        comment = comments.get(entry.name, "").replace("None", "null")
        yield f"  {prefix}{entry.name}{default}".ljust(46) + f"  {comment}".rstrip()


def _as_typed(value: Any) -> str:
    """A value as it is written on the command line."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)
