"""Obstacles to learning from a dataset: each function looks at one side of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from agents.data.bounds import wide_bounds
from agents.data.conversion import OUTSIDE
from agents.data.dataset_statistics import most_are_pieces
from agents.data.inspection import Inspection
from agents.environments.spec import register_robotics
from recipes.dataset_card.finding import Finding, counted, indices, note, number, percent, warning
from recipes.dataset_card.weights import expected_weights
from recipes.reporting.published_scores import COLUMNS, PROTOCOL, SCORES, SOURCES

FEW_EPISODES, FEW_STEPS = 50, 20_000
SATURATED = 0.01  # share of action components at a bound
REPEATED = 0.01  # share of steps
SPARSE = 0.95  # share of steps with one and the same reward
UNEVEN = 100.0  # ratio of the largest to the smallest standard deviation of observation dimensions
COARSE = 0.01  # step of float32 over the standard deviation of an observation dimension
ALIKE = 0.1  # coefficient of variation of the weights, as a training measures it
CLIPPED = 0.97  # share of the weight

Findings = Iterator[Finding]


def obstacles(inspection: Inspection) -> list[Finding]:
    """All that may stand in the way, after the published scores."""
    return [finding for look in LOOKS for finding in look(inspection)]


def _published(inspection: Inspection) -> Findings:
    if scores := SCORES.get(inspection.source.id):
        listing = ", ".join(f"{name} {score:g}" for name, score in zip(COLUMNS, scores))
        yield note(f"Published {PROTOCOL} scores: {listing}.", "; ".join(dict.fromkeys(SOURCES.values())))


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


def _rewards(inspection: Inspection) -> Findings:
    rewards = inspection.rewards[np.isfinite(inspection.rewards)]
    if not len(rewards):
        return
    values, counts = np.unique(rewards, return_counts=True)
    share, common = counts.max() / len(rewards), values[counts.argmax()]
    if len(values) == 1:
        says, basis = f"Every reward is {common:g}: only what terminates an episode tells good from bad.", "the rewards"
        if inspection.terminated.any():
            shift = (
                None if common else "rewards.shift=-1 where episodes should end soon, 1 where late: 0 pays for neither"
            )
            yield note(says, basis, shift)
        else:
            yield warning(says, basis, "no episode terminates, so there is nothing to learn: check the rewards")
    elif share > SPARSE:
        choosable = len(np.unique(inspection.horizon_returns)) > 1
        cloning = "discrete_bc_top" if inspection.actions.discrete else "bc_top"
        distant = "the value of a reward k steps away is gamma^k of it: raise algorithm.gamma where episodes are long"
        few = "these few are all that tells actions apart: believe in no policy without its interval"
        one_step = bool((inspection.lengths == 1).all())
        yield warning(
            f"Sparse rewards: all but {len(rewards) - counts.max():,} of {len(rewards):,} steps give {common:g}.",
            "the commonest reward",
            (few if one_step else distant) + (f"; {cloning} needs no values" if choosable else ""),
        )


def _weights(inspection: Inspection) -> Findings:
    weights = expected_weights(inspection)
    if weights is None:
        return
    of_default = f"{weights.algorithm} with its temperature of {weights.temperature:g}"
    basis = (
        f"an estimate by linear regressions on {counted(len(inspection.advantages), 'step')}: advantages of "
        f"{number(weights.size)} in size; a training logs train/effective_sample_size and train/clip_fraction"
    )
    way_out = f"rewards.scale={weights.scale:g}, or algorithm.scale_advantage=true, whatever the scale"
    if weights.spread < ALIKE:
        yield warning(
            f"Rewards are small: the weights that {of_default} gives the data's actions would differ by about "
            f"{percent(weights.spread)}, which is behaviour cloning.",
            basis,
            way_out,
        )
    elif weights.clipped > CLIPPED:
        yield note(
            f"Rewards are large: nearly all of the weight that {of_default} gives the data's actions would be clipped, "
            "so that how good they are does not count any more.",
            basis,
            way_out,
        )


def _episodes(inspection: Inspection) -> Findings:
    longer = inspection.lengths > (inspection.horizon or np.inf)
    if longer.any():
        whole, within = (number(np.nanmean(v[longer])) for v in (inspection.returns, inspection.horizon_returns))
        yield warning(
            f"{counted(int(longer.sum()), 'episode')} longer than an evaluation, which ends after {inspection.horizon} "
            f"steps. They return {whole} on average, {within} of it within these steps.",
            "lengths, and max_episode_steps of the environment in the dataset's metadata",
            "compare evaluations with the latter; the verdict above does",
        )
    if (inspection.lengths == 1).all():
        yield note(
            "Every episode is one step, as in a bandit: Q is the reward to be expected, and algorithm.gamma counts for "
            "nothing.",
            "lengths",
        )
    stops = int((~inspection.terminated & ~inspection.truncated).sum())
    flags = "the flags at the last step of each episode"
    if inspection.early_terminations:
        yield warning(
            f"{counted(inspection.early_terminations, 'step')} flagged as terminated though the episode goes on.",
            "terminations before the last step of an episode",
            "nothing is bootstrapped there: split such episodes, or clear the flags",
        )
    elif not inspection.terminated.any():
        silent = f"; {stops} without a flag that says so" if stops else ""
        yield note(
            f"No episode terminates, all are cut off{silent}: the values of the last observations are bootstrapped.",
            flags,
        )
    elif stops:
        yield note(
            f"{counted(stops, 'episode')} neither terminated nor truncated at the end, which counts as cut off.",
            flags,
            "if these are true ends, set their termination flag",
        )


def _environment(inspection: Inspection) -> Findings:
    spec = inspection.source.env_spec
    register_robotics()
    if spec is None:
        yield warning(
            "The dataset names no environment: a policy is trained and not evaluated.",
            "the dataset's metadata",
            "name one by eval_env=ID; where there is none, validation=0.1 measures on episodes that are held out",
        )
    elif spec.id not in gym.registry:
        yield warning(
            f"The environment {spec.id} is not registered here: evaluations do not call its entry point, "
            f"{spec.entry_point}.",
            "the installed packages",
            "name it with the module that registers it by eval_env=module:ID, or allow the call by trust_env=true",
        )
    if inspection.source.recorded_elsewhere:
        yield note(
            "The data were recorded in another task than evaluations are made in, with other goals perhaps: returns "
            "and scores of the two do not compare.",
            "env_spec and eval_env_spec in the dataset's metadata",
        )
    elif most_are_pieces(inspection.lengths, int(inspection.terminated.sum()), inspection.horizon):
        yield note(
            f"Most episodes were cut off before the {inspection.horizon:,} steps of an evaluation: their returns and "
            "scores do not compare with those of evaluations.",
            "lengths, terminations and the environment's time limit",
        )
    for remark in inspection.remarks:  # on whether the rewards are its own
        yield Finding(remark.level, remark.says, remark.computed_from, remark.advice)


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
    _published, _validity, _amount, _actions, _repeats, _rewards, _weights, _episodes, _environment, _observations
)  # fmt: skip
