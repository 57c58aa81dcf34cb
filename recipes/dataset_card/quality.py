"""How good the recorded episodes are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.data.inspection import Array, Inspection
from agents.environments.protocols import Reference
from recipes.dataset_card.finding import number

TENTH = 0.1  # of the episodes: what 10%BC clones


@dataclass(frozen=True, eq=False)
class Quality:
    """How good the recorded episodes are, by their returns over the steps that an evaluation makes."""

    returns: Array  # finite ones, [K]
    scores: dict[str, Array]  # of the same episodes, by protocol
    low: float
    low_is: str  # where ``low`` comes from
    good_above: float  # share of the way from low to the best episode

    @property
    def best(self) -> float:
        return float(self.returns.max())

    @property
    def threshold(self) -> float:
        return self.low + self.good_above * (self.best - self.low)

    @property
    def good(self) -> np.ndarray:  # [K] bool
        return self.returns >= self.threshold

    @property
    def top(self) -> np.ndarray:  # indices of the best tenth, at least one
        return np.argsort(-self.returns, kind="stable")[: max(1, round(TENTH * len(self.returns)))]

    def describe(self, chosen: np.ndarray | slice) -> str:
        """Mean return and scores of some of the episodes."""
        means = ", ".join(f"{name} score {values[chosen].mean():.1f}" for name, values in self.scores.items())
        return f"{number(self.returns[chosen].mean())}" + (f" ({means})" if means else "")


def quality(found: Inspection, good_above: float) -> Quality | None:
    """None when no return is finite."""
    known = np.isfinite(found.horizon_returns)
    if not known.any():
        return None
    returns, reference, task = found.horizon_returns[known], found.source.reference, found.source.task
    scores: dict[str, Array] = {}
    if task is not None and found.d4rl_returns is not None:
        scores["d4rl"] = task.d4rl_reference.score(found.d4rl_returns[known])
    if reference is not None:
        scores["minari"] = reference.score(returns)
    low, low_is = _low(returns, reference)
    return Quality(returns, scores, low, low_is, good_above)


def _low(returns: Array, reference: Reference | None) -> tuple[float, str]:
    if reference is not None and reference.min < returns.max():
        return reference.min, "the dataset's ref_min_score"
    return float(returns.min()), "the worst episode"
