"""The verdict on a dataset: the hopes of offline reinforcement learning, each sentence with what it is computed from.

Nothing here is a forecast of a score. Thresholds are rules of thumb, and named where they are used.
"""

from __future__ import annotations

from agents.data.inspection import Inspection
from agents.environments.scoring import Reference
from recipes.dataset_card.finding import Finding, counted, note, number, percent, warning
from recipes.dataset_card.obstacles import obstacles
from recipes.dataset_card.quality import Quality, assess

FEW_GOOD, MANY_GOOD = 0.05, 0.8  # shares of good episodes


def verdict(inspection: Inspection, good_above: float) -> list[Finding]:
    """All that is to be said, the main thing first."""
    quality, findings = assess(inspection, good_above), []
    if quality is not None:
        findings += [_good(quality, inspection.actions.discrete), _floor(quality)]
        findings += [] if quality.all_equal else [_headroom(quality, inspection.source.reference)]
    return findings + obstacles(inspection)


def _good(quality: Quality, discrete: bool) -> Finding:
    count, share = int(quality.good.sum()), quality.good.mean()
    offline, baselines = "algorithm=iql", ["algorithm=bc", f"algorithm=bc_top algorithm.best_episodes={share:.2g}"]
    if discrete:
        offline, baselines = "algorithm=discrete_iql", ["algorithm=discrete_iql algorithm.temperature=0"]
    cloning = baselines[0]
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
        "on the initial state, which no policy chooses"
    )
    if share < FEW_GOOD or count < 5:
        return warning(
            f"Hardly any good episode: {counts}.",
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
