"""Pieces of a cart's way, by a driver who minds the track and one who does not."""

from __future__ import annotations

import numpy as np
import pytest

from agents.data.demos import cart_pole
from agents.environments.environment import EvaluationEnv


@pytest.mark.parametrize(("minds", "lowest", "highest"), [(True, 500, 500), (False, 100, 300)])
def test_only_one_of_the_drivers_stays_on_the_track(minds, lowest, highest) -> None:
    with EvaluationEnv("CartPole-v1") as env, env.borrow(1) as (gym_env,):
        for seed in range(3):
            observation, _ = gym_env.reset(seed=seed)
            driver = cart_pole.Driver(np.random.default_rng(seed), minds=minds)
            num_steps, over = 0, False
            while not over:
                observation, _, terminated, truncated, _ = gym_env.step(driver(observation))
                num_steps, over = num_steps + 1, terminated or truncated
            assert lowest <= num_steps <= highest
            assert minds or observation[0] > 2.4  # the end of the track


def test_no_piece_is_better_than_the_majority_s(monkeypatch) -> None:
    monkeypatch.setattr(cart_pole, "NUM_EPISODES", 60)
    demo = cart_pole.demo()
    with demo.env:
        episodes = demo.record(demo.env, lambda: None)
    whole = [len(episode.actions) == cart_pole.MAX_STEPS for episode in episodes]
    assert 0.6 < np.mean(whole) < 1.0
    assert all(whole[i] or episode.terminated for i, episode in enumerate(episodes))
