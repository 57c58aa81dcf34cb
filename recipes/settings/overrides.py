"""Settings as they are typed: how a value is written, and which a comparison or a sweep hands on to its runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from recipes.settings.schema import RECIPES, TrainConfig

# settings of train.py that these two do not hand on: they have one of their own, or choose the value
OF_SWEEP = ("seed", "seeds", "stack", "run_dir", "resume", "overwrite", "logger", "wandb")
KEPT = {"compare": ("algorithm", "dataset", *OF_SWEEP), "sweep": OF_SWEEP}
SAFE = re.compile(r"[\w./:+-]+")  # what Hydra reads as it stands


def key_names(config: Any, prefix: str = "") -> Iterator[str]:
    """Every key of a config, nested ones with dots."""
    for entry in fields(config):
        yield prefix + entry.name
        value = getattr(config, entry.name)
        if is_dataclass(value):
            yield from key_names(value, f"{prefix}{entry.name}.")


def handed_on(key: str, recipe: str) -> bool:
    """Whether a recipe gives a setting to each of its runs."""
    if recipe not in KEPT:
        return False
    known = {name for name in key_names(TrainConfig()) if name.split(".")[0] not in KEPT[recipe]}
    return key in known or key.startswith("algorithm.")


def split(arguments: Sequence[str], recipe: str) -> tuple[list[str], list[str]]:
    """Arguments as Hydra reads them: settings of the recipe, and those handed on to its runs; W&B's are both.

    Lists of a recipe that has runs may be written with commas alone.
    """
    lists = {name for name, value in vars(RECIPES[recipe]()).items() if isinstance(value, list) and recipe in KEPT}
    own, others = [], []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key in lists and value[:1] not in ("", "["):
            argument = f"{key}=[{value}]"
        elif argument == "--json" and recipe == "inspect_dataset":
            argument = "json=true"
        if handed_on(key, recipe):
            others.append(argument)
        else:
            own.append(argument)
        if key.startswith("wandb."):
            others.append(argument)
    return own, others


def as_typed(value: Any) -> str:
    """A value as Hydra's command line takes it."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, list):
        return f"[{','.join(map(as_typed, value))}]"
    return quoted(value)


def quoted(value: object) -> str:
    """A text as Hydra's command line takes it, whatever characters it has."""
    text = str(value)
    if SAFE.fullmatch(text):
        return text
    # there a backslash is itself, except before a quotation mark
    return "'" + re.sub(r"(\\*)('|$)", lambda match: 2 * match[1] + (match[2] and "\\'"), text) + "'"
