"""What may stand in the way of learning from a dataset: each function looks for one thing."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
import numpy as np

from agents.data import reward_sign
from agents.data.inspection import Inspection
from agents.environments.spec import register_robotics
from recipes.dataset_card.finding import Finding, counted, number, percent
from recipes.reporting.published_scores import COLUMNS, SCORES, SOURCES

FEW_EPISODES, FEW_STEPS = 50, 20_000
SATURATED = 0.01  # share of action components at a bound
REPEATED = 0.01  # share of steps
SPARSE = 0.95  # share of steps with one and the same reward
UNEVEN = 100.0  # ratio of the largest to the smallest standard deviation of observation dimensions
COARSE = 0.01  # step of float32 over the standard deviation of an observation dimension
USUAL_REWARDS = (0.05, 50.0)  # largest size of a reward for which the algorithms' defaults were made


# What may stand in the way: each looks for one thing ------------------------------------------------------------------


def _not_finite(found: Inspection) -> Finding | None:
    if not found.not_finite:
        return None
    places = "; ".join(
        f"{each.count} in {each.name}, the first in episode {each.episode}, step {each.step}"
        for each in found.not_finite
    )
    return Finding(
        "warning",
        f"Values are NaN or infinite: {places}. Training refuses the dataset.",
        "every value",
        "write the dataset again without these episodes (minari: dataset.filter_episodes)",
    )


def _outside(found: Inspection) -> Finding | None:
    if found.actions.outside == 0:
        return None
    return Finding(
        "warning",
        f"{counted(found.actions.outside, 'action component')} outside the action space. Training refuses them.",
        "every action and the bounds in the dataset's metadata",
        None if found.actions.discrete else "clip_actions=true clips them",
    )


def _unbounded_actions(found: Inspection) -> Finding | None:
    low, high = found.actions.low, found.actions.high
    unbounded = np.flatnonzero(~(np.isfinite(low) & np.isfinite(high))).tolist()
    if not unbounded:
        return None
    return Finding(
        "warning",
        f"Action dimensions {unbounded} have an infinite bound. No algorithm of this project learns from such actions.",
        "the action space in the dataset's metadata",
        "write the dataset with the bounds of the actuators",
    )


def _saturated(found: Inspection) -> Finding | None:
    if found.actions.discrete or found.actions.saturated <= SATURATED:
        return None
    per_dimension = found.actions.at_low + found.actions.at_high
    worst = ", ".join(f"{index} ({percent(per_dimension[index])})" for index in np.argsort(-per_dimension)[:3])
    return Finding(
        "warning",
        f"{percent(found.actions.saturated)} of the action components are at a bound, most in dimensions {worst}. "
        "A tanh_normal policy has to go far out for such actions: few of them own the gradient of a batch.",
        "components within 0.1 % of the range from a bound",
        "algorithm.actor.distribution=normal, the default of iql, awac and bc, not tanh_normal",
    )


def _unused_actions(found: Inspection) -> Finding | None:
    counts = found.actions.counts
    if counts is None or counts.all():
        return None
    return Finding(
        "warning",
        f"Actions {np.flatnonzero(counts == 0).tolist()} were never taken: nothing is known of them.",
        "how often each action was taken",
        "algorithm=discrete_cql or discrete_iql, which hold to the data; dqn does not",
    )


def _constant_actions(found: Inspection) -> Finding | None:
    constant = np.flatnonzero(found.actions.columns.constant).tolist()
    if found.actions.discrete or not constant:
        return None
    return Finding(
        "note",
        f"Action dimensions {constant} never change: critics cannot know what they do.",
        "smallest and largest value per dimension",
        "stay near the data: iql, awac, rebrac or td3_bc rather than sac",
    )


def _repeats(found: Inspection) -> Finding | None:
    share, episodes = found.num_repeated_steps / found.num_steps, int(found.repeats.sum())
    if share <= REPEATED and episodes == 0:
        return None
    return Finding(
        "warning",
        f"{percent(share)} of the transitions repeat an earlier one, and so do {counted(episodes, 'whole episode')}.",
        "equality of all numbers of a transition, and of an episode",
        "they count several times; if that is not meant, write the dataset without them",
    )


def _few(found: Inspection) -> Finding | None:
    if found.num_episodes >= FEW_EPISODES and found.num_steps >= FEW_STEPS:
        return None
    return Finding(
        "warning",
        f"Little data: {counted(found.num_episodes, 'episode')}, {counted(found.num_steps, 'step')}. Networks can "
        "learn them by heart.",
        f"fewer than {FEW_EPISODES} episodes or {FEW_STEPS:,} steps",
        "dropout (algorithm.actor.dropout=0.1), evaluations more often (eval_every), and several seeds",
    )


def _sparse(found: Inspection) -> Finding | None:
    values, counts = np.unique(found.rewards, return_counts=True)
    share = counts.max() / found.num_steps
    if share <= SPARSE:
        return None
    common = values[counts.argmax()]
    if len(values) == 1:
        return Finding(
            "note" if found.terminated.any() else "warning",
            f"Every reward is {common:g}: only what terminates an episode tells good from bad.",
            "the rewards",
            None
            if found.terminated.any()
            else "no episode terminates, so there is nothing to learn: check the rewards",
        )
    return Finding(
        "warning",
        f"Sparse rewards: {percent(share)} of the steps give {common:g}.",
        "the commonest reward",
        "the value of a reward k steps away is gamma^k of it: raise algorithm.gamma where episodes are long; bc_top "
        "needs no values",
    )


def _reward_scale(found: Inspection) -> Finding | None:
    finite = found.rewards[np.isfinite(found.rewards)]
    size = float(np.abs(finite).max()) if len(finite) else 0.0
    if size == 0.0 or USUAL_REWARDS[0] <= size <= USUAL_REWARDS[1]:
        return None
    return Finding(
        "note",
        f"Rewards are {'large' if size > 1 else 'small'}: up to {number(size)} in size. Advantages, and so the weights "
        "exp(temperature x advantage) of iql and awac, are on that scale.",
        "the largest absolute reward",
        "look at train/clip_fraction and train/weight: lower algorithm.temperature where most weights are clipped, "
        "raise it where all are near 1",
    )


def _constant_observations(found: Inspection) -> Finding | None:
    constant = np.flatnonzero(found.observations.constant).tolist()
    if not constant:
        return None
    return Finding(
        "note",
        f"Observation dimensions {constant} never change: a policy that meets another value there is on its own.",
        "smallest and largest value per dimension",
        "with algorithm.normalize_observations=true a small change there is multiplied by up to 1000: leave it false",
    )


def _coarse_observations(found: Inspection) -> Finding | None:
    columns = found.observations
    known = np.isfinite(columns.std) & ~columns.constant
    largest = np.where(known, np.maximum(np.abs(columns.min), np.abs(columns.max)), 0.0)
    coarse = np.flatnonzero(known & (np.spacing(largest.astype(np.float32)) > COARSE * columns.std)).tolist()
    if not coarse:
        return None
    return Finding(
        "warning",
        f"Observation dimensions {coarse} lie so far from zero that float32, in which everything is computed, rounds "
        "away much of what changes.",
        f"standard deviation per dimension; what float32 can tell apart there is more than {percent(COARSE)} of it",
        "subtract an offset before the dataset is written: of a time, the start of the episode",
    )


def _uneven_observations(found: Inspection) -> Finding | None:
    std = found.observations.std[~found.observations.constant & np.isfinite(found.observations.std)]
    if len(std) < 2 or std.max() <= UNEVEN * std.min():
        return None
    return Finding(
        "note",
        f"Observation dimensions differ in scale: standard deviations from {std.min():.2g} to {std.max():.2g}.",
        "standard deviation per dimension",
        "try algorithm.normalize_observations=true beside false",
    )


def _ends(found: Inspection) -> Finding | None:
    stops = int((~found.terminated & ~found.truncated).sum())
    if found.early_terminations:
        return Finding(
            "warning",
            f"{counted(found.early_terminations, 'step')} flagged as terminated though the episode goes on.",
            "terminations before the last step of an episode",
            "nothing is bootstrapped there: split such episodes, or clear the flags",
        )
    if not found.terminated.any():
        said = f"; {stops} without a flag that says so" if stops else ""
        return Finding(
            "note",
            f"No episode terminates, all are cut off{said}: the values of the last observations are bootstrapped.",
            "the flags at the last step of each episode",
        )
    if stops:
        return Finding(
            "note",
            f"{counted(stops, 'episode')} neither terminated nor truncated at the end, which counts as cut off.",
            "the flags at the last step of each episode",
            "if these are true ends, set their termination flag",
        )
    return None


def _too_long(found: Inspection) -> Finding | None:
    if found.horizon is None or not (longer := found.lengths > found.horizon).any():
        return None
    whole, within = (number(np.nanmean(values[longer])) for values in (found.returns, found.horizon_returns))
    return Finding(
        "warning",
        f"{counted(int(longer.sum()), 'episode')} longer than an evaluation, which ends after {found.horizon} steps. "
        f"They return {whole} on average, {within} of it within these steps.",
        "lengths, and max_episode_steps of the environment in the dataset's metadata",
        "compare evaluations with the latter; the verdict above does",
    )


def _environment(found: Inspection) -> Finding | None:
    spec = found.source.env_spec
    if spec is None:
        return Finding(
            "warning",
            "The dataset names no environment: a policy is trained and not evaluated.",
            "the dataset's metadata",
            "name one by eval_env=ID",
        )
    register_robotics()
    if spec.id in gym.registry:
        return None
    return Finding(
        "warning",
        f"The environment {spec.id} is not registered here: evaluations do not call its entry "
        f"point, {spec.entry_point}.",
        "the installed packages",
        "name it with the module that registers it by eval_env=module:ID, or allow the call by trust_env=true",
    )


def _reward_sign(found: Inspection) -> Finding | None:
    if found.distance_coefficient is None:
        return None
    coefficient = found.distance_coefficient
    basis = (
        f"the coefficient of the palm-to-object distance in the recorded rewards, fitted from the observations: "
        f"{coefficient:+.3f} per metre"
    )
    sign = reward_sign.sign(coefficient)
    if sign == 1:
        return Finding(
            "note",
            "The rewards are those of gymnasium-robotics 1.2.1 to 1.4.2, which add 0.1 x that distance where D4RL "
            "subtracts it: both scores of this dataset are what they say.",
            basis,
        )
    if sign == -1:
        return Finding(
            "warning",
            "The rewards are D4RL's (also of gymnasium-robotics 1.2.0 and of v2): the environment that evaluates here "
            "adds 0.1 x that distance where they subtract it. The recorded returns are already D4RL's; the d4rl score "
            "of this dataset shown here subtracts the distance once more.",
            basis,
            "compare eval/d4rl_score with the mean of the recorded returns; the differences are below a point",
        )
    return Finding(
        "warning",
        "The rewards are neither those of gymnasium-robotics 1.2.1 to 1.4.2 nor D4RL's: scaled or shaped anew. Neither "
        "score of this dataset means anything.",
        basis,
        "compare evaluations with each other only",
    )


def _published(found: Inspection) -> Finding | None:
    scores = SCORES.get(found.source.id)
    if scores is None:
        return None
    listed = ", ".join(f"{name} {score:g}" for name, score in zip(COLUMNS, scores))
    return Finding("note", f"Published d4rl scores: {listed}.", "; ".join(dict.fromkeys(SOURCES.values())))


LOOKS: tuple[Callable[[Inspection], Finding | None], ...] = (
    _published,
    _not_finite,
    _outside,
    _unbounded_actions,
    _few,
    _saturated,
    _unused_actions,
    _constant_actions,
    _repeats,
    _sparse,
    _reward_scale,
    _too_long,
    _ends,
    _environment,
    _reward_sign,
    _constant_observations,
    _coarse_observations,
    _uneven_observations,
)
