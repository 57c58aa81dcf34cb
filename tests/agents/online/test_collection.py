"""What is collected is what the environment said, step by step, and a collection goes on where it was left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torchrl.data import Categorical

from agents.algorithms.discrete_iql import DiscreteIQLConfig
from agents.algorithms.td3_bc import TD3BCConfig
from agents.data.layout import DEFAULT_KEYS, END_KEYS
from agents.environments.environment import EvaluationEnv
from agents.errors import ConfigError, DataError
from agents.networks.configs import DeterministicActorConfig
from agents.online.collection import Collection
from agents.online.exploration import Exploration


def wander(observations: np.ndarray, step: int) -> np.ndarray:
    """Actions that depend on both, and mostly go right."""
    return np.clip(np.sin(7.0 * observations[:, :1] + step) + 0.4, -1.0, 1.0).astype(np.float32)


def by_hand(env: EvaluationEnv, num_envs: int, num_rows: int, seed: int = 0) -> list[dict[str, Any]]:
    """The definition: every environment in turn, a new episode where one ends, each with a seed of its own."""

    def begin(gym_env: gym.Env, episode: int) -> np.ndarray:
        return gym_env.reset(seed=int(np.random.SeedSequence((seed, episode)).generate_state(1)[0]))[0]

    gym_envs, rows, step = [env.make() for _ in range(num_envs)], [], 0
    observations, next_episode = [begin(each, i) for i, each in enumerate(gym_envs)], num_envs
    while len(rows) < num_rows:
        actions = wander(np.float32(observations), step)
        step += num_envs
        for i, gym_env in enumerate(gym_envs):
            following, reward, terminated, truncated, _ = gym_env.step(actions[i])
            rows.append(
                {
                    "observation": observations[i],
                    "action": actions[i],
                    "next.observation": following,
                    "next.reward": [reward],
                    "next.terminated": [terminated],
                    "next.truncated": [truncated and not terminated],
                    "next.done": [terminated or truncated],
                }
            )
            observations[i] = following
            if terminated or truncated:
                observations[i] = begin(gym_env, next_episode)
                next_episode += 1
    return rows


@pytest.mark.parametrize("num_envs", [1, 3])
def test_rows_are_the_transitions_of_a_plain_loop(walk, experience, num_envs) -> None:
    rows = experience(capacity=120, num_envs=num_envs, keys=DEFAULT_KEYS + END_KEYS)
    with Collection(walk, wander, rows) as collection:
        while rows.length < 120:
            collection.step()
    expected = by_hand(walk, num_envs, 120)
    batch = rows.batch(torch.arange(120)).flatten_keys(".")
    assert {*batch.keys()} == {*expected[0]}
    for name, values in batch.items():
        np.testing.assert_array_equal(values.numpy(), np.array([row[name] for row in expected], values.numpy().dtype))
    ends = batch["next.terminated"].sum(), batch["next.truncated"].sum()
    assert min(ends) > 2, "both ways to end are to be seen"
    assert len(rows.episodes) == batch["next.done"].sum()


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("left_at", [0, 3, 30, 45])
def test_a_collection_goes_on_from_any_row(walk, experience, tmp_path, num_envs, left_at) -> None:
    def collect(rows: Any, until: int, **options: Any) -> list[int]:
        with Collection(walk, wander, rows, **options) as collection:
            while rows.length < until:
                collection.step()
            return collection.episodes

    whole = experience(capacity=60, num_envs=num_envs, file=tmp_path / "whole")
    collect(whole, 60)
    file = tmp_path / "parts"
    first = experience(capacity=60, num_envs=num_envs, file=file)
    running = collect(first, left_at)
    first.append(*[np.ones((num_envs, n)) for n in (2, 1, 1, 1, 1, 2)])  # after the checkpoint, before the kill
    again = experience(capacity=60, num_envs=num_envs, file=file, length=left_at)
    assert not again.rows[left_at:].any(), "what came after the checkpoint is cut off"
    collect(again, 60, episodes=running if left_at else None)
    assert (tmp_path / "whole").read_bytes() == file.read_bytes()
    assert again.episodes == whole.episodes


def test_steps_that_are_gone_are_not_taken_for_zeros(experience) -> None:
    with pytest.raises(DataError, match="has room for 0 steps, and 3 were made; put that file back"):
        experience(capacity=60, length=3)


def test_an_environment_that_does_not_repeat_itself_is_said_and_cut_off(walk, experience, tmp_path) -> None:
    first = experience(capacity=60)
    with Collection(walk, wander, first) as collection:
        while first.episodes or first.length < 3:
            collection.step()
        episodes = collection.episodes
    first.rows[first.length - 1, 0] += 1.0
    again = experience(capacity=60, file=tmp_path / "0.f32", length=first.length)
    with (
        pytest.warns(UserWarning, match="does not repeat"),
        Collection(walk, wander, again, episodes=episodes) as other,
    ):
        assert again.episodes[-1].last == again.length - 1
        assert other.episodes == [episodes[0] + 1]
        assert not again.batch(torch.tensor([again.length - 1]))["next", "terminated"].any()


def test_a_failure_names_the_step_and_keeps_nothing_of_it(walk, experience) -> None:
    rows = experience(capacity=60)

    def act(observations: np.ndarray, step: int) -> Any:
        return np.array([["no number"]]) if step == 4 else wander(observations, step)

    def fail(observations: np.ndarray, step: int) -> np.ndarray:
        return np.full((1, 1), np.nan, np.float32) if step == 4 else wander(observations, step)

    with Collection(walk, fail, rows) as collection, pytest.raises(DataError, match="at environment step 5: .*finite"):
        while True:
            collection.step()
    assert rows.length == 4


def test_exploration_depends_on_the_step_and_not_on_what_was_drawn_before(specs) -> None:
    agent = TD3BCConfig(actor=DeterministicActorConfig(hidden_sizes=[4])).build(specs)
    observations = np.zeros((2000, 2), np.float32)
    act = Exploration(agent, specs, noise=0.2, num_random_steps=10, seed=1)
    state = torch.get_rng_state()
    first, second = act(observations, 20), act(observations, 21)
    assert state.equal(torch.get_rng_state())
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(Exploration(agent, specs, noise=0.2, seed=1)(observations, 20), first)
    mean = agent.policy.module(torch.zeros(1, 2)).item()
    assert first.std() == pytest.approx(0.2, rel=0.1) and first.mean() == pytest.approx(mean, abs=0.02)
    random = act(observations, 9)
    assert random.std() == pytest.approx(2 / 12**0.5, rel=0.05) and abs(random).max() <= 1.0


def test_what_is_drawn_lies_inside_limits_and_random_actions_are_spread_over_them(specs) -> None:
    agent = TD3BCConfig(actor=DeterministicActorConfig(hidden_sizes=[4])).build(specs)
    limited = specs.limited(np.array([-0.25]), np.array([3.0]))
    act = Exploration(agent, limited, noise=5.0, num_random_steps=10)
    random, noisy = (act(np.zeros((2000, 2), np.float32), step) for step in (0, 10))
    for actions in (random, noisy):
        assert actions.min() >= -0.25 and actions.max() <= 1.0
    assert random.mean() == pytest.approx(0.375, abs=0.03) and random.std() == pytest.approx(1.25 / 12**0.5, rel=0.05)
    assert (noisy == -0.25).mean() > 0.1, "noise is clipped, as ever"
    with pytest.raises(ConfigError, match="no action lies inside both the limits and the bounds"):
        specs.limited(np.array([2.0]), np.array([3.0]))


def test_indices_are_drawn_whatever_the_noise_of_numbers_is(specs) -> None:
    specs = replace(specs, action=Categorical(3))
    agent = DiscreteIQLConfig().build(specs)
    observations = np.zeros((50, 2), np.float32)
    drawn = [Exploration(agent, specs, noise=noise)(observations, 0) for noise in (None, 0.5)]
    np.testing.assert_array_equal(*drawn)
    assert len({*drawn[0].tolist()}) > 1
