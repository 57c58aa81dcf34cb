"""The proof of a file: the actions of the policy as it is evaluated, and those of the file, on the data's observations.

Shapes: ``N`` observations, ``T`` steps of an episode, ``B`` batch, ``S`` numbers that are kept of an observation, ``O``
dimensions of it as policies see it, ``A`` action.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from agents.data.dataset import OfflineDataset
from agents.data.storage import OneHots, rows_of_steps
from agents.deployment.acting import parts_of
from agents.deployment.contract import Contract
from agents.deployment.policy import DeployedPolicy
from agents.environments.recording import Step
from agents.evaluation.rollouts import begin_of, one_deterministic_thread

TOLERANCE = 1e-5  # in units of half an action's range
ROUNDING = 4.0 * float(np.finfo(np.float32).eps)  # of an action's size, beside it: what is far from 0 is no finer
TIE = 1e-5  # of the values of two actions: what float32 does not tell apart after a few layers
BATCH = 256  # observations, or episodes of a policy that remembers, that the file gets at a time


@dataclass(frozen=True)
class Parity:
    """How far the actions of a file are from those of the policy as it is evaluated."""

    number: int  # of observations
    max_difference: float  # of a number of an action, in its own units, ties aside
    mean_difference: float
    equal: float  # share of the actions that are equal, where they are indices or whole numbers, else within tolerance
    ties: int  # of the others: the two actions are as good as each other, and rounding chose
    discrete: bool
    holds: bool  # no other difference is beyond the tolerance
    share: float  # of an action's range, that the largest difference is

    def __str__(self) -> str:
        ties = f"; {self.ties} others are ties, where two actions are equally good in float32" if self.ties else ""
        if self.discrete:
            return f"{self.number:,} observations: {100 * self.equal:.4g} % of the actions are equal{ties}"
        sizes = f"largest difference {self.max_difference:.2g}, mean {self.mean_difference:.2g}"
        sizes += "" if self.holds else f"; at most {100 * self.share:.2g} % of an action's range"
        return f"{self.number:,} observations: {sizes}{ties}"


class Steps:
    """Steps of the data by their number, ``[T]``."""

    def __init__(self, dataset: OfflineDataset) -> None:
        self.lengths = dataset.statistics.lengths  # [E]
        self._rows, self._layout = dataset.rows, dataset.layout
        self._row_of = rows_of_steps(torch.from_numpy(self.lengths), dataset.starts).to(dataset.rows.device)
        self._one_hots = OneHots(dataset.layout.categories, dataset.rows.device)

    def observations(self, steps: NDArray[np.int64]) -> NDArray[np.float32]:
        """``[T, O]``"""
        return self._one_hots(self._of(steps)[:, : self._layout.observation]).cpu().numpy()

    def first(self, number: int) -> NDArray[np.float32]:
        """The first observations, ``[T, O]``; where there are fewer, these again and again."""
        return self.observations(np.arange(number) % len(self._row_of))

    def rewards(self, steps: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._of(steps)[:, -2].cpu().numpy()

    def _of(self, steps: NDArray[np.int64]) -> Tensor:
        return self._rows[self._row_of[torch.from_numpy(steps)]]


def compare(
    policy: TensorDictModuleBase, file: DeployedPolicy, dataset: OfflineDataset, number: int = 10_000
) -> Parity:
    """Compare on observations from all over the data; a policy that remembers acts in whole episodes.

    The policy gets one observation at a time, as in evaluations, the file batches of them.

    Args:
        number: of observations, >= 1; there may be fewer in the data, and an episode more.
    """
    data, specs = Steps(dataset), dataset.specs
    episodes = _episodes(data.lengths, number) if file.contract.memory else _single_steps(len(dataset), number)
    with one_deterministic_thread(), torch.inference_mode():
        begin = begin_of(policy, (specs.observation.shape[-1],))
        answers = [_of_policy(begin(), data, steps) for steps in episodes]  # [T, A] each
        theirs = np.concatenate([*_of_file(file, data, episodes)])  # [N, A]
    raw = np.concatenate(answers)
    ours = np.stack([_flat(specs.numbers.actions.for_environment(action)) for action in raw])
    ours = ours.clip(file.contract.action.low, file.contract.action.high)  # as environments do, and limits
    difference, tolerance = np.abs(ours - theirs), _tolerance(file.contract)
    discrete = file.contract.action.type == "int64"
    apart = (difference > tolerance).any(-1)  # [N]
    exact = file.contract.precision == "float32"
    for index in apart.nonzero()[0].tolist() if exact else ():
        tied = discrete & (np.abs(raw[index] % 1.0 - 0.5) < tolerance) & (difference[index] <= 1.0)  # by rounding
        tied |= _is_tie(policy, data, episodes, index)
        difference[index] = np.where(tied, 0.0, difference[index])
    ties = int(apart.sum() - (difference > tolerance).any(-1).sum())
    return Parity(
        number=len(difference),
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        equal=float(1.0 - apart.mean()),
        ties=ties,
        discrete=discrete,
        holds=bool((difference <= tolerance).all()),
        share=float((difference / _widths(file.contract)).max()),
    )


def _single_steps(num_steps: int, number: int) -> list[NDArray[np.int64]]:
    """Steps evenly over the data, ``[1]`` each."""
    return [*np.linspace(0, num_steps - 1, min(number, num_steps)).astype(np.int64)[:, None]]


def _episodes(lengths: NDArray[np.int64], number: int) -> list[NDArray[np.int64]]:
    """The steps of episodes evenly over the data, ``[T]`` each, as many as it takes for the number."""
    few = min(len(lengths), math.ceil(number / lengths.mean()))
    chosen = np.unique(np.linspace(0, len(lengths) - 1, few).astype(np.int64))
    return [int(lengths[:episode].sum()) + np.arange(int(lengths[episode])) for episode in chosen.tolist()]


def _of_policy(act: Step, data: Steps, steps: NDArray[np.int64]) -> NDArray[Any]:
    """The actions of the policy in an episode, ``[T, A]``, before they are an environment's."""
    observations, rewards, rng = data.observations(steps), data.rewards(steps), np.random.default_rng(0)
    before = [None, *rewards[:-1].tolist()]
    return np.stack([np.asarray(act(each, reward, rng)).reshape(-1) for each, reward in zip(observations, before)])


def _of_file(file: DeployedPolicy, data: Steps, episodes: Sequence[NDArray[np.int64]]) -> Iterator[NDArray[Any]]:
    """Those of the file in each episode, ``[T, A]``; a batch of them goes step by step, as long as the longest."""
    for first in range(0, len(episodes), BATCH):
        group = episodes[first : first + BATCH]
        file.reset()
        actions, rewards = [], None
        for step in range(max(map(len, group))):
            now = np.array([steps[min(step, len(steps) - 1)] for steps in group])
            batch = file.batch(parts_of(file.contract, data.observations(now)), rewards)
            actions.append(batch.reshape(len(group), -1).astype(np.float64))
            rewards = data.rewards(now)
        together = np.stack(actions, 1)  # [B, T, A]
        yield from (of_episode[: len(steps)] for of_episode, steps in zip(together, group))
    file.reset()


def _flat(action: Any) -> NDArray[np.float64]:
    return np.asarray(action, np.float64).reshape(-1)


def _widths(contract: Contract) -> NDArray[np.float64]:
    """Of the range of each number of an action, ``[A]``; 1 where there is none."""
    widths = np.array(contract.action.high) - np.array(contract.action.low)
    return np.where(widths > 0.0, widths, 1.0)


def _tolerance(contract: Contract) -> NDArray[np.float64]:
    """By which each number of an action may differ, ``[A]``."""
    low, high = np.array(contract.action.low), np.array(contract.action.high)
    return TOLERANCE * (high - low) / 2 + ROUNDING * np.maximum(np.abs(low), np.abs(high))


def _is_tie(policy: TensorDictModuleBase, data: Steps, episodes: Sequence[NDArray[np.int64]], index: int) -> bool:
    """Whether the policy's choice at an observation hung on less than float32 tells apart."""
    network: Any = getattr(policy, "module", None)
    if not hasattr(network, "margin"):
        return False
    starts = np.cumsum([0, *map(len, episodes)])
    episode = int(np.searchsorted(starts, index, side="right")) - 1
    step = index - starts[episode]
    observation = torch.from_numpy(data.observations(episodes[episode][step : step + 1]))
    memory = [torch.tensor([[step]])] if "memory" in policy.in_keys else []
    with torch.inference_mode():
        return bool(network.margin(observation, *memory).item() < TIE)
