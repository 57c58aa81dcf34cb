"""A walk on a line, whose episodes end in both ways, and data recorded in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torchrl.data import Bounded, Unbounded

from agents.data.layout import DEFAULT_KEYS, Layout
from agents.data.specs import Specs
from agents.environments.environment import EvaluationEnv
from agents.online.experience import Experience

LAYOUT = Layout((None, None), 1, single_index=False, discrete=False)
WALK = "test/Walk-v0"


class Walk(gym.Env):
    """A place and the action before, from a random start; it ends at 1, is noisy, and pays the place."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.before = self.np_random.normal(scale=0.6), 0.0
        return np.array([self.place, self.before]), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place += 0.3 * float(action[0]) + self.np_random.normal(scale=0.1)
        self.before = float(action[0])
        return np.array([self.place, self.before]), self.place, self.place > 1.0, False, {}


@pytest.fixture
def walk() -> Iterator[EvaluationEnv]:
    """The environment, cut off after five steps."""
    gym.register(WALK, Walk, max_episode_steps=5)
    with EvaluationEnv(WALK) as env:
        yield env
    del gym.registry[WALK]


@pytest.fixture
def specs() -> Specs:
    low, high = torch.tensor([-1.0]), torch.tensor([1.0])
    zero, one = torch.zeros(2), torch.ones(2)
    return Specs(Unbounded(2), Bounded(low, high, (1,)), zero, one)


@pytest.fixture
def experience(tmp_path: Path) -> Iterator[Callable[..., Experience]]:
    """``experience(capacity=...)`` of the walk, in a file of its own."""
    made: list[Experience] = []

    def make(**options: Any) -> Experience:
        file = options.pop("file", tmp_path / f"{len(made)}.f32")
        made.append(Experience(file, options.pop("layout", LAYOUT), **{"keys": DEFAULT_KEYS, **options}))
        return made[-1]

    yield make
    for each in made:
        each.close()
