"""Obstacles in the task that a dataset poses: its rewards, its episodes, and the environment of evaluations."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from agents.data.contents import Inspection
from agents.data.dataset_statistics import most_are_pieces
from agents.environments.spec import register_robotics
from recipes.dataset_card.finding import Finding, Findings, counted, note, number, percent, warning
from recipes.dataset_card.weights import expected_weights
from recipes.reporting.published_scores import COLUMNS, PROTOCOL, SCORES, SOURCES

SPARSE = 0.95  # share of steps with one and the same reward
ALIKE = 0.1  # coefficient of variation of the weights, as a training measures it
CLIPPED = 0.97  # share of the weight


def published(inspection: Inspection) -> Findings:
    if scores := SCORES.get(inspection.source.id):
        listing = ", ".join(f"{name} {score:g}" for name, score in zip(COLUMNS, scores))
        yield note(f"Published {PROTOCOL} scores: {listing}.", "; ".join(dict.fromkeys(SOURCES.values())))


def rewards(inspection: Inspection) -> Findings:
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


def weights(inspection: Inspection) -> Findings:
    weights = expected_weights(inspection)
    if weights is None:
        return
    of_default = f"{weights.algorithm} with its temperature of {weights.temperature:g}"
    basis = (
        f"an estimate by linear regressions on {counted(len(inspection.advantages), 'step')}: advantages of "
        f"{number(weights.size)} in size; a training logs train/effective_sample_size and train/clip_fraction"
    )
    scaled = "algorithm.scale_advantage=true" if inspection.actions.discrete else "algorithm=iql"
    way_out = f"rewards.scale={weights.scale:g}, or {scaled}, whatever the scale"
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


def episodes(inspection: Inspection) -> Findings:
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


def environment(inspection: Inspection) -> Findings:
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
