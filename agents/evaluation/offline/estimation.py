"""All estimators that a policy and its data allow, each with all that says when its number means nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from agents.data.dataset import OfflineDataset
from agents.errors import AgentsError, ConfigError, require_choice
from agents.evaluation.offline.behavior import Behavior, read_behavior
from agents.evaluation.offline.doubly_robust import doubly_robust_evaluation
from agents.evaluation.offline.estimate import Estimate
from agents.evaluation.offline.fit import Fit
from agents.evaluation.offline.fqe import fit_policies, values_of
from agents.evaluation.offline.importance import importance_sampling, weighted_importance_sampling
from agents.evaluation.offline.model import fit_model, model_evaluation
from agents.evaluation.offline.policy import Policy, check_fit
from agents.evaluation.offline.settings import ESTIMATORS, USUAL, FQEConfig, ModelConfig
from agents.evaluation.offline.support import outside_support
from agents.evaluation.offline.transitions import Transitions, read_transitions

WEIGHTED = ("wis", "is", "dr")  # estimators that ask how likely the policy would have made the logged episodes


@dataclass(frozen=True, eq=False)
class Estimates:
    """What the estimators say of one policy; ``reasons`` has those that have nothing to say, and why."""

    steps: Transitions
    by_estimator: dict[str, Estimate]
    reasons: dict[str, str] = field(default_factory=dict)


def estimate_policy(
    policy: Policy,
    dataset: OfflineDataset,
    estimators: Sequence[str] = (),
    *,
    gamma: float = 0.99,
    config: FQEConfig = FQEConfig(),  # noqa: B008  # its fields are read only
    model: ModelConfig = ModelConfig(),  # noqa: B008  # likewise
    learned_from: bool = False,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Estimates:
    """The value of a policy on a dataset.

    Args:
        estimators: of ``fqe``, ``wis``, ``is``, ``dr`` and ``model``; (): of the first four those that it allows.
        gamma: discount in [0, 1] of the value.
        config: of the critics of ``fqe`` and ``dr``.
        model: of what ``model`` learns.
        learned_from: True: the policy was trained on these episodes, and its verdict says so.

    Raises:
        ConfigError: the policy is of other observations or actions than the data, or has no density for an estimator
            that is named.
        DataError: the data have no rewards or a single episode, wrong probabilities, or no support for one that is.
    """
    for name in estimators:
        require_choice("estimators", name, ESTIMATORS)
    steps, chosen = read_transitions(dataset), tuple(estimators) or USUAL
    check_fit(policy, steps.specs, steps.dataset)
    reasons: dict[str, str] = {}
    behavior = None
    if {*chosen} & {*WEIGHTED}:
        try:
            behavior = _behavior(policy, dataset, steps, seed)
        except ConfigError as error:
            if estimators:
                raise
            reasons = dict.fromkeys((name for name in chosen if name in WEIGHTED), str(error))
    fit = None
    if {*chosen} & {"fqe", "dr"}:
        fit = fit_policies([policy], steps, config, gamma=gamma, seed=seed, device=device)
    found: dict[str, Estimate] = {}
    for name in (name for name in chosen if name not in reasons):
        try:
            if name == "model":
                dynamics = fit_model(steps, model, seed=seed, device=device)
                found[name] = model_evaluation(policy, dynamics, gamma=gamma, seed=seed)
            else:
                found[name] = _estimate(name, policy, steps, behavior, fit, gamma, seed)
        except AgentsError as error:
            if estimators:
                raise
            reasons[name] = str(error)
    share = outside_support(policy, steps, seed=seed)
    return Estimates(steps, _with_trust(found, share, learned_from=learned_from), reasons)


def _behavior(policy: Policy, dataset: OfflineDataset, steps: Transitions, seed: int) -> Behavior:
    if not policy.has_density:
        policy.log_prob(steps.observation[:1], steps.action[:1])  # says why
    return read_behavior(dataset, steps, seed=seed)


def _estimate(
    name: str, policy: Policy, steps: Transitions, behavior: Behavior | None, fit: Fit | None, gamma: float, seed: int
) -> Estimate:
    if name == "fqe":
        assert fit is not None
        return values_of(fit, seed=seed)[0]
    assert behavior is not None
    if name == "dr":
        assert fit is not None
        return doubly_robust_evaluation(fit, behavior, seed=seed)
    function = importance_sampling if name == "is" else weighted_importance_sampling
    return function(policy, steps, behavior, gamma=gamma, seed=seed)


def _with_trust(found: dict[str, Estimate], share: float, *, learned_from: bool) -> dict[str, Estimate]:
    """Each with what the others know of the policy too, and its ``share`` of actions outside the support."""
    sizes = [e.trust.effective_sample_size for e in found.values() if e.trust.effective_sample_size is not None]
    size = sizes[0] if sizes else None
    known: dict[str, Any] = {"outside_support": share, "effective_sample_size": size, "learned_from": learned_from}
    return {name: each.knowing(**known) for name, each in found.items()}
