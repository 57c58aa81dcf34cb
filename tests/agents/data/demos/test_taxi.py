"""Ways of a taxi from stand to stand, one after the other."""

from __future__ import annotations

import numpy as np
import pytest

from agents.data.demos import taxi
from agents.environments.environment import EvaluationEnv

DELIVERED = 20  # the reward


@pytest.fixture(scope="module")
def episodes() -> list:
    with pytest.MonkeyPatch.context() as patch, (demo := taxi.demo()).env:
        patch.setattr(taxi, "NUM_EPISODES", 300)
        return demo.record(demo.env, lambda: None)


@pytest.fixture
def roads() -> taxi.Roads:
    with EvaluationEnv("Taxi-v4") as env, env.borrow(1) as (gym_env,):
        return taxi.Roads(gym_env)


def test_a_way_begins_where_the_last_one_ended_unless_the_passenger_was_delivered(episodes) -> None:
    joined = [first.observations[-1] == second.observations[0] for first, second in zip(episodes, episodes[1:])]
    new = [first.terminated for first in episodes[:-1]]
    assert 0.5 < np.mean(joined) < 1.0
    assert not any(join and anew for join, anew in zip(joined, new))


def test_a_piece_is_what_the_town_answers(episodes, roads) -> None:
    for episode in episodes[:50]:
        for step, action in enumerate(episode.actions):
            ((_, state, reward, over),) = roads.town.P[int(episode.observations[step])][int(action)]
            assert (state, reward) == (episode.observations[step + 1], episode.rewards[step])
            assert over == (episode.terminated and step == len(episode.actions) - 1)


def test_hardly_any_recording_has_a_passenger_fetched_and_delivered(episodes, roads) -> None:
    waits = [roads.town.decode(int(episode.observations[0]))[2] < len(roads.stands) for episode in episodes]
    delivered = [episode.rewards[-1] == DELIVERED for episode in episodes]
    assert np.mean(delivered) > 0.02
    assert np.mean([wait and done for wait, done in zip(waits, delivered)]) < 0.01


def test_ways_are_shortest_ones(roads) -> None:
    assert [roads.to_go[0][stand] for stand in roads.stands] == [0, 8, 4, 7]


def test_a_perfect_driver_scores_a_hundred(roads) -> None:
    town, returns = roads.town, []
    for state in np.flatnonzero(town.initial_state_distrib):
        row, column, passenger, destination = town.decode(int(state))
        there, onwards = roads.to_go[passenger][row, column], roads.to_go[destination][roads.stands[passenger]]
        returns.append(DELIVERED - there - 1 - onwards)
    assert np.mean(returns) == pytest.approx(taxi.REFERENCE.max, abs=0.5)
