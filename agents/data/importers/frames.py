"""Pictures of an episode that are read when they are written: those of robots would not all go into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

from agents.data.importers.pictures import Picture


@dataclass(frozen=True)
class Frames:
    """Pictures of an episode, one after the other; what takes a column of them takes these."""

    count: int
    read: Callable[[], Iterator[Picture]]  # from the first on, again at each call

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Picture]:
        return islice(self.read(), self.count)

    def __getitem__(self, index: Any) -> Picture | Frames:
        """One, counted from the start; the first ones, by a slice; or those of rows that grow or stay, ``[K]``."""
        if isinstance(index, slice):
            return replace(self, count=min(self.count, self.count if index.stop is None else index.stop))
        if isinstance(index, int):
            return next(islice(self.read(), index, None))
        return Frames(len(index), partial(_of_rows, self.read, index.tolist()))


def _of_rows(read: Callable[[], Iterator[Picture]], rows: list[int]) -> Iterator[Picture]:
    pictures = enumerate(read())
    place, picture = next(pictures)
    for row in rows:
        while place < row:
            place, picture = next(pictures)
        yield picture
