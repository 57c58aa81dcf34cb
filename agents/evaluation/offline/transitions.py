"""The steps of a dataset in their order, as estimators read them.

Shapes: ``N`` steps, ``E`` episodes, ``O`` observation, ``A`` action, ``T`` steps of the longest episode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agents.data.dataset import OfflineDataset
from agents.data.layout import DEFAULT_KEYS
from agents.data.specs import Specs
from agents.errors import DataError


@dataclass(frozen=True, eq=False)
class Transitions:
    """Every step of some whole episodes, one after the other."""

    dataset: str  # id of the data
    specs: Specs
    observation: Tensor  # [N, O]
    action: Tensor  # [N, A]; of discrete ones [N], or [N, K] of parts
    reward: Tensor  # [N] float64
    terminated: Tensor  # [N] bool; False at the end of an episode that was cut off, which goes on in truth
    next_observation: Tensor  # [N, O]
    lengths: Tensor  # [E] int64

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def num_episodes(self) -> int:
        return len(self.lengths)

    @property
    def first(self) -> Tensor:
        """The first step of each episode, ``[E]``."""
        return self.lengths.cumsum(0) - self.lengths

    @property
    def last(self) -> Tensor:
        """The last step of each episode, ``[E]``."""
        return self.lengths.cumsum(0) - 1

    @property
    def cut_off(self) -> Tensor:
        """The episodes that ended without a termination, ``[E]`` bool."""
        return ~self.terminated[self.last]

    @property
    def episode(self) -> Tensor:
        """Of each step, ``[N]``."""
        return torch.arange(self.num_episodes).repeat_interleave(self.lengths)

    @property
    def step(self) -> Tensor:
        """Of each step, how many steps of its episode are before it, ``[N]``."""
        return torch.arange(len(self)) - self.first.repeat_interleave(self.lengths)

    def by_episode(self, values: Tensor, fill: float = 0.0) -> Tensor:
        """Values of steps in a row for each episode, ``[N] -> [E, T]``, filled up behind its end."""
        rows = values.new_full((self.num_episodes, int(self.lengths.max())), fill)
        rows[self.episode, self.step] = values
        return rows

    def returns(self, gamma: float) -> Tensor:
        """Discounted sum of an episode's rewards as logged, ``[E]``."""
        discounted = gamma ** self.step.double() * self.reward
        return torch.zeros(self.num_episodes, dtype=torch.float64).index_add_(0, self.episode, discounted)

    def cut_off_share(self, gamma: float) -> float:
        """How much of a value comes behind the logged ends, if rewards are steady: 0 where all episodes terminated."""
        return (self.cut_off * gamma ** self.lengths.double()).mean().item()

    def steady_returns(self, gamma: float) -> Tensor:
        """Returns, ``[E]``, as if what was cut off went on to earn at its pace; as logged at a gamma of 1."""
        behind = self.cut_off * gamma ** self.lengths.double() if gamma < 1.0 else 0.0
        return self.returns(gamma) / (1.0 - behind)

    def returns_to_go(self, gamma: float) -> Tensor:
        """Discounted sum of the rewards from a step to the end of its episode, ``[N]``."""
        rewards = self.by_episode(self.reward)
        for step in range(rewards.shape[1] - 2, -1, -1):
            rewards[:, step] += gamma * rewards[:, step + 1]
        return rewards[self.episode, self.step]


def read_transitions(dataset: OfflineDataset) -> Transitions:
    """All steps of a dataset, on the CPU.

    Raises:
        DataError: it has no rewards, or fewer than two episodes, so that nothing says how sure an estimate is.
    """
    lengths = torch.from_numpy(dataset.statistics.lengths)
    if len(lengths) < 2:
        raise DataError(
            f"dataset {dataset.id!r} has a single episode: an estimate needs more of them to say how sure it is"
        )
    storage: Any = dataset.replay_buffer(1, keys=DEFAULT_KEYS).storage
    steps = storage.get(torch.arange(len(dataset), device=dataset.rows.device)).cpu()
    reward = steps["next", "reward"].squeeze(-1).double()
    if reward.isnan().any() or not reward.any():
        kind = "NaN" if reward.isnan().any() else "0"
        raise DataError(
            f"dataset {dataset.id!r} has no rewards to estimate from: {'some' if kind == 'NaN' else 'all'} are {kind}"
        )
    return Transitions(
        dataset=dataset.id,
        specs=dataset.specs,
        observation=steps["observation"],
        action=steps["action"],
        reward=reward,
        terminated=steps["next", "terminated"].squeeze(-1),
        next_observation=steps["next", "observation"],
        lengths=lengths,
    )
