"""What a dataset holds: counted exactly, also where training would refuse the data."""

from __future__ import annotations

import tracemalloc

import gymnasium as gym
import numpy as np
import pytest

import agents
from agents.data import inspection
from agents.data.contents import NotFinite
from agents.data.inspection import inspect_dataset
from tests.agents.handmade import ACTION_SPACE, DATASET, ENDS, adroit_env_spec, create, edit_metadata, episode, load


def inspected(*episodes: dict, dataset_id: str = DATASET, **options) -> agents.Inspection:
    create(*episodes, dataset_id=dataset_id, **options)
    return inspect_dataset(dataset_id, progress=False)


def test_what_conversion_counts_too_is_the_same(root) -> None:
    dataset = inspected(*ENDS)
    statistics = load().statistics
    for name in ("returns", "lengths", "scores", "protocol_returns", "success", "protocol_success", "success_last"):
        np.testing.assert_array_equal(getattr(dataset, name), getattr(statistics, name), err_msg=name)
    assert (dataset.num_episodes, dataset.num_steps) == (statistics.num_episodes, statistics.num_steps)
    np.testing.assert_allclose(dataset.actions.columns.min, statistics.action_min)
    np.testing.assert_allclose(dataset.rewards.mean(), statistics.reward_mean, rtol=1e-6)


def test_episodes_end_in_four_ways(root) -> None:
    dataset = inspected(*ENDS)
    assert dataset.terminated.tolist() == [True, False, True, False, True, False]
    assert dataset.truncated.tolist() == [False, True, True, False, False, True]
    assert dataset.early_terminations == 0
    early = {**episode(4), "terminations": np.array([False, True, True, False])}
    assert inspected(early, dataset_id="test/early-v0").early_terminations == 2


def test_observations_are_measured_with_the_last_of_each_episode(root) -> None:
    arrays = [episode(6, seed=1), episode(3, seed=2)]
    arrays[0]["observations"][:, 2] = arrays[1]["observations"][:, 2] = 4.0
    columns, values = inspected(*arrays).observations, np.concatenate([each["observations"] for each in arrays])
    for name in ("min", "max", "mean", "std"):
        np.testing.assert_allclose(getattr(columns, name), getattr(values, name)(0), err_msg=name)
    assert columns.constant.tolist() == [False, False, True]


def test_values_that_are_not_finite_are_counted_and_located(root) -> None:
    arrays = [episode(5, seed=seed) for seed in range(3)]
    arrays[1]["observations"][2, :2] = np.nan
    arrays[2]["observations"][0, 1] = np.inf
    arrays[2]["rewards"][4] = -np.inf
    dataset = inspected(*arrays)
    assert dataset.not_finite == (NotFinite("observations", 3, 1, 2), NotFinite("rewards", 1, 2, 4))
    assert np.isfinite(dataset.returns).tolist() == [True, True, False]
    assert np.isfinite(dataset.observations.mean).all()
    with pytest.raises(agents.DataError):
        load()


def test_a_dimension_without_a_finite_step_has_no_statistics(root) -> None:
    broken = episode(3)
    broken["observations"][:, 0] = np.nan
    assert np.isnan(inspected(broken).observations.std).all()


def test_actions_at_and_beyond_their_bounds(root) -> None:
    arrays = episode(10)
    arrays["actions"][:] = 0.5
    arrays["actions"][:3, 0], arrays["actions"][3, 0], arrays["actions"][:5, 1] = -1.0, 0.9995, 4.0
    actions = inspected(arrays).actions
    np.testing.assert_allclose((actions.at_low, actions.at_high), ([0.3, 0.0], [0.1, 0.5]))
    assert actions.saturated == pytest.approx(0.45) and actions.outside == 0
    arrays["actions"][7] = (1.5, -0.5)
    assert inspected(arrays, dataset_id="test/outside-v0").actions.outside == 2


def test_a_locked_dimension_is_at_no_bound(root) -> None:
    space = gym.spaces.Box(np.float32([-1.0, 0.5]), np.float32([1.0, 0.5]))
    arrays = episode(4)
    arrays["actions"][:] = ((-1.0, 0.5), (0.0, 0.5), (0.0, 0.5), (0.0, 0.5))
    actions = inspected(arrays, action_space=space).actions
    np.testing.assert_allclose((actions.at_low, actions.at_high), ([0.25, 0.0], [0.0, 0.0]))
    assert load().statistics.saturated_actions == actions.saturated == 0.125


def test_an_action_without_bounds_is_never_at_one(root) -> None:
    space = gym.spaces.Box(-np.inf, np.inf, ACTION_SPACE.shape)
    actions = inspected(episode(4), action_space=space).actions
    assert actions.saturated == 0.0 and actions.outside == 0


def test_discrete_actions_are_counted(root) -> None:
    taken = np.array([0, 2, 2, 0, 2])
    actions = inspected(episode(5, actions=taken), action_space=gym.spaces.Discrete(4)).actions
    assert actions.discrete and actions.counts == {"0": 2, "1": 0, "2": 3, "3": 0} and actions.outside == 0


def test_repeated_episodes_transitions_and_starts_are_counted(root) -> None:
    first, other = episode(6, seed=1), episode(4, seed=2)
    partly = episode(6, seed=1)
    partly["rewards"][3:] += 1.0  # three of its steps are the first episode's
    dataset = inspected(first, other, episode(6, seed=1), partly)
    assert dataset.repeats.tolist() == [False, False, True, False]
    assert dataset.num_repeated_steps == 6 + 3
    assert dataset.num_starts == 2


def test_numbers_that_differ_in_the_last_digit_are_no_repeats(root) -> None:
    first, second = episode(5, seed=1), episode(5, seed=1)
    second["observations"] = np.nextafter(second["observations"], np.inf)
    dataset = inspected(first, second)
    assert dataset.num_repeated_steps == 0 and dataset.num_starts == 2


def test_returns_within_the_horizon_of_an_evaluation(root) -> None:
    spec = gym.make("Pendulum-v1", max_episode_steps=4).spec
    arrays = [episode(3, seed=1), episode(9, seed=2)]
    dataset = inspected(*arrays, env=spec)
    assert dataset.horizon == 4
    np.testing.assert_allclose(dataset.horizon_returns, [arrays[0]["rewards"].sum(), arrays[1]["rewards"][:4].sum()])
    np.testing.assert_allclose(dataset.returns[1], arrays[1]["rewards"].sum())


def test_without_an_environment_there_is_no_horizon(root) -> None:
    dataset = inspected(episode(9))
    assert dataset.horizon is None and dataset.scores == {} and dataset.remarks == ()
    np.testing.assert_array_equal(dataset.horizon_returns, dataset.returns)


def test_one_episode_of_one_step(root) -> None:
    dataset = inspected(episode(1))
    assert (dataset.num_episodes, dataset.num_steps, dataset.num_empty) == (1, 1, 0)
    assert dataset.sample.observations.shape == (1, 3) and dataset.sample.actions.shape == (1, 2)


def test_the_sample_is_evenly_spaced_over_all_episodes(root, monkeypatch) -> None:
    monkeypatch.setattr(inspection, "SAMPLE", 8)
    arrays = [episode(steps, seed=seed) for seed, steps in enumerate((7, 1, 12, 3))]  # 23 steps: every third
    sample = inspected(*arrays).sample
    steps = np.concatenate([each["observations"][:-1] for each in arrays])
    np.testing.assert_array_equal(sample.observations, steps[::3])
    np.testing.assert_array_equal(sample.episodes, np.repeat(range(4), (7, 1, 12, 3))[::3])


def test_a_large_dataset_is_never_in_memory_as_a_whole(root, monkeypatch) -> None:
    monkeypatch.setattr(inspection, "SAMPLE", 100)
    space = gym.spaces.Box(-np.inf, np.inf, (100,), np.float64)
    arrays = [{**episode(500, seed=seed), "observations": np.ones((501, 100))} for seed in range(20)]
    create(*arrays, observation_space=space)
    whole = sum(each["observations"].nbytes for each in arrays)
    del arrays
    tracemalloc.start()
    try:
        dataset = inspect_dataset(DATASET, progress=False)
        assert tracemalloc.get_traced_memory()[1] < 0.6 * whole
    finally:
        tracemalloc.stop()
    assert dataset.num_steps == 10_000


def test_an_adroit_dataset_has_a_fit_only_where_the_reward_has_the_distance(root) -> None:
    space = gym.spaces.Box(-np.inf, np.inf, (45,), np.float64)
    path = create({**episode(5), "observations": np.ones((6, 45))}, observation_space=space)
    edit_metadata(path, env_spec=adroit_env_spec())
    dataset = inspect_dataset(DATASET, progress=False)
    assert "d4rl" in dataset.source.scorings and dataset.remarks == () and "d4rl" in dataset.scores
