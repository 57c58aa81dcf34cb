"""What an environment raises, or gives against its own word, as one line for the person at the keyboard.

Environments come from everywhere: whatever one does wrong is a DataError that names it, and no bug of this project.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np

from agents.errors import AgentsError, DataError, one_line

WAY_OUT = "name one that works by eval_env=ID"


@contextlib.contextmanager
def one_line_of(problem: str) -> Iterator[None]:
    """Around a call into an environment: what it raises is ``<problem>: <its message>; <the way out>``."""
    try:
        yield
    except AgentsError:
        raise
    except (Exception, SystemExit) as error:  # of any type, as its author liked
        message, kind = one_line(error), type(error).__name__
        cause = message if message == kind or isinstance(error, gym.error.Error) else f"{kind}: {message}"
        raise DataError(f"{problem}: {cause}; {WAY_OUT}") from error


class Guard(gym.Wrapper):
    """An environment whose faults are DataErrors, whose rewards are floats, whose observations fit its space.

    Args:
        name: of the environment and whoever names it, for messages.
    """

    def __init__(self, env: gym.Env, name: str) -> None:
        super().__init__(env)
        self._name = name

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        with one_line_of(f"{self._name} failed at reset"):
            observation, info = self.env.reset(**kwargs)
            self._check(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        with one_line_of(f"{self._name} failed at a step"):
            observation, reward, terminated, truncated, info = self.env.step(action)
            self._check(observation)
            reward = float(np.asarray(reward).item())  # some give an array of one
        return observation, reward, bool(terminated), bool(truncated), info

    def render(self) -> Any:
        with one_line_of(f"{self._name} cannot be rendered"):
            return self.env.render()

    def _check(self, observation: Any) -> None:
        """Its shape alone: declared bounds are often wrong, and nothing depends on them."""
        shape = self.env.observation_space.shape
        if shape is not None and np.shape(observation) != shape:
            raise ValueError(f"an observation of shape {np.shape(observation)}, but its space is of {shape}")
