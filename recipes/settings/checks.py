"""Checks of settings that several recipes have: each refuses, by a ConfigError, what it names."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agents.data.importers.settings import ENDINGS
from agents.errors import ConfigError, require, require_choice


def require_counts(config: object, *names: str, prefix: str = "") -> None:
    """Refuse counts below 1; None, where it is allowed, is none."""
    for name in names:
        value = getattr(config, name)
        require(value is None or value >= 1, f"{prefix}{name}", "be at least 1", value)


def require_different(name: str, values: Sequence[Any]) -> None:
    """Refuse an empty list, or one that names something twice."""
    require(len(values) > 0 and len({*values}) == len(values), name, "be different ones, at least one", values)


def require_seeds(values: Sequence[int]) -> None:
    """Refuse seeds that are not different ones, or not seeds."""
    require_different("seeds", values)
    for value in values:
        require_seed("seeds", value)


def require_seed(name: str, value: int, limit: int = 2**63) -> None:
    """Refuse what a generator of random numbers does not take: torch's, unless the limit is another."""
    whole = isinstance(value, int)  # a dictionary may have come into a list
    require(whole and 0 <= value < limit, name, f"be at least 0 and below 2^{limit.bit_length() - 1}", value)


def require_dataset_id(name: str, value: str) -> None:
    """Refuse what is no dataset's name but a path: folders are called by it, and would be the user's own."""
    is_log = value.endswith(tuple(ending for endings in ENDINGS.values() for ending in endings))
    if not value or value[0] in "/~." or ".." in Path(value).parts or "\\" in value or is_log:
        way_out = "give the id of a dataset, as D4RL/pen/human-v2; another store of such is MINARI_DATASETS_PATH"
        if is_log or Path(value).expanduser().exists():
            way_out = f"first make a dataset of it: offline-agents import source={value} dataset=robot/arm-v0"
        raise ConfigError(f"{name}={value} names no dataset of Minari's: {way_out}")


def require_action_bounds(value: Any) -> None:
    """Refuse bounds of actions that are none; whether there are as many as actions, the data say."""
    if isinstance(value, str):
        require_choice("action_bounds", value, ("declared", "data"))
    else:
        numbers = isinstance(value, Sequence) and len(value) == 2
        require(numbers, "action_bounds", "be declared, data or [low,high]", value)


def require_checkpoint(config: object) -> None:
    """Refuse a checkpoint that is nowhere, before torch is imported; of one in W&B and of what is in it, others say."""
    name = getattr(config, "checkpoint", None)
    if name is not None and not name.startswith("wandb:") and not os.path.exists(name):
        raise ConfigError(f"no checkpoint at {name}")


def require_place(name: str, folder: str | os.PathLike[str]) -> None:
    """Refuse a folder that cannot be made or written, before the work whose results it is to hold."""
    path = Path(folder).absolute()
    there = next(filter(os.path.lexists, (path, *path.parents)), path)  # a link that leads nowhere is in the way
    try:
        with tempfile.TemporaryFile(dir=there):  # rights say little: root has them all, in /proc too
            return
    except OSError as error:
        problem = f"cannot write to {folder}: {there} is no folder that may be written"
        raise ConfigError(f"{problem}; name another place by {name}=...") from error
