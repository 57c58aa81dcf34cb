"""The facts of the data that networks are built from."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray
from torch import Tensor
from torchrl.data import Bounded, Categorical, MultiCategorical, TensorSpec

from agents.environments.adapter import Bounds, Spaces
from agents.environments.environment import EvaluationEnv
from agents.environments.parts import Actions, Observations, Part
from agents.environments.scoring import Reference
from agents.errors import ConfigError


@dataclass(frozen=True)
class Specs:
    """The facts of the data that networks are built from."""

    observation: TensorSpec  # [O] float32
    action: TensorSpec  # Bounded [A] float32; Categorical for one index, MultiCategorical [A] for several
    observation_mean: Tensor  # [O] float32, over the N observations (not the next ones)
    observation_std: Tensor  # [O] float32, no epsilon added; one-hots have mean 0 and std 1: they are not scaled
    max_return: float | None = None  # largest undiscounted return of an episode; None: not known
    spaces: Spaces | None = None  # of the data; None: observations and actions are vectors, or an action an index
    declared_bounds: tuple[Tensor, Tensor] | None = None  # [A] each, of the data's action space; None: action's
    limits: tuple[Tensor, Tensor] | None = None  # [A] each, narrower bounds of what is done of an action; None: none

    def limited(self, low: NDArray[Any], high: NDArray[Any]) -> Specs:
        """The same for a policy whose actions are kept inside these bounds, ``[A]`` each, wherever it acts.

        Raises:
            ConfigError: no action of the policy's lies inside them.
        """
        space: Any = self.action.space
        lowest, highest = (torch.as_tensor(bound, dtype=torch.float32).flatten() for bound in (low, high))
        limits = torch.maximum(space.low.cpu(), lowest), torch.minimum(space.high.cpu(), highest)
        if (limits[0] > limits[1]).any():
            raise ConfigError("no action lies inside both the limits and the bounds of the data's actions")
        return replace(self, limits=limits)

    @property
    def discrete(self) -> bool:
        """Whether an action is an index, ``[B]`` int64 in a batch, or several, ``[B, A]``, and not a vector."""
        return isinstance(self.action, Categorical)

    @property
    def observation_names(self) -> tuple[str, ...]:
        """Of the dimensions of an observation, as ``desired_goal.0`` or ``state=3``, ``[O]``."""
        return self.numbers.observations.names

    @property
    def numbers(self) -> Spaces:
        """``spaces``, or those of vectors."""
        if self.spaces is not None:
            return self.spaces
        if isinstance(self.action, MultiCategorical):  # which is a Categorical too
            actions = Actions((len(self.action.nvec),), tuple(self.action.nvec.tolist()), (0,) * len(self.action.nvec))
        elif isinstance(self.action, Categorical):
            actions = Actions((), (self.action.n,), (0,))
        else:
            actions = Actions(tuple(self.action.shape))
        return Spaces(Observations((Part((), tuple(self.observation.shape)),)), actions)

    def environment(
        self, spec: str | EnvSpec, *, num_envs: int = 1, reference: Reference | None = None, owner: str
    ) -> EvaluationEnv:
        """An environment to evaluate in, for the ``owner`` of these specs; a warning of other action bounds.

        Raises:
            DataError: it cannot be made, or has other observations or actions.
        """
        bounds = self._bounds()
        env = EvaluationEnv(
            spec, num_envs=num_envs, reference=reference, owner=owner, spaces=self.numbers, bounds=bounds
        )
        with env.borrow(1) as (gym_env,):  # kept for the first evaluation
            space = gym_env.action_space
        if bounds is not None and isinstance(space, gym.spaces.Box):
            self._compare(bounds, (space.low, space.high), env.spec.id, owner)
        return env

    def _bounds(self) -> Bounds | None:
        space: Any = self.action.space
        return (space.low.cpu().numpy(), space.high.cpu().numpy()) if isinstance(self.action, Bounded) else None

    def _compare(self, bounds: Bounds, theirs: Bounds, env_id: str, owner: str) -> None:
        declared = bounds
        if self.declared_bounds is not None:
            low, high = self.declared_bounds
            declared = (low.cpu().numpy(), high.cpu().numpy())
        ours = [np.where(np.isfinite(of_space), of_space, own) for of_space, own in zip(declared, bounds)]
        if not np.allclose(theirs, ours):
            text = (
                f"environment {env_id!r} has other action bounds than {owner}, {_range(*theirs)} and not "
                f"{_range(*ours)}: if the data's actions were rescaled, name the environment with its wrapper by "
                "eval_env=module:ID"
            )
            warnings.warn(text, stacklevel=3)


def action_spec(actions: Actions, low: Tensor, high: Tensor) -> TensorSpec:
    """Of actions as policies give them: one index, several, or a vector in ``low`` to ``high``, ``[A]`` each."""
    if actions.single:
        return Categorical(actions.categories[0])
    if actions.categories:
        return MultiCategorical(torch.tensor(actions.categories))
    return Bounded(low, high, dtype=torch.float32)


def _range(low: NDArray[np.float32], high: NDArray[np.float32]) -> str:
    return f"[{low.min():g}, {high.max():g}]"
