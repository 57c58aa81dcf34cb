"""The statistics of a dataset's rows and episodes.

Legend: ``T`` steps of an episode, ``E`` episodes, ``A`` action.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.data.episodes import Episode
from agents.data.source import Source

SATURATION = 1e-3  # of the range: actions this close to a bound count as saturated


@dataclass(frozen=True, eq=False, kw_only=True)
class EpisodeStatistics:
    """Statistics of the episodes that have steps, ``[E]`` each; returns are undiscounted."""

    returns: NDArray[np.float64]  # NaN where a reward is
    lengths: NDArray[np.int64]  # steps
    horizon_returns: NDArray[np.float64]  # of the steps that an evaluation would have made, as are those below
    success: NDArray[np.bool_] | None = None  # at any step; None without infos["success"]
    success_last: NDArray[np.bool_] | None = None  # at the last step
    scores: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)  # by protocol
    protocol_returns: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)  # by protocol
    protocol_success: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)  # where it has a criterion


@dataclass(frozen=True, eq=False, kw_only=True)
class DatasetStatistics(EpisodeStatistics):
    """Statistics of the rows, and of the episodes that they come from."""

    num_episodes: int
    num_steps: int
    action_min: NDArray[np.float32]  # [A]
    action_max: NDArray[np.float32]  # [A]
    saturated_actions: float  # share of action components within 0.1 % of the range from a bound; no locked one is
    reward_mean: float
    reward_std: float
    reward_min: float
    reward_max: float
    terminations: int  # steps flagged as terminated: nothing is bootstrapped there
    truncations: int  # steps that cut it off

    def in_pieces(self, horizon: int | None) -> bool:
        """Whether most episodes were cut off before an evaluation of so many steps would be: pieces of such."""
        return most_are_pieces(self.lengths, self.terminations, horizon)


def most_are_pieces(lengths: NDArray[np.int64], num_terminated: int, horizon: int | None) -> bool:
    """Whether more than half of the episodes, ``[E]``, neither terminated nor lasted as long as an evaluation."""
    num_short = np.count_nonzero(lengths < (horizon or 0))
    return bool(num_short - num_terminated > 0.5 * len(lengths))


class Extremes:
    """The smallest and the largest value per column."""

    def __init__(self) -> None:
        self.count = 0
        self.min: NDArray[np.float32] = np.full((), np.inf, np.float32)
        self.max: NDArray[np.float32] = np.full((), -np.inf, np.float32)

    def add(self, values: NDArray[Any]) -> None:  # [T, columns]
        self.min, self.max = np.minimum(self.min, values.min(0)), np.maximum(self.max, values.max(0))
        self.count += len(values)


class Moments(Extremes):
    """The same, and mean and variance, merged as Chan et al. 1979: exact where the mean is far larger than the std."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.squares = np.zeros(()), np.zeros(())

    def add(self, values: NDArray[Any]) -> None:  # [T, columns]
        mean, total = values.mean(0, dtype=np.float64), self.count + len(values)
        delta = mean - self.mean
        self.squares = self.squares + ((values - mean) ** 2).sum(0) + delta**2 * (self.count * len(values) / total)
        self.mean = self.mean + delta * (len(values) / total)
        super().add(values)

    @property
    def std(self) -> NDArray[np.float64]:
        return np.sqrt(self.squares / self.count)


def num_saturated(actions: NDArray[np.float32], low: NDArray[np.float32], high: NDArray[np.float32]) -> int:
    """Components of actions ``[T, A]`` at a bound."""
    margin = np.where(np.isfinite(high - low), SATURATION * (high - low), 0.0)
    at_bound = (actions <= low + margin) | (actions >= high - margin)
    return int((at_bound & (low < high)).sum())  # a locked dimension has no other place


def summarise(episode: Episode, source: Source) -> dict[str, Any]:
    """An episode's entries, of at least one step, of ``EpisodeStatistics``.

    Recordings may be longer than an evaluation; what is set beside evaluations is of as many steps.
    """
    horizon, scorings = source.horizon, source.scorings
    rewards, success = episode.rewards.astype(np.float64), episode.step_success()
    success = None if success is None else success[:horizon]
    returns = {name: scoring.episode_return(episode.observations, rewards) for name, scoring in scorings.items()}
    criteria = {name: scoring.success for name, scoring in scorings.items() if scoring.success}
    return {
        "returns": rewards.sum(),
        "lengths": len(rewards),
        "horizon_returns": rewards[:horizon].sum(),
        "success": None if success is None else success.any(),
        "success_last": None if success is None else success[-1],
        "scores": {name: float(scorings[name].reference.score(value)) for name, value in returns.items()},
        "protocol_returns": returns,
        "protocol_success": {name: None if success is None else held(success) for name, held in criteria.items()},
    }


def collect(episodes: list[dict[str, Any]]) -> dict[str, Any]:
    """Such entries as arrays ``[E]``; for what is not known of every episode None, and in a mapping nothing."""
    return {name: _column([episode[name] for episode in episodes]) for name in episodes[0]}


def _column(values: list[Any]) -> Any:
    if isinstance(values[0], Mapping):
        columns = {name: _column([value[name] for value in values]) for name in values[0]}
        return {name: column for name, column in columns.items() if column is not None}
    return None if any(value is None for value in values) else np.array(values)
