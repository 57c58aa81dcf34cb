"""The parts of a score protocol: its reference returns, its rule for the episodes of an environment, its words.

Shapes: ``T`` steps of an episode, ``O`` observation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import ArrayLike, NDArray

from agents.errors import DataError


@dataclass(frozen=True)
class Reference:
    """Two returns that fix a normalised scale: ``min`` scores 0, ``max`` scores 100."""

    min: float
    max: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.min) and math.isfinite(self.max) and self.min < self.max):
            raise DataError(f"reference returns must be finite with min < max, got {self.min} and {self.max}")

    def score(self, returns: ArrayLike) -> NDArray[np.float64]:
        return 100.0 * (np.asarray(returns, dtype=np.float64) - self.min) / (self.max - self.min)


class Remark(NamedTuple):
    """A fact on the recorded rewards of a dataset, and a sentence on what follows for its scores."""

    name: str
    value: Any  # for JSON
    text: str  # the value for a person
    level: str  # note or warning
    says: str
    computed_from: str
    advice: str | None


class RewardCheck(Protocol):
    """A check of whether recorded rewards are those that a protocol scores."""

    def add(self, observations: NDArray[Any], rewards: NDArray[Any], /) -> None:
        """An episode, ``[T + 1, O]`` and ``[T]``."""

    def remark(self) -> Remark: ...


@dataclass(frozen=True)
class Scoring:
    """A protocol bound to one environment: how the record of an episode becomes a return, a score and a success."""

    reference: Reference
    episode_return: Callable[[NDArray[Any], NDArray[Any]], float]  # of observations [T + 1, O] and rewards [T]
    success: Callable[[NDArray[np.bool_]], bool] | None = None  # of info["success"] [T]; None: no criterion of its own
    horizon: int = 0  # steps: evaluations that are cut off before have no return under this protocol
    reward_check: Callable[[], RewardCheck] | None = None  # begins one over a dataset


@dataclass(frozen=True)
class ScoreProtocol:
    """A way to score the episodes of some environments, with the words for it; no two are on one scale."""

    name: str  # in files and keys: d4rl_score, d4rl_return
    label: str  # in titles
    definition: str  # whose rule it is, in the units of panels
    meaning: str  # for the reader of a report
    # of an environment, a dataset's reference returns, and the names of an observation's dimensions if known
    scoring: Callable[[EnvSpec | None, Reference | None, Sequence[str] | None], Scoring | None]  # None: no score there
    own_return: bool = False  # whether its return is another one than the environment's
    success: str | None = None  # name of its criterion, in keys too: success_held; None: it has none
    dataset_ids: tuple[str, ...] = ()  # that it is used for and Minari hosts

    @property
    def title(self) -> str:
        return f"{self.label} score"

    @property
    def score_key(self) -> str:
        return f"{self.name}_score"

    @property
    def return_key(self) -> str | None:
        return f"{self.name}_return" if self.own_return else None

    @property
    def success_key(self) -> str | None:
        return f"success_{self.success}" if self.success else None


def find_columns(names: Sequence[str] | None, wanted: Sequence[str]) -> list[int] | None:
    """Where an observation has these dimensions; None: it has not all of them, or its names are not known."""
    return [names.index(name) for name in wanted] if names is not None and {*wanted} <= {*names} else None
