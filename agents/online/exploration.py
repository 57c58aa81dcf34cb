"""Exploration: what a policy does where it is to find out more than it knows.

Legend: ``E`` environments, ``O`` observation, ``A`` action.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torchrl.data import MultiCategorical

from agents.data.specs import Specs
from agents.errors import ConfigError, require
from agents.evaluation.offline.policy import distribution_of, policy_of
from agents.networks.bounds import action_bounds, center_and_half_range
from agents.training.agent import Agent
from agents.training.generators import drawing_from

NOISE = 0.1  # of a policy that draws nothing and is told nothing: TD3's


class Exploration:
    """The agent's policy as it is now, with its own spread or with noise, inside the bounds and limits of the specs.

    What is drawn at a step depends on the seed and the number of the step alone: there is no state to be saved.

    Args:
        noise: of actions that are numbers, the standard deviation of a Normal around the deterministic policy, in half
            ranges of the action. None: the policy's own distribution, where it has one, else 0.1.
        random_share: of actions that are indices, the share of uniformly random ones; the others are drawn from the
            policy's distribution, where it has one, else they are its best.
        num_random_steps: environment steps from the first on that are uniformly random.

    Raises:
        ConfigError: the policy remembers the episode, or a setting is out of range.
    """

    def __init__(
        self,
        agent: Agent,
        specs: Specs,
        *,
        noise: float | None = None,
        random_share: float = 0.0,
        num_random_steps: int = 0,
        seed: int = 0,
    ) -> None:
        require(noise is None or noise >= 0.0, "noise", "be at least 0 or null", noise)
        require(0.0 <= random_share <= 1.0, "random_share", "lie in [0, 1]", random_share)
        require_no_memory(agent)
        self._policy = policy_of(agent.policy, specs)
        drawn = noise is None or specs.discrete
        self._distribution = distribution_of(agent.policy.module) if drawn else None
        self._noise, self._random_share = NOISE if noise is None else noise, random_share
        self._specs, self._num_random_steps, self._seed = specs, num_random_steps, seed
        self._generator = Generator(agent.device)
        if not specs.discrete:
            bounds = tuple(bound.to(agent.device) for bound in action_bounds(specs.action))
            _, self._half_range = center_and_half_range(*bounds)
            self._low, self._high = (bound.to(agent.device) for bound in specs.limits or bounds)
            self._center, self._reach = center_and_half_range(self._low, self._high)  # of random actions

    @torch.no_grad()
    def __call__(self, observations: NDArray[Any], step: int) -> NDArray[Any]:
        """Actions ``[E, A]`` float32, or indices ``[E]`` or ``[E, A]`` int64, for ``[E, O]`` at the given step."""
        self._generator.manual_seed(_mixed(self._seed, step))
        observation = torch.from_numpy(np.asarray(observations, np.float32)).to(self._generator.device)
        with drawing_from(self._generator):
            action = self._discrete(observation, step) if self._specs.discrete else self._numbers(observation, step)
        return action.cpu().numpy()

    def _numbers(self, observation: Tensor, step: int) -> Tensor:
        if step < self._num_random_steps:
            shape = (len(observation), len(self._low))
            action = self._center + self._reach * (2.0 * torch.rand(shape, device=observation.device) - 1.0)
        elif self._distribution is not None:
            action = self._distribution(observation).sample()
        else:
            action = self._policy.act(observation)
            action = action + self._noise * self._half_range * torch.randn_like(action)
        return action.clamp(self._low, self._high)

    def _discrete(self, observation: Tensor, step: int) -> Tensor:
        if self._distribution is None:
            action = self._policy.act(observation)
        else:
            action = self._distribution(observation).sample()  # [E], or [E, K] of parts
        spec: Any = self._specs.action
        counts = spec.nvec if isinstance(spec, MultiCategorical) else torch.tensor(spec.n)
        uniform = (torch.rand(action.shape, device=action.device) * counts.to(action.device)).long()
        chance = torch.rand(len(action), device=action.device) < (
            1.0 if step < self._num_random_steps else self._random_share
        )
        return torch.where(chance.view(-1, *[1] * (action.ndim - 1)), uniform, action)


def require_no_memory(agent: Agent) -> None:
    """Refuse a policy that cannot explore, with a ConfigError."""
    if [*agent.policy.in_keys] != ["observation"]:
        raise ConfigError("a policy that remembers the episode, or searches when it acts, cannot explore here")


def _mixed(*numbers: int) -> int:
    """A seed that is another one for every combination of numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
