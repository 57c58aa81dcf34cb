"""Limits of what is done in an environment, whatever a policy wants: narrower bounds, and a slower change.

Legend: ``A`` action.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from agents.errors import ConfigError, DataError, require


class Limits(gym.Wrapper):
    """An environment with continuous actions that does the nearest action inside the limits.

    Args:
        low, high: bounds, of all actions or ``[A]``, which only take effect inside the environment's own; None: those.
            The attributes of these names are what takes effect.
        max_change: largest change of an action from one step to the next, as a share of its bounds' range, in (0, 1];
            an episode's first action is free. None: any.

    Raises:
        ConfigError: actions are indices, no action is inside the limits, or a share is asked for of an infinite range.
        DataError: later, of an action that is not a number.
    """

    def __init__(
        self,
        env: gym.Env,
        *,
        low: Any = None,
        high: Any = None,
        max_change: float | None = None,
    ) -> None:
        super().__init__(env)
        space = env.action_space
        if not isinstance(space, gym.spaces.Box):
            raise ConfigError(f"limits of actions are for actions that are numbers, these are {space}")
        require(max_change is None or 0.0 < max_change <= 1.0, "max_action_change", "lie in (0, 1]", max_change)
        if max_change is not None and not np.isfinite([space.low, space.high]).all():
            raise ConfigError(f"max_action_change is a share of the range of actions, and {space} has no ends")
        bounds = (space.low if low is None else low, space.high if high is None else high)
        # of float64, what float32 can hold: what a log keeps of an action is then what was done
        self._dtype = np.dtype(np.float32 if space.dtype == np.float64 else space.dtype)
        try:
            self.low = self._inside(np.maximum(space.low, np.asarray(bounds[0], space.dtype)), np.inf)
            self.high = self._inside(np.minimum(space.high, np.asarray(bounds[1], space.dtype)), -np.inf)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"limits of actions need {space.shape} numbers each, or one; got {[*bounds]}") from error
        if self.low.shape != space.shape or not (self.low <= self.high).all():
            raise ConfigError(f"no action lies inside the limits {[*bounds]} and the environment's own bounds")
        self._change = None if max_change is None else (max_change * (space.high - space.low)).astype(self._dtype)
        self.executed: NDArray[Any] | None = None  # the last action of the running episode

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        self.executed = None
        return self.env.reset(**kwargs)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        low, high = self.low, self.high
        if self._change is not None and self.executed is not None:
            low, high = np.maximum(low, self.executed - self._change), np.minimum(high, self.executed + self._change)
        if np.isnan(action).any():  # which no bound holds back
            raise DataError(f"an action is not a number: {np.asarray(action).tolist()}")
        self.executed = np.clip(np.asarray(action, self._dtype), low, high)
        return self.env.step(self.executed.astype(self.env.action_space.dtype))

    def _inside(self, bounds: NDArray[Any], inwards: float) -> NDArray[Any]:
        """The nearest numbers that are kept of actions and do not lie outside."""
        kept = bounds.astype(self._dtype)
        outside = kept < bounds if inwards > 0.0 else kept > bounds
        return np.where(outside, np.nextafter(kept, self._dtype.type(inwards)), kept) if outside.any() else kept


def executed_action(env: gym.Env, action: NDArray[Any]) -> NDArray[Any]:
    """The action that an environment has done where ``action`` was given."""
    return env.executed if isinstance(env, Limits) and env.executed is not None else action
