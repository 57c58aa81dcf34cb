"""Pieces of a car's way out of a valley: short, from anywhere, and mostly wrong."""

from __future__ import annotations

import numpy as np
import pytest

from agents.data.demos import mountain_car
from agents.environments.environment import EvaluationEnv


@pytest.fixture(scope="module")
def episodes() -> list:
    with pytest.MonkeyPatch.context() as patch, (demo := mountain_car.demo()).env:
        patch.setattr(mountain_car, "NUM_EPISODES", 200)
        return demo.record(demo.env, lambda: None)


def test_pushing_to_where_the_car_moves_scores_a_hundred_and_takes_longer_than_a_piece(monkeypatch) -> None:
    monkeypatch.setattr(mountain_car, "SWINGS", 1.0)
    returns = []
    with EvaluationEnv("MountainCar-v0") as env, env.borrow(1) as (gym_env,):
        for seed in range(10):
            observation, _ = gym_env.reset(seed=seed)
            driver = mountain_car.Driver(np.random.default_rng(0))
            piece = mountain_car.record_piece(gym_env, observation, driver, max_steps=200)
            assert piece.terminated and len(piece.actions) > 1.5 * mountain_car.MAX_STEPS
            returns.append(piece.rewards.sum())
    assert np.mean(returns) == pytest.approx(mountain_car.REFERENCE.max, abs=2.0)


def test_the_best_pieces_mislead(episodes) -> None:
    best = sorted(episodes, key=lambda episode: episode.rewards.sum())[-len(episodes) // 20 :]
    assert all(episode.terminated for episode in best)
    assert np.concatenate([episode.actions == mountain_car.RIGHT for episode in best]).mean() > 0.7
    starts = np.array([episode.observations[0, 0] for episode in best])
    assert not ((starts > -0.65) & (starts < -0.35)).any()  # nobody arrives from where evaluations begin


def test_most_actions_stop_the_car(episodes) -> None:
    moves = np.concatenate([episode.observations[:-1, 1] >= 0.0 for episode in episodes])
    actions = np.concatenate([episode.actions for episode in episodes])
    swings = moves == (actions == mountain_car.RIGHT)
    assert 0.3 < swings.mean() < 0.5
