"""What offline reinforcement learning can hope for on a dataset, in words: each sentence with what it is computed from.

Nothing here is a forecast of a score. Thresholds are rules of thumb, and named where they are used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.data.inspection import Inspection
from recipes.dataset_card.finding import Finding, counted, number, percent
from recipes.dataset_card.obstacles import LOOKS
from recipes.dataset_card.quality import Quality, quality

FEW_GOOD, MANY_GOOD = 0.05, 0.8  # shares of good episodes


def verdict(found: Inspection, good_above: float) -> list[Finding]:
    """All that is to be said, the main thing first."""
    reached = quality(found, good_above)
    findings = [] if reached is None else [_good(reached, _names(found)), _floor(reached)]
    if reached is not None and np.ptp(reached.returns) > 0.0:
        findings.append(_headroom(reached, found))
    return findings + [finding for look in LOOKS for finding in [look(found)] if finding is not None]


@dataclass(frozen=True)
class _Names:
    """What to type for an offline method and for cloning, by kind of actions."""

    offline: str
    cloning: str
    cloning_best: str | None  # with the share of episodes to fill in


def _names(found: Inspection) -> _Names:
    if found.actions.discrete:
        return _Names("algorithm=discrete_iql", "algorithm=discrete_iql algorithm.temperature=0", None)
    return _Names("algorithm=iql", "algorithm=bc", "algorithm=bc_top algorithm.best_episodes={:.2g}")


def _good(reached: Quality, names: _Names) -> Finding:
    count, total, share = int(reached.good.sum()), len(reached.returns), reached.good.mean()
    basis = (
        f"a good episode returns at least {number(reached.threshold)}: {100 * reached.good_above:g} % of the way from "
        f"{number(reached.low)} ({reached.low_is}) to {number(reached.best)} (the best episode); a return also depends "
        "on the initial state, which no policy chooses"
    )
    if np.ptp(reached.returns) == 0.0:
        return Finding(
            "warning",
            f"All episodes return {number(reached.best)}: returns do not tell good from bad.",
            "the returns",
            f"take {names.cloning} as the bar; there are no best episodes to choose",
        )
    these = f"{count} of {total} episodes ({percent(share)}) are good"
    baselines = [names.cloning, *([names.cloning_best.format(share)] if names.cloning_best else [])]
    if share < FEW_GOOD or count < 5:
        return Finding(
            "warning",
            f"Hardly any good episode: {these}.",
            basis,
            f"expect much variance between seeds; compare {names.offline} with {baselines[-1]}",
        )
    if share > MANY_GOOD:
        return Finding(
            "note",
            f"Mostly good episodes: {these}. Cloning them gets most of what is there.",
            basis,
            f"take {names.cloning} as the bar: an offline method that ends below it harms",
        )
    return Finding(
        "note",
        f"A mixture: {these}. Offline RL can gain by telling them from the others; plain cloning copies both.",
        basis,
        f"{names.offline}; as baselines {' and '.join(baselines)}",
    )


def _floor(reached: Quality) -> Finding:
    return Finding(
        "note",
        f"Behaviour cloning's floor: all episodes return {reached.describe(slice(None))} on average, "
        f"the best tenth {reached.describe(reached.top)}.",
        f"the recorded returns; the best tenth is {counted(len(reached.top), 'episode')}. A clone adds errors of its "
        "own and drops the noise of the data, so it can end on either side",
        "what cloning reaches is measured by running it",
    )


def _headroom(reached: Quality, found: Inspection) -> Finding:
    mean, top = reached.returns.mean(), reached.returns[reached.top].mean()
    says = f"Headroom: the best episode returns {number(reached.best - mean)} more than the mean, "
    says += f"{number(reached.best - top)} more than the best tenth."
    reference = found.source.reference
    if reference is not None:
        far = reference.max - reached.best
        says += f" The reference's expert is {number(abs(far))} {'above' if far > 0 else 'below'} the best episode."
    basis = "the recorded returns" + (" and the dataset's ref_max_score" if reference is not None else "")
    return Finding("note", says, basis)
