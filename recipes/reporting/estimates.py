"""Estimates without an environment as text and as JSON; they are never called scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import agents
from agents.evaluation.offline.estimate import CONFIDENCE, Estimate, Trust
from agents.evaluation.offline.estimation import Estimates
from agents.evaluation.offline.fqe import CUT_OFF
from agents.evaluation.offline.transitions import Transitions

NAMES = {
    "fqe": "fitted Q evaluation",
    "wis": "weighted importance sampling",
    "is": "importance sampling",
    "dr": "doubly robust",
    "model": "learned model of the environment",
}


def heading(name: str, dataset: agents.OfflineDataset, steps: Transitions, gamma: float) -> str:
    """What is estimated, from what, and what the data's own episodes returned."""
    own = steps.returns(gamma).mean().item()
    plain = steps.returns(1.0).mean().item()
    kind = "episodes" if dataset.whole is None else "held-out episodes"
    lines = [
        f"{name} on {dataset.id}: {steps.num_episodes} {kind}, {len(steps)} steps",
        f"the data's own return: {own:.4g} discounted by {gamma:g}, {plain:.4g} undiscounted",
    ]
    if (share := steps.cut_off_share(gamma)) > CUT_OFF:
        lines.append(
            f"fqe and dr also value what is behind the end of episodes that were cut off, at {share:.0%} of its worth; "
            "is, wis and the data's own return end there"
        )
    return "\n".join(lines)


def table(result: Estimates) -> list[list[str]]:
    """A row for each estimator that has something to say."""
    rows = [["estimator", "value", f"{CONFIDENCE:.0%} interval", "effective episodes", "Bellman error", "outside"]]
    for name, estimate in result.by_estimator.items():
        trust = estimate.trust
        rows.append(
            [
                f"{name} ({NAMES[name]})",
                f"{estimate.value:.4g}",
                estimate.bounds,
                "-" if trust.effective_sample_size is None else f"{trust.effective_sample_size:.1f}",
                *_measured(trust),
            ]
        )
    return rows


def remarks(result: Estimates) -> list[str]:
    """The verdict on each estimate, and why others say nothing."""
    lines = [f"{name}: {estimate.verdict}" for name, estimate in result.by_estimator.items()]
    if (model := result.by_estimator.get("model")) is not None:
        trust = model.trust
        text = f"a step's prediction is off by {trust.model_error:.2f} of what changes in one on unseen episodes"
        lines.append(f"model: {text}, by {trust.model_error_seen:.2f} on the others")
    behaviors = {estimate.behavior for estimate in result.by_estimator.values()} - {None}
    if "cloned" in behaviors:
        text = "weights are over the probabilities of a clone of the data's policy: the data hold none (columns."
        lines.append(f"{text}action_probability of an import)")
    for reason in dict.fromkeys(result.reasons.values()):
        names = ", ".join(name for name, of_name in result.reasons.items() if of_name == reason)
        lines.append(f"{names}: not possible: {reason}")
    return lines


def to_json(result: Estimates, dataset: agents.OfflineDataset, **about: Any) -> dict[str, Any]:
    """The same as JSON."""
    steps = result.steps
    return {
        **about,
        "dataset": dataset.id,
        "dataset_fingerprint": dataset.fingerprint,
        "held_out": dataset.whole is not None,
        "num_episodes": steps.num_episodes,
        "num_steps": len(steps),
        "data_return_undiscounted": steps.returns(1.0).mean().item(),
        "estimates": {f"estimate/{name}": of_estimate(each) for name, each in result.by_estimator.items()},
        "not_possible": result.reasons,
    }


def of_estimate(estimate: Estimate) -> dict[str, Any]:
    """One estimate, without its resamples; numbers that are none are null."""
    values = {
        name: getattr(estimate, name)
        for name in ("policy", "gamma", "value", "low", "high", "data_return", "data_range", "behavior", "own_value")
    }
    values |= {"beyond_log": estimate.beyond_log}
    words = {"refutations": estimate.refutations, "doubts": estimate.doubts, "verdict": estimate.verdict}
    return _finite({**values, "confidence": CONFIDENCE, **asdict(estimate.trust), **words})


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }


def ranking(estimates: Sequence[Estimate], gaps: Sequence[Estimate | None]) -> list[list[str]]:
    """A row for each policy, and by how much the first is better."""
    rows = [["run", "estimate/fqe", f"{CONFIDENCE:.0%} interval", "below the first", "Bellman error", "outside", ""]]
    for estimate, gap in zip(estimates, gaps):
        rows.append(
            [
                estimate.policy,
                f"{estimate.value:.4g}",
                estimate.bounds,
                "" if gap is None else gap.shown,
                *_measured(estimate.trust),
                estimate.caution,
            ]
        )
    return rows


def _measured(trust: Trust) -> list[str]:
    """Cells of the Bellman error and of the share outside the support."""
    return [
        "-" if trust.bellman_error is None else f"{trust.bellman_error:.2f}",
        "-" if trust.outside_support is None else f"{trust.outside_support:.0%}",
    ]
