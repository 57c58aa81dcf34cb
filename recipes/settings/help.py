"""The pages of ``--help``: from docstrings, from the comments beside the fields of dataclasses, and from presets."""

from __future__ import annotations

import ast
import contextlib
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass
from typing import Any, cast

from omegaconf import MISSING, DictConfig, OmegaConf

from recipes.settings.composition import compose, register
from recipes.settings.overrides import KEPT, as_typed, own_first
from recipes.settings.schema import CONF, RECIPES, presets

WIDTH, WIDEST = 120, 42  # columns of a page, and of a setting beside its comment
COMMENT = re.compile(r"^    (?:# (?P<heading>.+)|(?P<name>\w+): [^#\n]*  # (?P<comment>.+))$", re.MULTILINE)
OPTIONS = (
    "Options: -m seed=0,1 runs each combination of values in turn; --cfg job prints the settings (--resolve: in full)"
)


def docstring(recipe: str) -> str:
    """What a recipe is, without importing it."""
    return ast.get_docstring(ast.parse((CONF.parent / f"{recipe}.py").read_text())) or ""


def help_text(recipe: str, algorithm: str = "iql") -> str:
    """The recipe's docstring, then its settings with their defaults: in training also those of one algorithm."""
    register(recipe)
    training = recipe == "train"
    cfg = compose(recipe, [f"algorithm={algorithm}"] if training else [])
    rows = [*_settings(RECIPES[recipe](), cfg)]
    if training:
        rows[0] = (rows[0][0], f"algorithm={algorithm}", rows[0][2])
    lines = [docstring(recipe), "", "Settings, as NAME=VALUE:", *_layout(rows)]
    if recipe in KEPT:
        lines += ["", "Every other setting is one of the runs: offline-agents train --help lists them."]
    if training:
        config = OmegaConf.get_type(cfg, "algorithm")
        assert config is not None  # a dataclass is its schema
        lines += [f"Settings of algorithm={algorithm}:"]
        lines += _layout(_settings(config(), cfg.algorithm, "algorithm."))
        lines += _filled(f"Values of algorithm=, with a --help each: {', '.join(sorted(presets()))}", first="")
    return "\n".join([*lines, *([] if training else [""]), OPTIONS])


def _settings(config: Any, cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Of every setting the heading before it, how it is typed with its value in ``cfg``, and its comment."""
    comments, headings = field_comments(type(config))
    values = cast(dict, OmegaConf.to_container(cfg, resolve=False))
    for entry in own_first(config):
        default, value = getattr(config, entry.name), values[entry.name]
        if is_dataclass(default):
            yield from _settings(default, cfg[entry.name], f"{prefix}{entry.name}.")
        else:
            typed = "" if default == MISSING else f"={as_typed(value)}"  # each run has its own
            comment = comments.get(entry.name, "").replace("None", "null")
            yield headings.get(entry.name, ""), f"{prefix}{entry.name}{typed}", comment


def field_comments(config: type) -> tuple[dict[str, str], dict[str, str]]:
    """The comment beside each field of a dataclass, and those alone on a line, by the field that follows."""
    comments, headings = {}, {}
    for cls in reversed(config.__mro__[:-1]):
        heading = ""
        with contextlib.suppress(OSError, TypeError):  # a class that was made without a file
            for line in COMMENT.finditer(inspect.getsource(cls)):
                if line["heading"]:
                    heading = line["heading"]
                else:
                    comments[line["name"]] = line["comment"]
                    headings[line["name"]], heading = heading, ""
    return comments, headings


def _layout(rows: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """A line for each setting; several to a line where they have been explained above, as of a second network."""
    rows = [*rows]
    column = min(WIDEST, max(len(setting) for _, setting, _ in rows)) + 4
    explained, repeated = set(), []
    for heading, setting, comment in rows:
        if comment in explained:
            repeated.append(setting)
            continue
        yield from _filled("  ".join(repeated))
        explained.add(comment)
        repeated = []
        if heading:
            yield f" {heading}"
        first, *others = textwrap.wrap(comment, WIDTH - max(column, len(setting) + 4)) or [""]
        yield (f"  {setting}".ljust(column - 2) + f"  {first}").rstrip()
        yield from (" " * column + line for line in others)
    yield from _filled("  ".join(repeated))


def _filled(text: str, first: str = "  ") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent="  ", break_on_hyphens=False)
