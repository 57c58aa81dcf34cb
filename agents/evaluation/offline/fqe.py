"""Fitted Q evaluation of one policy, or of many fitted together (Le, Voloshin, Yue 2019, arXiv 1903.08738).

The value is the mean over the states that episodes begin in of Q(s, pi(s)), by critics whose members each learned from
episodes drawn with replacement: from their spread is the interval.

Shapes: ``E`` episodes, ``P`` policies, ``K`` members of each.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tqdm import tqdm

from agents.evaluation.offline.critics import Fit, fit_critics, logged_choices
from agents.evaluation.offline.estimate import Estimate, Trust
from agents.evaluation.offline.policy import Policy, check_fit
from agents.evaluation.offline.resampling import estimate_of
from agents.evaluation.offline.settings import FQEConfig
from agents.evaluation.offline.transitions import Transitions

ROOM = 2**30  # bytes for what the policies do in every state: with more of them, they are fitted in turns
CUT_OFF = 0.05  # share of a value behind the logged ends, above which no log knows what its own policy is worth


def fitted_q_evaluation(
    policies: Sequence[Policy],
    steps: Transitions,
    config: FQEConfig = FQEConfig(),  # noqa: B008  # its fields are read only
    *,
    gamma: float = 0.99,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> list[Estimate]:
    """The values of policies by fitted Q evaluation, in their order.

    Args:
        steps: whole episodes; what was cut off goes on in truth, and is bootstrapped.
        gamma: discount in [0, 1] of the value; of 1 only where all episodes end in a termination.
        progress: on a terminal, show a bar.

    Raises:
        ConfigError: a policy is of other observations or actions than the data.
    """
    turn = max(1, ROOM // (4 * len(steps) * logged_choices(steps)[0].numel()))
    for policy in policies:
        check_fit(policy, steps.specs, steps.dataset)
    groups = [policies[start : start + turn] for start in range(0, len(policies), turn)]
    options = {"gamma": gamma, "seed": seed, "device": device}
    with tqdm(total=len(groups) * config.gradient_steps, desc="fitting", disable=None if progress else True) as bar:
        fits = (fit_critics(group, steps, config, on_update=bar.update, **options) for group in groups)
        return [estimate for fit in fits for estimate in values_of(fit)]


def values_of(fit: Fit, *, seed: int = 0) -> list[Estimate]:
    """The estimate of each policy that critics have been fitted for."""
    weights = fit.counts.T.double()[:, None]  # [E, 1, K]
    *members, own = (fit.initial_values() * weights).sum(0) / weights.sum(0)  # of [P + 1, K]
    unseen, seen = fit.bellman_errors(seed)
    estimates = []
    for policy, draws, *errors in zip(fit.policies, members, unseen.tolist(), seen.tolist()):
        trust = Trust(bellman_error=errors[0], bellman_error_seen=errors[1], error_left=fit.error_left)
        known = {"trust": trust, "own_value": own.mean().item(), "beyond_log": reaches_beyond(fit)}
        estimates.append(estimate_of("fqe", policy, fit.steps, fit.gamma, draws.mean(), draws, **known))
    return estimates


def reaches_beyond(fit: Fit) -> bool:
    """Whether too much of a value is behind ends that cut episodes off to measure it by the data's own returns."""
    return fit.steps.cut_off_share(fit.gamma) > CUT_OFF
