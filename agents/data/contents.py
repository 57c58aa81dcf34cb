"""The contents of a dataset, as an inspection finds them.

Legend: ``E`` episodes, ``N`` steps of the dataset, ``M`` sampled steps, ``O`` observation, ``A`` action.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.data.dataset_statistics import EpisodeStatistics
from agents.data.source import Source
from agents.environments.scoring import Remark

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Columns:
    """Per dimension, over the steps all of whose dimensions are finite; NaN if there is none."""

    min: Array
    max: Array
    mean: Array
    std: Array

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Which dimensions have one value only."""
        return self.min == self.max


@dataclass(frozen=True)
class NotFinite:
    """Values that are NaN or infinite."""

    name: str  # observations, actions or rewards
    count: int  # values
    episode: int  # where the first one is
    step: int


@dataclass(frozen=True, eq=False)
class Actions:
    """How the actions use their space."""

    discrete: bool
    low: NDArray[np.float32]  # [A] bounds; discrete: 0 and the number of categories - 1
    high: NDArray[np.float32]
    columns: Columns  # [A]
    at_low: Array  # [A] share of steps within 0.1 % of the range from the bound; 0 where discrete, without, or locked
    at_high: Array
    outside: int  # components beyond a bound by more than rounding
    counts: dict[str, int] | None  # discrete only: how often each was taken, by its name; of several parts, of each

    @property
    def saturated(self) -> float:
        """Share of action components at a bound."""
        return float(np.mean(self.at_low + self.at_high))

    @property
    def common_bounds(self) -> tuple[float, float] | None:
        """Of all dimensions; None where they differ."""
        low, high = np.unique(self.low), np.unique(self.high)
        return (float(low[0]), float(high[0])) if len(low) == len(high) == 1 else None


@dataclass(frozen=True, eq=False)
class Sample:
    """Evenly spaced steps."""

    observations: NDArray[Any]  # [M, O]
    actions: NDArray[Any]  # [M, A]
    next_observations: NDArray[Any]  # [M, O]
    terminated: NDArray[np.bool_]  # [M]
    episodes: NDArray[np.int64]  # [M] to which each belongs, counted over those with steps
    steps: NDArray[np.int64]  # [M] which of all steps each is


@dataclass(frozen=True, eq=False, kw_only=True)
class Inspection(EpisodeStatistics):
    """The contents of a dataset; ``[E]`` is over the episodes that have steps."""

    source: Source
    num_empty: int  # episodes without a step
    terminated: NDArray[np.bool_]  # [E] flagged so at the last step
    truncated: NDArray[np.bool_]  # [E] the same; an episode may be both, or neither: the recording just stops
    early_terminations: int  # steps flagged as terminated that are not the last of their episode
    rewards: Array  # [N]
    observations: Columns  # [O], the last observation of each episode included
    actions: Actions
    not_finite: tuple[NotFinite, ...]
    repeats: NDArray[np.bool_]  # [E] equal, number by number, to an earlier episode
    num_repeated_steps: int  # transitions equal, number by number, to an earlier one
    num_starts: int  # different first observations
    remarks: tuple[Remark, ...]  # of the score protocols' checks on the rewards
    success_key: str | None  # of the infos that say success, None: none does
    sample: Sample
    advantages: Array  # [K] of the sampled steps' actions, estimated: see agents.data.advantages

    @property
    def num_episodes(self) -> int:
        return len(self.lengths)

    @property
    def num_steps(self) -> int:
        return len(self.rewards)

    @property
    def horizon(self) -> int | None:
        """Steps after which the environment cuts an evaluation off; None where that is not known."""
        return self.source.horizon
