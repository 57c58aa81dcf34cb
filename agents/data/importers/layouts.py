"""Layouts that files of named arrays have, and what their arrays are: D4RL's and its kin have a row per step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from agents.data.importers.settings import ColumnsConfig
from agents.errors import DataError

PIECE = 1 << 14  # rows read at a time
# D4RL's timeouts are a time limit; d3rlpy's version 1 and others flag every end, of either kind
FLAGS = {"terminated": ("terminals", "terminations"), "truncated": ("timeouts", "truncations"),
         "done": ("episode_terminals", "dones")}  # fmt: skip


def flat_preset(names: Mapping[str, object]) -> ColumnsConfig:
    """What the arrays of a file with a row per step are."""
    if not {"observations", "actions"} <= names.keys():
        return ColumnsConfig()
    flags: dict[str, Any] = {use: next((name for name in known if name in names), None) for use, known in FLAGS.items()}
    reward = "rewards" if "rewards" in names else None
    following = ["next_observations"] if "next_observations" in names else []
    return ColumnsConfig(
        observation=["observations"],
        action=["actions"],
        next_observation=following,
        reward=reward,
        **flags,  # pyright: ignore
    )


def pieces(shapes: Mapping[str, tuple[int, ...]], file: str) -> Iterator[slice]:
    """Rows to read at a time from arrays of these shapes; a DataError where one is longer than another."""
    length, _ = Counter(shape[0] for shape in shapes.values()).most_common(1)[0]
    for name, shape in shapes.items():
        if shape[0] != length:
            raise DataError(
                f"{file}: {name!r} has {shape[0]} rows, the other arrays {length}: all need one for each step"
            )
    yield from (slice(start, min(start + PIECE, length)) for start in range(0, length, PIECE))
