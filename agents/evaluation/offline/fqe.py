"""Fitted Q evaluation of one policy, or of many fitted together (Le, Voloshin, Yue 2019, arXiv 1903.08738).

The value is the mean over the states that episodes begin in of Q(s, pi(s)), by critics whose members each learned from
episodes drawn with replacement: from their spread is the interval, and from how far the value still moved at the end.

Shapes: ``E`` episodes, ``P`` policies, ``K`` members of each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from tqdm import tqdm

from agents.errors import ConfigError
from agents.evaluation.offline.critics import fit_critics, logged_choices, updates_for
from agents.evaluation.offline.estimate import Estimate, Trust
from agents.evaluation.offline.fit import Fit
from agents.evaluation.offline.policy import Policy, check_fit
from agents.evaluation.offline.resampling import estimate_of
from agents.evaluation.offline.settings import FQEConfig
from agents.evaluation.offline.states import MOST_STATES, States, read_states
from agents.evaluation.offline.table import fit_tables
from agents.evaluation.offline.transitions import Transitions

ROOM = 2**30  # bytes for what the policies do in every state: with more of them, they are fitted in turns
NUMBERS_OF_TABLE = 16  # as much of each step is kept of a policy whose values are in a table
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
        ConfigError: a policy is of other observations or actions than the data, or these allow no table.
    """
    states = table_of(steps, config)
    numbers = logged_choices(steps)[0].numel() if states is None else NUMBERS_OF_TABLE
    turn = max(1, ROOM // (4 * len(steps) * numbers))
    groups = [policies[start : start + turn] for start in range(0, len(policies), turn)]
    each = updates_for(steps, config, gamma) if states is None else 0
    total = each * len(groups) if states is None else len(policies) + len(groups)
    with tqdm(total=total, desc="fitting", disable=None if progress else True) as bar:
        options = {"gamma": gamma, "seed": seed, "device": device, "on_progress": bar.update}
        fits = (fit_policies(group, steps, config, **options) for group in groups)
        return [estimate for fit in fits for estimate in values_of(fit)]


def fit_policies(
    policies: Sequence[Policy],
    steps: Transitions,
    config: FQEConfig,
    *,
    gamma: float,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_progress: Callable[[], object] = lambda: None,
) -> Fit:
    """Tables of some policies where the log allows them, else critics."""
    for policy in policies:
        check_fit(policy, steps.specs, steps.dataset)
    if (states := table_of(steps, config)) is not None:
        return fit_tables(policies, steps, states, gamma=gamma, seed=seed, on_solution=on_progress)
    return fit_critics(policies, steps, config, gamma=gamma, seed=seed, device=device, on_update=on_progress)


def table_of(steps: Transitions, config: FQEConfig) -> States | None:
    """The states of a log that are to have a table; None: networks learn from it.

    Raises:
        ConfigError: a table is demanded, and there cannot be one.
    """
    if config.critic == "network" or (config.critic == "auto" and not steps.specs.discrete):
        return None
    states = read_states(steps) if steps.specs.discrete else None
    if config.critic == "auto":
        return states if states is not None and states.are_few else None
    if states is None or states.num_states > MOST_STATES:
        kind = "continuous actions" if states is None else f"{states.num_states:,} states"
        raise ConfigError(
            f"fqe.critic=table takes discrete actions and at most {MOST_STATES:,} states; dataset {steps.dataset!r} "
            f"has {kind}: leave it out"
        )
    return states


def values_of(fit: Fit, *, seed: int = 0) -> list[Estimate]:
    """The estimate of each policy that critics have been fitted for."""
    values, draws = fit.estimates()
    unseen, seen = fit.bellman_errors(seed)
    estimates = []
    for index, policy in enumerate(fit.policies):
        trust = Trust(
            bellman_error=unseen[index].item(),
            bellman_error_seen=seen[index].item(),
            error_left=fit.error_left,
            remainder=fit.remainder[index].item(),
            untried=None if fit.untried is None else fit.untried[index].item(),
        )
        known = {"trust": trust, "own_value": values[-1].item(), "beyond_log": reaches_beyond(fit)}
        estimates.append(estimate_of("fqe", policy, fit.steps, fit.gamma, values[index], draws[index], **known))
    return estimates


def reaches_beyond(fit: Fit) -> bool:
    """Whether too much of a value is behind ends that cut episodes off to measure it by the data's own returns."""
    return fit.steps.cut_off_share(fit.gamma) > CUT_OFF
