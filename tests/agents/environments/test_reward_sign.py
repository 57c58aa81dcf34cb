"""The sign of the palm-to-object distance in recorded rewards: found for both versions, and in no other reward."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from agents.data.demos.adroit import load_bundle
from agents.environments.adroit import ADROIT_TASKS, palm_to_object
from agents.environments.environment import EvaluationEnv
from agents.environments.recording import Episode
from agents.environments.reward_sign import COEFFICIENT, DistanceFit, sign
from agents.evaluation.rollouts import evaluate, random_policy

TASKS = [task for task in ADROIT_TASKS.values() if task.hand is not None]


@pytest.fixture(scope="module", params=TASKS, ids=lambda task: task.name)
def recorded(request) -> tuple:
    """Episodes of the installed version, which adds the distance."""
    with EvaluationEnv(request.param.env_id) as env:
        result = evaluate(random_policy(env), env, 2, record=True)
    return request.param, result.episodes


def fitted(task, episodes: tuple[Episode, ...], scale: float = 1.0, subtracted: float = 0.0) -> float:
    fit = DistanceFit(task.name, functools.partial(palm_to_object, task))
    for episode in episodes:
        distance = np.linalg.norm(palm_to_object(task, episode.observations[1:]), axis=1)
        fit.add(episode.observations, scale * episode.rewards - subtracted * distance)
    return fit.coefficient


def test_the_installed_version_adds_the_distance(recorded) -> None:
    assert fitted(*recorded) == pytest.approx(COEFFICIENT, abs=0.01)
    assert sign(fitted(*recorded)) == 1


def test_what_else_is_rewarded_at_the_goal_is_known_too(recorded) -> None:
    """At random, hardly anything moves there."""
    task, episodes = recorded
    if task.name == "relocate":  # nothing is left to fit
        assert fitted(task, episodes) == pytest.approx(COEFFICIENT, abs=1e-6)
        return
    with EvaluationEnv(task.env_id) as env:
        solved = evaluate(load_bundle(task.name).expert, env, 2, record=True).episodes
    assert fitted(task, solved) == pytest.approx(COEFFICIENT, abs=0.06)


def test_rewards_of_d4rl_subtract_it(recorded) -> None:
    assert sign(fitted(*recorded, subtracted=0.2)) == -1


def test_other_rewards_are_neither(recorded) -> None:
    assert sign(fitted(*recorded, subtracted=0.1)) is None  # without the distance
    assert sign(fitted(*recorded, scale=3.0)) is None


def test_steps_that_are_not_finite_are_left_out(recorded) -> None:
    task, (first, second) = recorded
    broken = Episode(first.observations.copy(), first.actions, first.rewards.copy(), first.success)
    broken.rewards[5] = np.nan
    broken.observations[9, 3] = np.inf
    with np.errstate(invalid="ignore"):
        assert sign(fitted(task, (broken, second))) == 1
