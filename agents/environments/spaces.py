"""Spaces of observations and actions: which parts they have, what of them is learned from, and within which bounds.

Legend: ``A`` action.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from agents.environments.parts import Actions, Observations, Part, Path, path_name
from agents.errors import ConfigError, DataError


def observations_of(
    space: gym.Space, *, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> tuple[Observations, list[str]]:
    """The parts to learn from, and those that are left out though nobody asked for that, each with the reason.

    Args:
        include: names of parts, or of what holds them; (): all.
        exclude: the same, of those to leave out.

    Raises:
        ConfigError: a name that is none, or nothing is left.
        DataError: a picture that is asked for, or nothing that can be learned from.
    """
    found = list(leaves(space))
    names = [path_name(path) for _, path in found]
    for setting, chosen in (("include", include), ("exclude", exclude)):
        if unknown := [name for name in chosen if not any(_within(path, name) for _, path in found)]:
            raise ConfigError(
                f"observations.{setting}: the data have no part {unknown[0]!r}; there are {', '.join(names)}"
            )
    kept = [
        (part, path)
        for part, path in found
        if (not include or any(_within(path, name) for name in include))
        and not any(_within(path, name) for name in exclude)
    ]
    if not kept:
        raise ConfigError(f"observations.include and exclude leave nothing to learn from; there are {', '.join(names)}")
    pictures = [path for part, path in kept if part is not None and _is_picture(part, at(space, path))]
    parts = tuple(part for part, path in kept if part is not None and path not in pictures)
    if wanted := [path for path in pictures if not parts or path_name(path) in include]:
        way_out = "take it out of observations.include" if parts else "use data of vectors"
        picture = f"{path_name(wanted[0])!r} is a picture, {describe(at(space, wanted[0]))}"
        raise DataError(f"{picture}, and those are not learned from: {way_out}")
    if not parts:
        raise DataError(f"observations are in {describe(space)}, which is not learned from; numbers and categories are")
    left_out = [f"{path_name(path)} (a picture)" for path in pictures]
    return Observations(parts), left_out + [f"{path_name(path)} (no number)" for part, path in kept if part is None]


def actions_of(space: gym.Space) -> Actions:
    """How actions in a space are numbers; a DataError for one that is neither a Box nor made of categories."""
    actions = read_actions(space)
    if actions is None:
        raise DataError(
            f"actions are in {describe(space)}; supported are a Box, Discrete, MultiDiscrete and MultiBinary: write "
            "the dataset again with the parts of an action as one of these"
        )
    return actions


def leaves(space: gym.Space, path: Path = ()) -> Iterator[tuple[Part | None, Path]]:
    """The parts of a space that have none themselves, in gymnasium's order; None is one that cannot be learned from."""
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        inner = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        for key, part in inner:
            yield from leaves(part, (*path, key))
    elif isinstance(space, spaces.Discrete):
        yield Part(path, (), (int(space.n),), (int(space.start),)), path
    elif isinstance(space, spaces.MultiDiscrete):
        yield Part(path, space.nvec.shape, *_categories(space)), path
    elif isinstance(space, (spaces.Box, spaces.MultiBinary)):
        yield Part(path, tuple(space.shape)), path
    else:
        yield None, path


def bounds_of(space: spaces.Box) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The smallest and the largest value of each number of a Box, ``[A]``; infinite where it has none.

    Of whole numbers gymnasium writes the ends of their type in the place of infinite bounds: those of 32 bits and more
    bound nothing, of fewer they do.
    """
    low, high = (bound.reshape(-1).astype(np.float32) for bound in (space.low, space.high))
    if np.issubdtype(space.low.dtype, np.integer) and space.low.dtype.itemsize >= 4:
        dtype: Any = space.low.dtype
        ends = np.iinfo(dtype)
        if ends.min < 0:
            low[space.low.reshape(-1) == ends.min] = -np.inf
        high[space.high.reshape(-1) == ends.max] = np.inf
    return low, high


def at(space: Any, path: Path) -> gym.Space:
    """The space of a part."""
    for key in path:
        space = space.spaces[key]
    return space


def describe(space: gym.Space) -> str:
    """The space with its keys, start or shape, by which one knows it."""
    if isinstance(space, spaces.Dict):
        return f"a Dict of {', '.join(map(repr, space.spaces))}"
    if isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
        return f"a {space}"
    return f"a {type(space).__name__}" + (f" of shape {space.shape}" if space.shape is not None else "")


def read_actions(space: gym.Space) -> Actions | None:
    """``actions_of``, or None where there are none."""
    if isinstance(space, spaces.Discrete):
        return Actions((), (int(space.n),), (int(space.start),))
    if isinstance(space, spaces.MultiDiscrete):
        return Actions(space.nvec.shape, *_categories(space))
    if isinstance(space, spaces.MultiBinary):
        return Actions(tuple(space.shape), (2,) * math.prod(space.shape), (0,) * math.prod(space.shape))
    if isinstance(space, spaces.Box):
        return Actions(tuple(space.shape), integer=space.dtype is not None and space.dtype.kind in "iub")
    return None


def _categories(space: spaces.MultiDiscrete) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Numbers of categories, and the first index of each."""
    return tuple(space.nvec.flatten().tolist()), tuple(space.start.flatten().tolist())


def _is_picture(part: Part, space: gym.Space) -> bool:
    """A picture, as gymnasium and Minari have them, and not a matrix of numbers."""
    return len(part.shape) >= 3 or (len(part.shape) == 2 and space.dtype in (np.uint8, np.uint16))  # 16 bits: depths


def _within(path: Path, name: str) -> bool:
    """Whether a part, or something that holds it, has this name; a key may have periods itself."""
    return any(path_name(path[:depth]) == name for depth in range(min(1, len(path)), len(path) + 1))
