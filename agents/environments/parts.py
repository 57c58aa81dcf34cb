"""Observations and actions as numbers: an observation of any kind becomes one vector.

A part that is a category (Discrete, MultiDiscrete) is kept as its index and becomes a one-hot; numbers and bits stay
what they are. Actions become a vector, an index, or several indices that all count from 0.

Legend: ``T`` rows, ``S`` numbers that are kept of an observation, ``O`` observation, ``A`` action.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Path = tuple[str | int, ...]
WHOLE = "observation"  # name of a space that has no parts


def path_name(path: Path) -> str:
    """The keys and places that lead to a part, as one writes them."""
    return ".".join(map(str, path)) or WHOLE


@dataclass(frozen=True)
class Part:
    """A part of a space that has no parts itself."""

    path: Path  # keys of Dicts and places in Tuples that lead there; (): the space is this one part
    shape: tuple[int, ...]  # of a value
    categories: tuple[int, ...] = ()  # of each number; (): they are numbers, no indices
    starts: tuple[int, ...] = ()  # the first index of each
    labels: tuple[str, ...] = field(default=(), compare=False, repr=False)  # of its numbers, where the data have any
    words: tuple[str, ...] = field(default=(), compare=False, repr=False)  # the same of its categories

    @property
    def name(self) -> str:
        return path_name(self.path)

    @property
    def width(self) -> int:
        """Numbers that are kept of it."""
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Dimensions that it has in an observation."""
        return sum(self.categories) if self.categories else self.width

    def column_names(self) -> list[str]:
        """Of the numbers that are kept."""
        return [*self.labels] or [".".join((self.name, *map(str, place))) for place in np.ndindex(self.shape)]

    def names(self) -> list[str]:
        """Of the dimensions in an observation: ``goal.0`` of numbers, ``state=3`` of categories."""
        if not self.categories:
            return self.column_names()
        ranges = (range(start, start + count) for start, count in zip(self.starts, self.categories))
        pairs = [(name, value) for name, values in zip(self.column_names(), ranges) for value in values]
        return [f"{name}={word}" for (name, _), word in zip(pairs, self.words or [value for _, value in pairs])]

    def columns(self, values: Any) -> NDArray[Any]:
        """Values ``[T, *shape]``, or one ``[*shape]``, as the numbers that are kept, ``[T, S]`` or ``[S]``."""
        array = np.asarray(values)
        array = array.reshape(*array.shape[: array.ndim - len(self.shape)], self.width)
        return array - np.array(self.starts) if any(self.starts) else array

    def read(self, value: Any) -> Any:
        """This part of a value of the whole space."""
        for key in self.path:
            value = value[key]
        return value


@dataclass(frozen=True)
class Observations:
    """The parts of an observation space that are learned from, in gymnasium's order."""

    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """O, the dimensions of an observation."""
        return sum(part.size for part in self.parts)

    @property
    def num_columns(self) -> int:
        """S, the numbers that are kept of it."""
        return sum(part.width for part in self.parts)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the dimensions of an observation, ``[O]``."""
        return tuple(name for part in self.parts for name in part.names())

    @property
    def column_names(self) -> tuple[str, ...]:
        """Of the numbers that are kept, ``[S]``."""
        return tuple(name for part in self.parts for name in part.column_names())

    @property
    def categories(self) -> tuple[int | None, ...]:
        """Of the numbers that are kept, ``[S]``: how many categories one has, None where it is a number."""
        return tuple(count for part in self.parts for count in part.categories or (None,) * part.width)

    @property
    def plain(self) -> bool:
        """Whether an environment's observation is the vector already."""
        first = self.parts[0]
        return not (first.path or first.categories) and len(first.shape) == 1

    @property
    def named(self) -> bool:
        """Whether its dimensions have names, and not places alone."""
        return not self.plain or bool(self.parts[0].labels)

    def columns(self, values: Sequence[Any]) -> NDArray[Any]:
        """The parts' values, each ``[T, *shape]`` or one ``[*shape]``, as the numbers that are kept."""
        columns = [part.columns(value) for part, value in zip(self.parts, values)]
        return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=-1)

    def vector(self, observation: Any) -> NDArray[np.float64]:
        """An environment's observation as the vector, ``[O]``; a ValueError for a category that its space has not."""
        columns = self.columns([part.read(observation) for part in self.parts])
        return columns.astype(np.float64) if not any(self.categories) else self.one_hot(columns)

    def one_hot(self, columns: NDArray[Any]) -> NDArray[np.float64]:
        """Numbers that are kept, ``[S]``, as the vector ``[O]``."""
        pieces = []
        for column, (value, count) in enumerate(zip(columns, self.categories)):
            pieces.append(np.array([value], np.float64) if count is None else (np.arange(count) == value) * 1.0)
            if count is not None and not pieces[-1].any():
                raise ValueError(f"{self.column_names[column]!r} is category {value:g} of {count}, counted from 0")
        return np.concatenate(pieces)


@dataclass(frozen=True)
class Actions:
    """An action space: a Box, or one or more categories."""

    shape: tuple[int, ...]  # of an action in the environment
    categories: tuple[int, ...] = ()  # of each index, from 0 on; (): a Box
    starts: tuple[int, ...] = ()  # what the environment counts each from
    integer: bool = False  # the environment takes whole numbers: those of a Box are rounded
    labels: tuple[str, ...] = field(default=(), compare=False, repr=False)  # of its numbers, where the data have any
    words: tuple[str, ...] = field(default=(), compare=False, repr=False)  # the same of its categories

    @property
    def single(self) -> bool:
        """Whether an action is one index, ``[T]``, and not a vector ``[T, A]``."""
        return self.shape == () and bool(self.categories)

    @property
    def size(self) -> int:
        """A: numbers of an action."""
        return math.prod(self.shape)

    @property
    def plain(self) -> bool:
        """Whether the environment takes what a policy gives."""
        return not any(self.starts) and not self.integer and (self.single or len(self.shape) == 1)

    def columns(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Recorded actions ``[T, *shape]`` as numbers ``[T, A]``, indices from 0."""
        columns = actions.reshape(len(actions), self.size)
        return columns - np.array(self.starts) if any(self.starts) else columns

    def for_environment(self, action: NDArray[Any]) -> Any:
        """A policy's action as the environment takes it."""
        if self.categories:
            value = np.asarray(action, np.int64).reshape(self.shape) + np.array(self.starts, np.int64).reshape(
                self.shape
            )
            return value if self.shape else int(value)
        value = np.asarray(action).reshape(self.shape)
        return np.rint(value).astype(np.int64) if self.integer else value
