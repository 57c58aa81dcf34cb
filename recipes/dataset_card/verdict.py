"""The verdict on a dataset: the quality of its episodes, and what offline learning can hope for from them.

Nothing here is a forecast of a score. Thresholds are rules of thumb, and named where they are used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.data.contents import Array, Inspection
from agents.environments.scoring import Reference
from recipes.dataset_card.finding import Finding, counted, note, number, percent, warning
from recipes.dataset_card.obstacles import obstacles

FEW_GOOD, MANY_GOOD = 0.05, 0.8  # shares of good episodes
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


def verdict(inspection: Inspection, good_above: float) -> list[Finding]:
    """All that is to be said, the main thing first."""
    quality, findings = assess(inspection, good_above), []
    if quality is not None:
        findings += [_good(quality, inspection.actions.discrete), _floor(quality)]
        findings += [] if quality.all_equal else [_headroom(quality, inspection.source.reference)]
    return findings + obstacles(inspection)


def _good(quality: Quality, discrete: bool) -> Finding:
    count, share = int(quality.good.sum()), quality.good.mean()
    kind = "discrete_" if discrete else ""
    offline, cloning = f"algorithm={kind}iql", f"algorithm={kind}bc"
    baselines = [cloning, f"{cloning}_top algorithm.best_episodes={share:.2g}"]
    if quality.all_equal:
        return warning(
            f"All episodes return {number(quality.best)}: returns do not tell good from bad.",
            "the returns",
            f"take {cloning} as the bar; there are no best episodes to choose",
        )
    counts = f"{count} of {len(quality.returns)} episodes ({percent(share)}) are good"
    basis = (
        f"a good episode returns at least {number(quality.threshold)}: {100 * quality.good_above:g} % of the way from "
        f"{number(quality.low)} ({quality.low_is}) to {number(quality.best)} (the best episode); a return also depends "
        "on the initial state and on chance, which no policy chooses"
    )
    if share < FEW_GOOD or count < 5:
        return warning(
            f"{'Hardly any good episode' if share < FEW_GOOD else 'Few good episodes'}: {counts}.",
            basis,
            f"expect much variance between seeds; compare {offline} with {baselines[-1]}",
        )
    if share > MANY_GOOD:
        return note(
            f"Mostly good episodes: {counts}. Cloning them gets most of what is there.",
            basis,
            f"take {cloning} as the bar: an offline method that ends below it harms",
        )
    return note(
        f"A mixture: {counts}. Offline RL can gain by telling them from the others; plain cloning copies both.",
        basis,
        f"{offline}; as baselines {' and '.join(baselines)}",
    )


def _floor(quality: Quality) -> Finding:
    return note(
        f"Behaviour cloning's floor: all episodes return {quality.describe(slice(None))} on average, "
        f"the best tenth {quality.describe(quality.top)}.",
        f"the recorded returns; the best tenth is {counted(len(quality.top), 'episode')}. A clone adds errors of its "
        "own and drops the noise of the data, so it can end on either side",
        "what cloning reaches is measured by running it",
    )


def _headroom(quality: Quality, reference: Reference | None) -> Finding:
    mean, top = quality.returns.mean(), quality.returns[quality.top].mean()
    says = (
        f"Headroom: the best episode returns {number(quality.best - mean)} more than the mean, "
        f"{number(quality.best - top)} more than the best tenth."
    )
    if reference is None:
        return note(says, "the recorded returns")
    far = reference.max - quality.best
    says += f" The reference's expert is {number(abs(far))} {'above' if far > 0 else 'below'} the best episode."
    return note(says, "the recorded returns and the dataset's ref_max_score")
