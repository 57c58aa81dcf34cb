"""Obstacles to learning from a dataset, of which those in its numbers are here: each function looks at one side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from agents.data.bounds import wide_bounds
from agents.data.contents import Inspection
from agents.data.rows import OUTSIDE
from recipes.dataset_card import task
from recipes.dataset_card.finding import Finding, Findings, counted, indices, note, percent, warning

FEW_EPISODES, FEW_STEPS = 50, 20_000
SATURATED = 0.01  # share of action components at a bound
REPEATED = 0.01  # share of steps
UNEVEN = 100.0  # ratio of the largest to the smallest standard deviation of observation dimensions
COARSE = 0.01  # step of float32 over the standard deviation of an observation dimension


def obstacles(inspection: Inspection) -> list[Finding]:
    """All that may stand in the way, after the published scores."""
    return [finding for look in LOOKS for finding in look(inspection)]


def _validity(inspection: Inspection) -> Findings:
    actions = inspection.actions
    places = [f"{n.count} in {n.name}, the first in episode {n.episode}, step {n.step}" for n in inspection.not_finite]
    if places:
        yield warning(
            f"Values are NaN or infinite: {'; '.join(places)}. Training refuses the dataset.",
            "every value",
            "write the dataset again without these episodes (minari: dataset.filter_episodes)",
        )
    if actions.outside:
        yield warning(
            f"{counted(actions.outside, 'action component')} outside the action space. Training refuses them.",
            "every action and the bounds in the dataset's metadata",
            None if actions.discrete else OUTSIDE,
        )
    if unbounded := indices(~np.isfinite(actions.low) | ~np.isfinite(actions.high)):
        yield note(
            f"Action dimensions {unbounded} have an infinite bound: policies keep within the data's own there.",
            "the action space in the dataset's metadata",
            "action_bounds=[low,high] with the bounds of the actuators, which may be wider",
        )
    if wide := wide_bounds(inspection.source, actions.columns.min, actions.columns.max):
        says, advice = wide
        basis = "the smallest and largest action, and the bounds in the dataset's metadata"
        yield warning(f"{says[0].upper()}{says[1:]}.", basis, advice)


def _amount(inspection: Inspection) -> Findings:
    if inspection.num_episodes < FEW_EPISODES or inspection.num_steps < FEW_STEPS:
        often = "" if inspection.source.env_spec is None else ", evaluations more often (eval_every)"
        yield warning(
            f"Little data: {counted(inspection.num_episodes, 'episode')}, {counted(inspection.num_steps, 'step')}. "
            "Networks can learn them by heart.",
            f"fewer than {FEW_EPISODES} episodes or {FEW_STEPS:,} steps",
            f"dropout (algorithm.actor.dropout=0.1){often}, and several seeds",
        )


def _actions(inspection: Inspection) -> Findings:
    actions = inspection.actions
    if not actions.discrete and actions.saturated > SATURATED:
        shares = actions.at_low + actions.at_high
        names = inspection.source.actions.labels or range(len(shares))
        worst = ", ".join(f"{names[index]} ({percent(float(shares[index]))})" for index in np.argsort(-shares)[:3])
        yield warning(
            f"{percent(actions.saturated)} of the action components are at a bound, most in dimensions {worst}. A "
            "tanh_normal policy has to go far out for such actions: few of them own the gradient of a batch.",
            "components within 0.1 % of the range from a bound",
            "algorithm.actor.distribution=normal, the default of iql, awac and bc, not tanh_normal",
        )
    if never := [name for name, count in (actions.counts or {}).items() if count == 0]:
        yield warning(
            f"Actions {', '.join(never)} were never taken: nothing is known of them.",
            "how often each action was taken",
            "algorithm=discrete_cql or discrete_iql, which hold to the data; dqn does not",
        )
    if not actions.discrete and (constant := indices(actions.columns.constant)):
        labels = inspection.source.actions.labels
        names = [labels[index] for index in constant] if labels else constant
        yield note(
            f"Action dimensions {names} never change: critics cannot know what they do.",
            "smallest and largest value per dimension",
            "stay near the data: iql, awac, rebrac or td3_bc rather than sac",
        )


def _repeats(inspection: Inspection) -> Findings:
    share, episodes = inspection.num_repeated_steps / inspection.num_steps, int(inspection.repeats.sum())
    if share > REPEATED or episodes:
        yield warning(
            f"{percent(share)} of the transitions repeat an earlier one, and so do "
            f"{counted(episodes, 'whole episode')}.",
            "equality of all numbers of a transition, and of an episode",
            "they count several times; if that is not meant, write the dataset without them",
        )


def _observations(inspection: Inspection) -> Findings:
    columns, observations = inspection.observations, inspection.source.observations

    def named(mask: NDArray[np.bool_]) -> str:
        places = indices(mask)
        return str([observations.column_names[place] for place in places] if observations.named else places)

    if columns.constant.any():
        yield note(
            f"Observation dimensions {named(columns.constant)} never change: a policy that meets another value there "
            "is on its own.",
            "smallest and largest value per dimension",
            "with algorithm.normalize_observations=true a small change there is multiplied by up to 1000: leave it "
            "false",
        )
    numbers = np.array([count is None for count in observations.categories])
    varying = np.isfinite(columns.std) & ~columns.constant & numbers
    largest = np.where(varying, np.maximum(np.abs(columns.min), np.abs(columns.max)), 0.0)
    coarse = varying & (np.spacing(largest.astype(np.float32)) > COARSE * columns.std)
    if coarse.any():
        yield warning(
            f"Observation dimensions {named(coarse)} lie so far from zero that float32, in which everything is "
            "computed, rounds away much of what changes.",
            f"standard deviation per dimension; what float32 can tell apart there is more than {percent(COARSE)} of it",
            "subtract an offset before the dataset is written: of a time, the start of the episode",
        )
    std = columns.std[varying]
    if len(std) > 1 and std.max() > UNEVEN * std.min():
        yield note(
            f"Observation dimensions differ in scale: standard deviations from {std.min():.2g} to {std.max():.2g}.",
            "standard deviation per dimension",
            "try algorithm.normalize_observations=true beside false",
        )


LOOKS: tuple[Callable[[Inspection], Findings], ...] = (
    task.published, _validity, _amount, _actions, _repeats, task.rewards, task.weights, task.episodes, task.environment,
    _observations,
)  # fmt: skip
