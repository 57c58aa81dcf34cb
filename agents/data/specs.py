"""The facts of the data that networks are built from."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torchrl.data import Bounded, Categorical, TensorSpec

from agents.environments.environment import EvaluationEnv
from agents.errors import DataError


@dataclass(frozen=True)
class Specs:
    """The facts of the data that networks are built from."""

    observation: TensorSpec  # [O] float32
    action: TensorSpec  # Bounded [A] float32; Unbounded when a bound is infinite; Categorical for discrete actions
    observation_mean: Tensor  # [O] float32, over the N observations (not the next ones)
    observation_std: Tensor  # [O] float32, no epsilon added
    max_return: float | None = None  # largest undiscounted return of an episode; None: not known

    @property
    def discrete(self) -> bool:
        """Whether an action is an index, ``[B]`` int64 in a batch, and not a vector."""
        return isinstance(self.action, Categorical)

    def check_fit(self, env: EvaluationEnv, owner: str) -> None:
        """Refuse an environment with other observations or actions than ``owner``; warn of one with other bounds."""
        spec = self.action
        action = f"Discrete({spec.n})" if isinstance(spec, Categorical) else f"Box({spec.shape[-1]},)"
        ours = f"Box({self.observation.shape[-1]},) and {action}"
        with env.borrow(1) as (gym_env,):  # kept for the first evaluation
            space = gym_env.action_space
            theirs = f"{_describe(gym_env.observation_space)} and {_describe(space)}"
        if theirs != ours:
            raise DataError(
                f"environment {env.spec.id!r} has observations and actions in {theirs}, {owner} in {ours}; "
                "pass one that fits as eval_env=ID"
            )
        if isinstance(spec, Bounded) and isinstance(space, gym.spaces.Box):
            ours, theirs = (spec.low.cpu().numpy(), spec.high.cpu().numpy()), (space.low, space.high)
            if not np.allclose(theirs, ours):
                text = (
                    f"environment {env.spec.id!r} has other action bounds than {owner}, {_range(*theirs)} and not "
                    f"{_range(*ours)}: if the data's actions were rescaled, name the environment with its wrapper by "
                    "eval_env=module:ID"
                )
                warnings.warn(text, stacklevel=2)


def _range(low: NDArray[np.float32], high: NDArray[np.float32]) -> str:
    return f"[{low.min():g}, {high.max():g}]"


def _describe(space: gym.Space) -> str:
    return str(space) if isinstance(space, gym.spaces.Discrete) else f"{type(space).__name__}{space.shape or ''}"
