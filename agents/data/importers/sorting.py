"""Rows in any order -> the same rows, those of an episode together and by time. Legend: ``N`` rows of the log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.data.importers.columns import Block, Selection
from agents.data.importers.rows import Array, Rows
from agents.errors import ConfigError, DataError

LIMIT = 700e6  # bytes of rows; putting them in order takes some more
PIECE = 1 << 14  # rows handed on at a time


@dataclass(frozen=True)
class Reordered(Rows):
    """Rows that know where they were."""

    order: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # [N] places in the log
    pieces: Sequence[Rows] = ()  # of the log
    starts: Sequence[int] = ()  # the place of the first row of each

    def place(self, index: int) -> str:
        row = int(self.order[self.first + index])
        piece = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.pieces[piece].place(row - self.starts[piece])


def in_order(blocks: Iterator[Block], selection: Selection) -> Iterator[Block]:
    """All rows, episodes in the order of their first rows; without times, rows of an episode stay as they are.

    Raises:
        ConfigError: there is nothing to sort by.
        DataError: the rows do not fit into memory.
    """
    if not {"episode", "time"} & selection.single.keys():
        raise ConfigError("sort=true needs something to sort by: name columns.episode, columns.time or both")
    held: list[Block] = []
    size = 0.0
    for block in blocks:
        if block.rows.whole:
            raise ConfigError("sort=true is for tables of rows; this log has whole episodes: leave it out")
        held.append(Block(block.parts, block.rows if not held else replace(block.rows, columns={})))
        size += sum(map(_num_bytes, block.parts.values()))
        if size > LIMIT:
            raise DataError(
                f"{block.rows.file}: sort=true holds all rows in memory, at most {LIMIT / 1e6:.0f} MB of them; sort "
                "the log before, by episode and time, or import a part of its columns"
            )
    if held:
        yield from _reordered(held)


def _reordered(held: list[Block]) -> Iterator[Block]:
    lengths = [len(block.parts["action"]) for block in held]
    starts, pieces = [0, *np.cumsum(lengths)[:-1].tolist()], [block.rows for block in held]
    parts: dict[str, Array] = {}
    for use in held[0].parts:
        parts[use] = np.concatenate([block.parts[use] for block in held])
    del held
    keys = [parts["time"]] if "time" in parts else []
    if "episode" in parts:
        keys.append(_codes(parts["episode"]))
    order = np.lexsort(keys)  # stable; the last key counts most
    for start in range(0, len(order), PIECE):
        rows = order[start : start + PIECE]
        place = Reordered(pieces[0].columns, pieces[0].file, start, order=order, pieces=pieces, starts=starts)
        yield Block({use: part[rows] for use, part in parts.items()}, place)


def _codes(labels: Array) -> NDArray[np.int64]:
    """Of each label the number of its first row among the others', ``[N]``."""
    known: dict[Any, int] = {}
    return np.fromiter((known.setdefault(label, len(known)) for label in labels.tolist()), np.int64, len(labels))


def _num_bytes(part: Array) -> float:
    """About: of texts 60 bytes each, of pictures what they are."""
    if part.dtype.kind != "O":
        return part.nbytes
    return sum(len(each) if isinstance(each, bytes) else getattr(each, "nbytes", 60) for each in part)
