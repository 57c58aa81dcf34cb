"""The quality of the recorded episodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.data.inspection import Array, Inspection
from recipes.dataset_card.finding import number

TENTH = 0.1  # of the episodes: what 10%BC clones


@dataclass(frozen=True, eq=False)
class Quality:
    """How far the recorded episodes get, by their returns over the steps that an evaluation makes."""

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

    @property
    def all_equal(self) -> bool:
        return np.ptp(self.returns) == 0.0

    def describe(self, episodes: np.ndarray | slice) -> str:
        """Mean return and scores of some of the episodes."""
        means = ", ".join(f"{name} score {values[episodes].mean():.1f}" for name, values in self.scores.items())
        return f"{number(self.returns[episodes].mean())}" + (f" ({means})" if means else "")


def assess(inspection: Inspection, good_above: float) -> Quality | None:
    """The quality of a dataset's episodes; None when no return is finite."""
    finite = np.isfinite(inspection.horizon_returns)
    if not finite.any():
        return None
    returns, reference = inspection.horizon_returns[finite], inspection.source.reference
    scores = {name: values[finite] for name, values in inspection.scores.items()}
    low, low_is = float(returns.min()), "the worst episode"
    if reference is not None and reference.min < returns.max():
        low, low_is = reference.min, "the dataset's ref_min_score"
    return Quality(returns, scores, low, low_is, good_above)
