"""Pictures of an episode that are read when they are written: those of robots would not all go into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

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

    def __getitem__(self, index: int | slice) -> Picture | Frames:
        """A picture from the start, or the first ones."""
        if isinstance(index, slice):
            return replace(self, count=min(self.count, self.count if index.stop is None else index.stop))
        return next(islice(self.read(), index, None))
