"""An environment met with the numbers that its data became: checked against them, and adapted to them.

Legend: ``O`` observation, ``A`` action.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from agents.environments.parts import Actions, Observations, Part
from agents.environments.spaces import at, bounds_of, describe, leaves, read_actions

Bounds = tuple[NDArray[Any], NDArray[Any]]  # the lowest and the highest action, [A] each


@dataclass(frozen=True)
class Spaces:
    """How observations and actions of an environment are numbers."""

    observations: Observations
    actions: Actions

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Spaces:
        """Inverse of ``to_json``; a KeyError, TypeError or ValueError for what that does not write."""
        parts = [Part(**_with_tuples(part)) for part in values["observations"]["parts"]]
        read = cls(Observations(tuple(parts)), Actions(**_with_tuples(values["actions"])))
        _check_numbers(read)
        return read

    def mismatch(self, env: gym.Env) -> tuple[str, str, str] | None:
        """What an environment has otherwise, what it is there, and what it is here; None: it fits."""
        theirs = {path: part for part, path in leaves(env.observation_space)}
        for part in self.observations.parts:
            if theirs.get(part.path) != part:
                there = at(env.observation_space, part.path) if part.path in theirs else env.observation_space
                what = f"{part.name!r} among its observations" if part.path in theirs and part.path else "observations"
                return what, describe(there), _in_words(part, whole=what == "observations")
        if self.actions == read_actions(env.action_space):
            return None
        return "actions", describe(env.action_space), _in_words(self.actions)

    def adapt(self, env: gym.Env, *, bounds: Bounds | None = None) -> gym.Env:
        """An environment that fits, with observations and actions as numbers; the bounds are for actions without."""
        space = env.action_space
        bounded = not isinstance(space, spaces.Box) or space.is_bounded()
        return env if self.observations.plain and self.actions.plain and bounded else Adapted(env, self, bounds)


class Adapted(gym.Wrapper):
    """An environment whose observations are vectors, and whose actions are vectors or indices from 0."""

    def __init__(self, env: gym.Env, numbers: Spaces, bounds: Bounds | None) -> None:
        super().__init__(env)
        self._numbers = numbers
        self.observation_space = spaces.Box(-np.inf, np.inf, (numbers.observations.size,), np.float64)
        actions, space = numbers.actions, env.action_space
        if actions.single:
            self.action_space = spaces.Discrete(actions.categories[0])
        elif actions.categories:
            self.action_space = spaces.MultiDiscrete([*actions.categories])
        elif isinstance(space, spaces.Box):
            theirs = bounds_of(space)
            low, high = (np.where(np.isfinite(bound), bound, ours) for bound, ours in zip(theirs, bounds or theirs))
            self.action_space = spaces.Box(low, high, dtype=np.float32)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(**kwargs)
        return self._numbers.observations.vector(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        given = self._numbers.actions.for_environment(action)
        if self._numbers.actions.integer:
            space: Any = self.env.action_space
            given = given.clip(space.low, space.high).astype(space.dtype)  # -1 would be 255 of an unsigned byte
        observation, reward, terminated, truncated, info = self.env.step(given)
        return self._numbers.observations.vector(observation), reward, terminated, truncated, info


def _in_words(numbers: Part | Actions, *, whole: bool = False) -> str:
    """The kind of space that it comes from; ``whole``: of one that has parts, that this is one of them."""
    if whole and isinstance(numbers, Part) and numbers.path:
        return f"something with {numbers.name!r}"
    if not numbers.categories:
        kind = "whole numbers, " if isinstance(numbers, Actions) and numbers.integer else ""
        return f"a Box of {kind}shape {numbers.shape}"
    if numbers.shape == ():
        return f"a {spaces.Discrete(numbers.categories[0], start=numbers.starts[0])}"
    return f"categories of {list(numbers.categories)}"


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in dict(values).items()}


def _check_numbers(read: Spaces) -> None:
    """A ValueError where sizes are none, or there is nothing to observe."""
    if not read.observations.parts or any(type(part.path) is not tuple for part in read.observations.parts):
        raise ValueError(f"{read.observations} are no parts")
    for numbers in (*read.observations.parts, read.actions):
        counts = (*numbers.shape, *numbers.categories)
        if not all(type(count) is int and count >= 0 for count in counts) or len(numbers.categories) != len(
            numbers.starts
        ):
            raise ValueError(f"{numbers} is no space")
        for names, count in (
            (numbers.labels, math.prod(numbers.shape)),
            (numbers.words, sum(numbers.categories)),
        ):
            if not all(isinstance(name, str) for name in names) or len(names) not in (0, count):
                raise ValueError(f"{names} are no names of {numbers}")
