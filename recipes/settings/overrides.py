"""Settings as they are typed: which there are, and which a comparison or a sweep hands on to its runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from recipes.settings.schema import (
    CompareConfig,
    DashboardConfig,
    EvaluateConfig,
    InspectConfig,
    SweepConfig,
    TrainConfig,
)

RECIPES = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "compare": CompareConfig,
    "sweep": SweepConfig,
    "inspect_dataset": InspectConfig,
    "dashboard": DashboardConfig,
}
# settings of train.py that these two do not hand on: they have one of their own, or choose the value
OF_SWEEP = ("seed", "seeds", "stack", "run_dir", "resume", "overwrite", "logger", "wandb")
KEPT = {"compare": ("algorithm", "dataset", *OF_SWEEP), "sweep": OF_SWEEP}


def key_names(config: Any, prefix: str = "") -> Iterator[str]:
    """Every key of a config, nested ones with dots."""
    for entry in fields(config):
        yield prefix + entry.name
        value = getattr(config, entry.name)
        if is_dataclass(value):
            yield from key_names(value, f"{prefix}{entry.name}.")


def handed_on(key: str, recipe: str) -> bool:
    """Whether ``recipes/compare.py`` or ``recipes/sweep.py`` gives a setting to each run."""
    known = {name for name in key_names(TrainConfig()) if name.split(".")[0] not in KEPT[recipe]}
    return key in known or key.startswith("algorithm.")


def split(arguments: Sequence[str], recipe: str) -> tuple[list[str], list[str]]:
    """What was typed, into settings of this recipe and those that are handed on to every run; W&B's are both.

    Lists of the recipe's own may be written with commas alone.
    """
    lists = {name for name, value in vars(RECIPES[recipe]()).items() if isinstance(value, list)}
    own, others = [], []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key in lists and value[:1] not in ("", "["):
            argument = f"{key}=[{value}]"
        if handed_on(key, recipe):
            others.append(argument)
        else:
            own.append(argument)
        if key.startswith("wandb."):
            others.append(argument)
    return own, others
