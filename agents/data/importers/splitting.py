"""Rows -> episodes: cut where a column changes, behind flags, at gaps in time, or at the end of a file.

Legend: ``n`` rows of a piece, ``R`` rows of an episode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.data.importers.columns import Block, Selection
from agents.data.importers.rows import Array
from agents.errors import DataError

ENDS = ("terminated", "truncated", "done")


@dataclass(frozen=True)
class Recording:
    """The rows of one episode."""

    parts: dict[str, Array]  # [R, ...] each
    blocks: Sequence[Block]

    def place(self, index: int) -> str:
        """Where a person finds a row."""
        for block in self.blocks:
            if index < (length := len(block.parts["action"])) or block is self.blocks[-1]:
                return block.rows.place(index)
            index -= length
        raise IndexError(index)


@dataclass(frozen=True)
class Cuts:
    """Where one episode ends and the next begins."""

    selection: Selection
    gap: float | None  # seconds, or in the unit of the times

    @property
    def rule(self) -> str:
        """For a person."""
        single = self.selection.single
        rules = [f"the column {single['episode']!r}"] if "episode" in single else []
        rules += [f"the flags {', '.join(repr(single[flag]) for flag in self.flags)}"] if self.flags else []
        rules += [] if self.gap is None else [f"gaps of more than {self.gap:g} in {single['time']!r}"]
        other = ["where an observation is not the next one of the row before"]
        rules += other if "next_observation" in self.selection.vectors else []
        return " and ".join(["the files, each one episode"] * self.by_files + rules)

    @property
    def flags(self) -> list[str]:
        """Those that end episodes: with a column that names these, they say how one ended."""
        single = self.selection.single
        return [] if "episode" in single else [use for use in ENDS if use in single]

    @property
    def by_files(self) -> bool:
        """Whether nothing but the end of a file ends an episode."""
        return not self.flags and self.gap is None and "episode" not in self.selection.single

    def episodes(self, blocks: Iterator[Block]) -> Iterator[Recording]:
        """The episodes, one in memory at a time.

        Raises:
            DataError: rows of an episode are not together, or not in the order of time.
        """
        held: list[Block] = []
        before: Block | None = None
        seen: set[object] = set()
        for block in blocks:
            if not len(block.parts["action"]):
                continue
            if block.rows.whole:
                yield Recording(dict(block.parts), [block])
                continue
            named, num_rows = self._named(block, before), len(block.parts["action"])
            begins = named | self._begins(block, before)
            starts: list[int] = np.flatnonzero(begins).tolist()
            for start, stop in zip([0, *starts], [*starts, num_rows]):
                if start == stop:  # the first row begins an episode
                    continue
                if begins[start] and held:
                    yield _join(held)
                    held = []
                if named[start]:
                    _require_new(block, start, seen)
                held.append(block.cut(start, stop))
            before = block.cut(num_rows - 1, num_rows)
        if held:
            yield _join(held)

    def _named(self, block: Block, before: Block | None) -> NDArray[np.bool_]:
        """Which rows are the first with the name of an episode, ``[n]``."""
        if "episode" not in block.parts:
            return np.zeros(len(block.parts["action"]), bool)
        values = _with_row_before(block, before, "episode")
        named = values[1:] != values[:-1]
        named[0] |= before is None
        return named

    def _begins(self, block: Block, before: Block | None) -> NDArray[np.bool_]:
        """Which rows begin an episode, ``[n]``."""
        begins = np.zeros(len(block.parts["action"]), bool)
        if before is None:
            begins[0] = True

        for flag in self.flags:
            begins[0] |= before is not None and before.parts[flag][0]
            begins[1:] |= block.parts[flag][:-1]
        if self.gap is not None:
            begins |= seconds(np.diff(_with_row_before(block, before, "time"))) > self.gap
        if self.by_files:
            begins[0] |= before is not None and before.rows.file != block.rows.file
        if "next_observation" in block.parts:
            observations = _with_row_before(block, before, "observation")
            following = _with_row_before(block, before, "next_observation")
            begins[differences(following[:-1], observations[1:])] = True
        return begins


def _with_row_before(block: Block, before: Block | None, use: str) -> Array:
    """A part ``[n + 1]`` of the rows and the one above them; above the first row is that row itself."""
    values = block.parts[use]
    return np.concatenate([values[:1] if before is None else before.parts[use], values])


def differences(some: Array, others: Array) -> NDArray[np.int64]:
    """Rows in which they differ by more than rounding; what is missing may be anything."""
    if some.shape[1:] != others.shape[1:]:
        shapes = f"{[*some.shape[1:]]}, and observations of {[*others.shape[1:]]}"
        raise DataError(f"next observations are of shape {shapes}: name the same for both")
    alike = np.isclose(some, others) | np.isnan(some) | np.isnan(others)
    return np.flatnonzero(~alike.reshape(len(some), -1).all(1))


def seconds(differences: Array) -> Array:
    """Differences of times; of dates in seconds."""
    return differences / np.timedelta64(1, "s") if differences.dtype.kind == "m" else differences


def _require_new(block: Block, row: int, seen: set[object]) -> None:
    value = block.parts["episode"][row]
    if value is None or value == "" or value != value:
        raise DataError(f"{block.rows.place(row)} is of no episode: write its name into each of its rows")
    if value in seen:
        raise DataError(
            f"{block.rows.place(row)}: episode {value!r} comes back after another one; sort the rows by episode and "
            "time, or set sort=true"
        )
    seen.add(value)


def _join(blocks: Sequence[Block]) -> Recording:
    parts = {use: [block.parts[use] for block in blocks] for use in blocks[0].parts}
    joined = {use: arrays[0] if len(arrays) == 1 else np.concatenate(arrays) for use, arrays in parts.items()}
    return Recording(joined, [Block({"action": block.parts["action"]}, block.rows) for block in blocks])
