"""Rows of a log as a format reads them: pieces of a table, or whole episodes.

Legend: ``n`` rows of a piece.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from agents.data.importers.settings import ColumnsConfig
from agents.errors import DataError

Array = NDArray[Any]


@dataclass(frozen=True)
class Rows:
    """Rows that lie one below the other, in the types that the format's own reader gives."""

    columns: Mapping[str, Array]  # [n, ...] each; of a whole episode, observations may be [n + 1, ...]
    file: str
    first: int = 0  # number of the first row in its file
    line_of: Callable[[int], int] | None = None  # where a row is, as an editor counts; None: it is no text
    whole: bool = False  # an episode, all of it
    ends_bare: bool = False  # the last row is there for its observation alone: its action and reward mean nothing

    def place(self, index: int) -> str:
        """Where a person finds a row."""
        if self.whole:
            return f"step {index} of {self.file}"
        row = self.first + index
        return f"row {row} of {self.file}" if self.line_of is None else f"line {self.line_of(row)} of {self.file}"


@dataclass(frozen=True)
class Log(ABC):
    """A log in one format, as far as its headers describe it."""

    files: Sequence[Path]
    kind: str  # CSV
    columns: Mapping[str, str]  # what there is, with its type
    num_rows: int | None  # about, for the progress bar; None: nobody knows
    preset: ColumnsConfig = field(default_factory=ColumnsConfig)  # what the format itself says of them
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)  # of the numbers of a column, where they have any
    facts: Mapping[str, str] = field(default_factory=dict)  # what else the format says of what, for a person
    metadata: Mapping[str, Any] = field(default_factory=dict)  # the same, for the dataset's
    subsets: Mapping[str, int] = field(default_factory=dict)  # of its episodes, by their names; how many are in each
    subset: str | None = None  # the one that is read; None: all
    units: Mapping[str, str] = field(default_factory=dict)  # of columns, where the format has them
    rule: ClassVar[str] = "what it is made of"  # that cuts it into episodes, where it has whole ones

    @property
    def name(self) -> str:
        """For a person, of what its columns are."""
        return self.files[0].name

    @property
    def title(self) -> str:
        """Its format, for a person."""
        return f"{self.kind}, {len(self.files)} files" if len(self.files) > 1 else self.kind

    @abstractmethod
    def read(self, uses: Mapping[str, str]) -> Iterator[Rows]:
        """The rows, with the columns that are used: each as a ``number``, ``flag``, ``time``, ``label``,
        ``picture`` (encoded, as bytes, or ``[H, W, C]``) or ``any``thing."""


def of_each_step(value: Array, length: int, use: str, name: str) -> Array:
    """A value of an episode as those of its steps, ``[length]``: a flag is about the last, a text or id about each."""
    if use == "flag":
        return flags_at_the_end(length, bool(value))
    if use == "number":
        raise DataError(f"{name!r} is one value of an episode, where each step needs its own")
    return np.repeat(np.asarray(value)[None], length, axis=0)


def flags_at_the_end(length: int, value: bool) -> NDArray[np.bool_]:
    """A flag of an episode as one of its steps, ``[length]``: it is about the last."""
    return (np.arange(length) == length - 1) & value
