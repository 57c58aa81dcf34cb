"""What a dataset's episodes add up to.

Legend: ``T`` steps of an episode, ``E`` episodes, ``A`` action.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.data.episodes import Episode
from agents.data.source import Source
from agents.environments.adroit import d4rl_return, success_held


@dataclass(frozen=True, eq=False)
class DatasetStatistics:
    """What the rows hold, and what the episodes they were made of add up to; returns are undiscounted."""

    num_episodes: int
    num_steps: int
    returns: NDArray[np.float64]  # [E]
    lengths: NDArray[np.int64]  # [E] steps
    horizon_returns: NDArray[np.float64]  # [E] of the steps that an evaluation would have made
    d4rl_returns: NDArray[np.float64] | None  # [E]; None unless the environment is Adroit's
    success: NDArray[np.bool_] | None  # [E] at any of those steps; None without infos["success"]
    success_held: NDArray[np.bool_] | None  # [E] as DAPG defines it; None unless Adroit's
    success_last: NDArray[np.bool_] | None  # [E] at the last of those steps
    action_min: NDArray[np.float32]  # [A]
    action_max: NDArray[np.float32]  # [A]
    saturated_actions: float  # share of action components within 0.1 % of the range from a bound; no locked one is
    reward_mean: float
    reward_std: float
    reward_min: float
    reward_max: float
    terminations: int  # steps flagged as terminated: nothing is bootstrapped there
    truncations: int  # steps that cut it off


class Moments:
    """Mean and variance per column, merged as Chan et al. 1979: exact where the mean is far larger than the std."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, np.float64(0.0), np.float64(0.0)
        self.min, self.max = np.float32(np.inf), np.float32(-np.inf)

    def add(self, values: NDArray[Any]) -> None:  # [T, columns]
        self.min, self.max = np.minimum(self.min, values.min(0)), np.maximum(self.max, values.max(0))
        mean, total = values.mean(0, dtype=np.float64), self.count + len(values)
        delta = mean - self.mean
        self.squares = self.squares + ((values - mean) ** 2).sum(0) + delta**2 * (self.count * len(values) / total)
        self.mean = self.mean + delta * (len(values) / total)
        self.count = total

    @property
    def std(self) -> NDArray[np.float64]:
        return np.sqrt(self.squares / self.count)


def summarise(episode: Episode, source: Source) -> dict[str, Any]:
    """What an episode of at least one step adds up to: its entries of the arrays ``[E]`` of ``DatasetStatistics``.

    Recordings may be longer than an evaluation; what is set beside evaluations is of as many steps.
    """
    task, horizon = source.task, source.horizon
    rewards, success = episode.rewards.astype(np.float64), episode.step_success()
    success = None if success is None else success[:horizon]
    return {
        "returns": rewards.sum(),
        "lengths": len(rewards),
        "horizon_returns": rewards[:horizon].sum(),
        "d4rl_returns": None if task is None else d4rl_return(task, episode.observations, rewards),
        "success": None if success is None else success.any(),
        "success_held": None if task is None or success is None else success_held(task, success),
        "success_last": None if success is None else success[-1],
    }


def collect(episodes: list[dict[str, Any]]) -> dict[str, NDArray[Any] | None]:
    """Such entries as arrays ``[E]``; None for what is not known of every episode."""
    columns = {name: [episode[name] for episode in episodes] for name in episodes[0]}
    return {name: None if None in values else np.array(values) for name, values in columns.items()}
