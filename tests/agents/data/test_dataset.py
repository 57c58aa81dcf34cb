"""Datasets as users meet them: right transitions, batches, specs, and the environment to evaluate in."""

from __future__ import annotations

import dataclasses
import os
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from tensordict import TensorDict
from torchrl.data import Bounded, Categorical, TensorDictReplayBuffer, Unbounded
from torchrl.data.datasets import MinariExperienceReplay

from agents.data.dataset import OfflineDataset
from agents.data.layout import (
    DEFAULT_KEYS,
    DISCOUNTED_RETURN,
    END_KEYS,
    NEXT_ACTION,
    OPTIONAL_KEYS,
    WINDOW_KEYS,
)
from agents.data.settings import RewardsConfig
from agents.environments.scoring import Reference
from agents.errors import ConfigError, DataError
from agents.evaluation.rollouts import evaluate
from tests.agents.handmade import (
    ACTION_SPACE,
    DATASET,
    ENDS,
    NUM_OBSERVATIONS,
    assert_transitions,
    create,
    edit_metadata,
    episode,
    load,
    whole,
)

pytestmark = pytest.mark.usefixtures("root")

# Transitions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", ["memory", "memmap"])
@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet"])
def test_transitions_at_every_kind_of_episode_end(data_format: str, storage: str) -> None:
    create(*ENDS, data_format=data_format)
    dataset = load(storage=storage)
    assert len(dataset) == sum(len(arrays["rewards"]) for arrays in ENDS)
    assert_transitions(dataset, ENDS)


def test_only_terminated_stops_bootstrapping_and_no_transition_spans_two_episodes() -> None:
    create(*ENDS)
    rows = whole(load())
    before, after = rows["observation"][:, 0], rows["next.observation"][:, 0]
    assert torch.equal(
        after - before, torch.ones(len(before))
    )  # the next observation is the next one of the same episode
    last_of_terminated = torch.tensor([1004.0, 3005.0, 5001.0])
    assert torch.equal(after[rows["next.terminated"].squeeze(-1)], last_of_terminated)
    assert torch.equal(after[rows["next.truncated"].squeeze(-1)], torch.tensor([2003.0, 4002.0, 6001.0]))


def test_same_transitions_as_torchrl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # torchrl 0.14.1 ends its conversion with memmap_like, which keeps shapes only: every value would read 0
    monkeypatch.setattr(TensorDict, "memmap_like", lambda self, prefix: self.memmap(prefix))
    rng = np.random.default_rng(0)
    flags = rng.integers(0, 3, 30)  # how each of 30 episodes of random length ends
    episodes = [
        episode(int(rng.integers(1, 40)), seed=i, terminated=flag == 0, truncated=flag == 1)
        for i, flag in enumerate(flags)
    ]
    create(*episodes)
    replay = MinariExperienceReplay(
        DATASET, batch_size=1, root=tmp_path / "torchrl", download=False, load_from_local_minari=True
    )
    theirs, ours = replay[:], load().replay_buffer(1)[:]
    assert len(ours) == len(theirs) > 300
    for key in DEFAULT_KEYS:
        assert ours[key].shape == theirs[key].shape
        torch.testing.assert_close(ours[key], theirs[key].to(ours[key].dtype), rtol=0, atol=0)


def test_discrete_actions_are_indices() -> None:
    episodes = [episode(6, seed=1, actions=np.array([0, 1, 2, 3, 0, 1]), truncated=True)]
    for dataset_id, data_format in (("test/hdf5-v0", "hdf5"), ("test/arrow-v0", "arrow")):
        create(*episodes, dataset_id=dataset_id, action_space=gym.spaces.Discrete(4), data_format=data_format)
        dataset = load(dataset_id)
        assert isinstance(dataset.specs.action, Categorical)
        actions = dataset.replay_buffer(1)[:]["action"]
        assert actions.tolist() == [0, 1, 2, 3, 0, 1]
        assert dataset.specs.action.is_in(actions)


# Replay buffer --------------------------------------------------------------------------------------------------------


def test_batches_have_the_documented_keys_shapes_and_types() -> None:
    create(*ENDS)
    buffer = load().replay_buffer(8)
    assert isinstance(buffer, TensorDictReplayBuffer)
    batch = buffer.sample()
    shapes = {key: tuple(batch[key].shape) for key in DEFAULT_KEYS}
    assert shapes == dict(zip(DEFAULT_KEYS, [(8, 3), (8, 2), (8, 3), (8, 1), (8, 1)]))
    assert batch["next", "terminated"].dtype == torch.bool
    assert set(batch["next"].keys()) == {"observation", "reward", "terminated"}
    assert batch.batch_size == batch["next"].batch_size == torch.Size([8])


def test_only_the_keys_that_are_asked_for() -> None:
    create(*ENDS)
    batch = load().replay_buffer(8, keys=["observation", ("next", "done")]).sample()
    assert set(batch.keys(True, True)) == {"observation", ("next", "done"), "index"}
    with pytest.raises(ConfigError, match="cost"):
        load().replay_buffer(8, keys=["cost"])


def test_the_next_action_is_that_of_the_next_step_of_the_same_episode() -> None:
    create(*ENDS)
    batch = load().replay_buffer(1, keys=[*DEFAULT_KEYS, *END_KEYS, NEXT_ACTION])[:]
    actions = {
        arrays["observations"][t, 0]: arrays["actions"][t] for arrays in ENDS for t in range(len(arrays["actions"]))
    }
    running = ~batch["next", "done"].squeeze(-1)
    assert running.sum() == sum(len(arrays["actions"]) - 1 for arrays in ENDS)
    for transition in batch[running]:
        expected = actions[transition["next", "observation"][0].item()]
        np.testing.assert_array_equal(transition["next", "action"].numpy(), expected)


def test_with_a_next_action_steps_at_which_an_episode_was_cut_off_are_never_drawn() -> None:
    create(*ENDS)
    dataset = load()
    buffer = dataset.replay_buffer(1000, keys=[*DEFAULT_KEYS, *END_KEYS, NEXT_ACTION])
    cut_off = [arrays for arrays in ENDS if not arrays["terminations"][-1]]
    assert len(buffer) == len(dataset) - len(cut_off)
    batch = buffer.sample()
    assert not batch["next", "truncated"].any()
    terminated = batch["next", "terminated"].squeeze(-1)
    assert terminated.any()
    assert torch.equal(batch["next", "action"][terminated], batch["action"][terminated])  # some action, and a valid one
    assert len(set(batch["observation"][:, 0].tolist())) == len(buffer)


@pytest.mark.parametrize("storage", ["memory", "memmap"])
def test_a_batch_of_several_steps_ends_where_its_rewards_do(storage) -> None:
    create(*ENDS)
    dataset = load(storage=storage)
    rewards = dataset.learner_rewards(RewardsConfig(scale=2.0), n_step=3, gamma=0.5)
    rows = dataset.replay_buffer(1, keys=DEFAULT_KEYS + END_KEYS, rewards=rewards)[:]
    single = whole(dataset)
    for t, ahead in enumerate(rows["steps_to_next_obs"][:, 0].tolist()):
        last = t + ahead - 1
        assert ahead == 3 or single["next.done"][last]
        for key in ("observation", "terminated", "truncated", "done"):
            assert torch.equal(rows["next", key][t], single[f"next.{key}"][last])
        discounted = sum(0.5**k * 2.0 * single["next.reward"][t + k] for k in range(ahead))
        torch.testing.assert_close(rows["next", "reward"][t], discounted)
        assert torch.equal(rows["observation"][t], single["observation"][t])


def test_after_several_steps_too_no_transition_without_a_next_action_is_drawn() -> None:
    create(episode(5, seed=1, truncated=True), episode(4, seed=2, terminated=True))
    dataset = load()
    rewards = dataset.learner_rewards(RewardsConfig(), n_step=3)
    rows = dataset.replay_buffer(1, keys=(*DEFAULT_KEYS, NEXT_ACTION), rewards=rewards)[:]
    assert rows["observation"][:, 0].tolist() == [1000.0, 1001.0, 2000.0, 2001.0, 2002.0, 2003.0]
    assert torch.equal(rows["next", "action"][0], whole(dataset)["action"][3])


def test_returns_to_go_stay_in_the_datas_unit() -> None:
    create(*ENDS)
    dataset = load()
    rewards = dataset.learner_rewards(RewardsConfig(scale=100.0, shift=-1.0))
    key = {"keys": ("return_to_go",), "context_length": 2}
    scaled = dataset.replay_buffer(1, rewards=rewards, **key)[:]
    assert torch.equal(scaled["return_to_go"], dataset.replay_buffer(1, **key)[:]["return_to_go"])


def test_the_next_action_of_discrete_data_is_an_index() -> None:
    arrays = episode(6, seed=1, actions=np.array([0, 1, 2, 3, 0, 1]), truncated=True)
    create(arrays, action_space=gym.spaces.Discrete(4))
    batch = load().replay_buffer(1, keys=["action", NEXT_ACTION])[:]
    assert (batch["action"].tolist(), batch["next", "action"].tolist()) == ([0, 1, 2, 3, 0], [1, 2, 3, 0, 1])


def test_data_without_any_next_action_are_refused() -> None:
    create(episode(1, seed=1, truncated=True), episode(1, seed=2))
    with pytest.raises(DataError, match="no step with a next one"):
        load().replay_buffer(8, keys=[NEXT_ACTION])


def of_return(seed: int, value: float) -> dict:
    return episode(4, seed=seed, truncated=True, rewards=np.full(4, value / 4))


@pytest.mark.parametrize(
    ("share", "expected"), [(0.2, {3}), (0.35, {1, 3}), (0.01, {3}), (0.6, {1, 3, 4}), (1.0, {1, 2, 3, 4, 5})]
)
@pytest.mark.parametrize("storage", ["memory", "memmap"])
def test_the_best_episodes_are_those_with_the_largest_returns(share: float, expected: set[int], storage: str) -> None:
    create(*(of_return(seed, value) for seed, value in enumerate([4.0, -8.0, 8.0, 2.0, 2.0], start=1)))
    buffer = load(storage=storage).replay_buffer(500, best_episodes=share)
    assert len(buffer) == 4 * len(expected)
    drawn = buffer.sample()["observation"][:, 0].tolist()
    assert set(drawn) == {1000.0 * seed + t for seed in expected for t in range(4)}


def test_best_episodes_and_next_actions_go_together() -> None:
    create(of_return(1, 1.0), of_return(2, 2.0))
    buffer = load().replay_buffer(1, keys=["observation", NEXT_ACTION], best_episodes=0.5)
    assert buffer[:]["observation"][:, 0].tolist() == [2000.0, 2001.0, 2002.0]


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5, float("nan")])
def test_a_share_of_episodes_out_of_range_is_refused(share: float) -> None:
    create(*ENDS)
    with pytest.raises(ConfigError, match=rf"best_episodes must lie in \(0, 1\], got {share}"):
        load().replay_buffer(8, best_episodes=share)


@pytest.mark.parametrize("storage", ["memory", "memmap"])
def test_windows_begin_at_every_step_and_end_with_the_episode(storage: str) -> None:
    """Against the definition, written out step by step."""
    create(*ENDS)
    dataset, keys = load(storage=storage), (*DEFAULT_KEYS, *OPTIONAL_KEYS[:2], *WINDOW_KEYS)
    windows = dataset.replay_buffer(1, keys=keys, context_length=3)[:]
    assert windows.batch_size == (len(dataset), 3)
    singles = {key: value for key, value in dataset.replay_buffer(1, keys=keys[:7])[:].items(True, True)}
    row = 0
    for arrays in ENDS:
        rewards = arrays["rewards"]
        for start in range(len(rewards)):
            window, steps = windows[row + start], range(start, min(start + 3, len(rewards)))
            assert window["mask"].tolist() == [offset < len(steps) for offset in range(3)]
            inside = window[: len(steps)]
            for key, values in singles.items():
                assert torch.equal(inside[key], values[row + start : row + start + len(steps)])
            assert inside["step_count"].squeeze(-1).tolist() == list(steps)
            expected = [rewards[step:].sum() for step in steps]
            np.testing.assert_allclose(inside["return_to_go"].squeeze(-1), expected, rtol=1e-5, atol=1e-6)
            padding = window[len(steps) :].exclude("mask")
            assert all((value == window[key][len(steps) - 1]).all() for key, value in padding.items(True, True))
        row += len(rewards)


@pytest.mark.parametrize("storage", ["memory", "memmap"])
def test_a_discounted_return_is_of_the_learners_rewards_to_the_end_of_the_episode(storage: str) -> None:
    create(*ENDS)
    dataset, keys = load(storage=storage), ("action", DISCOUNTED_RETURN)
    plain = dataset.replay_buffer(1, keys=keys, gamma=0.9)[:][DISCOUNTED_RETURN]
    rewards = dataset.learner_rewards(RewardsConfig(scale=2.0), n_step=2, gamma=0.9)
    doubled = dataset.replay_buffer(1, keys=keys, gamma=0.9, rewards=rewards)[:][DISCOUNTED_RETURN]
    expected = [
        sum(0.9 ** (k - t) * arrays["rewards"][k] for k in range(t, len(arrays["rewards"])))
        for arrays in ENDS
        for t in range(len(arrays["rewards"]))
    ]
    assert plain.shape == (len(dataset), 1)
    np.testing.assert_allclose(plain.squeeze(-1), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(doubled.squeeze(-1), 2.0 * np.array(expected), rtol=1e-5, atol=1e-6)
    with pytest.raises(ConfigError, match=r"gamma must lie in \[0, 1\], got 1.5"):
        dataset.replay_buffer(1, keys=keys, gamma=1.5)


def test_a_large_reward_elsewhere_rounds_no_return_to_go() -> None:
    create(episode(2, truncated=True, rewards=np.ones(2)), episode(1, truncated=True, rewards=np.full(1, 2.0**30)))
    returns = load().replay_buffer(1, keys=["return_to_go"], context_length=1)[:]["return_to_go"]
    assert returns.flatten().tolist() == [2.0, 1.0, 2.0**30]


def test_windows_are_drawn_as_single_steps_are_also_from_the_best_episodes() -> None:
    create(*(of_return(seed, value) for seed, value in enumerate([4.0, -8.0, 8.0, 2.0], start=1)))
    dataset = load()
    for share in (None, 0.5):
        single, window = (
            dataset.replay_buffer(64, keys=["observation"], best_episodes=share, context_length=context_length).sample()
            for context_length in (None, 2)
        )
        assert torch.equal(window["observation"][:, 0], single["observation"])
        assert (window["observation"][..., 0] // 1000).diff(dim=1).eq(0).all()  # of one episode


def test_what_only_windows_have_needs_a_length_and_that_is_at_least_one() -> None:
    create(*ENDS)
    with pytest.raises(ConfigError, match="only windows have 'mask'; give a context_length"):
        load().replay_buffer(8, keys=["observation", "mask"])
    with pytest.raises(ConfigError, match="context_length must be at least 1, got 0"):
        load().replay_buffer(8, context_length=0)


def test_sampling_is_uniform_over_all_steps() -> None:
    create(*ENDS)
    dataset = load()
    index = torch.cat([dataset.replay_buffer(1000, seed=seed).sample()["index"] for seed in range(16)])
    counts = index.bincount(minlength=len(dataset))
    assert len(counts) == len(dataset)
    assert (counts - 1000).abs().max() < 6 * 1000**0.5  # six standard deviations


def test_the_state_of_the_generator_resumes_sampling_exactly() -> None:
    create(*ENDS)
    dataset = load()
    buffer, again = dataset.replay_buffer(4, seed=3), dataset.replay_buffer(4, seed=3)
    first = buffer.sample()["index"]
    assert torch.equal(first, again.sample()["index"])
    state = buffer._rng.get_state()
    following = [buffer.sample()["index"] for _ in range(3)]
    torch.manual_seed(0)  # the global generator has no part in it
    resumed = dataset.replay_buffer(4, seed=99)
    resumed._rng.set_state(state)
    assert all(torch.equal(index, resumed.sample()["index"]) for index in following)


def test_a_batch_can_be_changed_without_touching_the_data() -> None:
    create(*ENDS)
    dataset = load()
    rows = dataset.rows.clone()
    dataset.replay_buffer(50).sample()["observation"].zero_()
    assert torch.equal(dataset.rows, rows)


def test_memory_mapped_rows_stay_on_disk() -> None:
    create(*ENDS)
    mapped, loaded = load(storage="memmap"), load()
    file = next(Path(os.environ["MINARI_DATASETS_PATH"]).rglob("rows.f32"))
    maps = [
        line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines() if str(file) in line
    ]
    inside = [int(low, 16) <= mapped.rows.data_ptr() < int(high, 16) for low, high in maps]
    assert any(inside)
    assert torch.equal(mapped.rows, loaded.rows)
    with pytest.raises(ConfigError, match="memory, memmap"):
        load(storage="disk")


def test_batches_from_disk_arrive_on_the_device() -> None:
    create(*ENDS)
    dataset = load(storage="memmap", device="meta")
    batch = dataset.replay_buffer(8, keys=DEFAULT_KEYS + OPTIONAL_KEYS, context_length=3).sample().exclude("index")
    assert dataset.rows.device.type == "cpu"
    assert {value.device.type for value in batch.values(True, True)} == {"meta"}


# Specs and environment ------------------------------------------------------------------------------------------------


def test_specs_have_the_bounds_of_the_space_and_the_moments_of_the_observations() -> None:
    create(*ENDS)
    specs = load().specs
    observations = np.concatenate([arrays["observations"][:-1] for arrays in ENDS])
    assert specs.max_return == pytest.approx(max(arrays["rewards"].sum() for arrays in ENDS))
    np.testing.assert_allclose(specs.observation_mean, observations.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(specs.observation_std, observations.std(0), rtol=1e-5)
    assert isinstance(specs.observation, Unbounded)
    assert specs.observation.shape == (NUM_OBSERVATIONS,)
    assert isinstance(specs.action, Bounded)
    np.testing.assert_array_equal(specs.action.space.low, ACTION_SPACE.low)
    np.testing.assert_array_equal(specs.action.space.high, ACTION_SPACE.high)


PENDULUM = {"action_space": gym.spaces.Box(-2.0, 2.0, (1,))}  # Pendulum-v1 has three observations and one action
ONE_ACTION = PENDULUM["action_space"]


def pendulum_episodes() -> list[dict]:
    return [episode(5, seed=1, truncated=True, actions=np.ones((5, 1), np.float32))]


def test_evaluation_environment_comes_from_the_metadata() -> None:
    short = gym.make("Pendulum-v1", max_episode_steps=7).spec
    path = create(*pendulum_episodes(), **PENDULUM, env="CartPole-v1", eval_env=short)
    edit_metadata(path, ref_min_score=0.0, ref_max_score=1.0)
    dataset = load()
    assert dataset.make_env().spec.max_episode_steps == 7 and dataset.make_env().reference == Reference(0.0, 1.0)
    assert dataset.make_env(num_envs=3).num_envs == 3
    other = dataset.make_env(env_id="Pendulum-v1")
    assert (other.spec.id, other.reference) == ("Pendulum-v1", None)  # its returns are on another scale
    assert dataset.names_another_env("Pendulum-v1")
    same = dataclasses.replace(dataset, env_spec=gym.spec("Pendulum-v1"))
    assert not same.names_another_env("gymnasium:Pendulum-v1")
    changed = dataclasses.replace(dataset, env_spec=dataclasses.replace(gym.spec("Pendulum-v1"), kwargs={"g": 1.0}))
    assert changed.names_another_env("Pendulum-v1")


def test_evaluations_are_cut_off_where_the_setting_says() -> None:
    edit_metadata(create(*pendulum_episodes(), **PENDULUM, env="Pendulum-v1"), ref_min_score=0.0, ref_max_score=1.0)
    dataset = load()
    lengths = {steps: dataset.make_env(max_episode_steps=steps) for steps in (None, 200, 7, 900)}
    assert [env.spec.max_episode_steps for env in lengths.values()] == [200, 200, 7, 900]
    # Minari's references are returns of episodes of 200 steps
    assert [env.reference is not None for env in lengths.values()] == [True, True, False, False]
    assert not dataset.names_another_env(max_episode_steps=200) and dataset.names_another_env(max_episode_steps=7)


def test_an_environment_without_end_is_cut_off_by_the_setting_or_like_the_data() -> None:
    endless = dataclasses.replace(gym.spec("Pendulum-v1"), max_episode_steps=None)
    edit_metadata(create(*pendulum_episodes(), **PENDULUM, env=endless), ref_min_score=0.0, ref_max_score=1.0)
    dataset = load()
    with pytest.warns(UserWarning, match="no time limit: evaluations are cut off after 5 steps.* max_episode_steps=N"):
        like_the_data = dataset.make_env()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = dataset.make_env(max_episode_steps=9)
    assert (like_the_data.spec.max_episode_steps, env.spec.max_episode_steps) == (5, 9)
    assert like_the_data.reference == Reference(0.0, 1.0) and env.reference is None
    assert dataset.compares() and not dataset.compares(max_episode_steps=9)


def test_returns_of_pieces_are_no_measure_of_evaluations() -> None:
    """Episodes that somebody cut off before the task or its time was over."""
    pieces = [episode(5, seed=seed, actions=np.ones((5, 1), np.float32), terminated=seed < 2) for seed in range(4)]
    short = dataclasses.replace(gym.spec("Pendulum-v1"), max_episode_steps=5)
    for dataset_id, env, compares in (("test/whole-v0", short, True), ("test/half-v0", gym.spec("Pendulum-v1"), True)):
        create(*pieces, dataset_id=dataset_id, **PENDULUM, env=env)
        assert load(dataset_id).compares() is compares
    create(*pieces[1:], dataset_id="test/pieces-v0", **PENDULUM, env="Pendulum-v1")
    assert not load("test/pieces-v0").compares() and not load("test/pieces-v0").recorded_elsewhere


def test_returns_of_data_from_another_task_are_no_measure_of_evaluations() -> None:
    """Minari records pointmaze with random goals and evaluates it with one."""
    create(*pendulum_episodes(), **PENDULUM, env="Pendulum-v1", eval_env=gym.make("Pendulum-v1", g=1.0).spec)
    dataset = load()
    assert dataset.recorded_elsewhere and not dataset.compares() and not dataset.names_another_env()


def test_an_environment_of_other_bounds_is_warned_of() -> None:
    wider = gym.spaces.Box(-3.0, 3.0, (1,), np.float32)
    create(*pendulum_episodes(), **{**PENDULUM, "action_space": wider}, env="Pendulum-v1")
    for env_id in ("Pendulum-v1", None):
        with pytest.warns(UserWarning, match=r"other action bounds than .*, \[-2, 2\] and not \[-3, 3\].*eval_env"):
            load().make_env(env_id=env_id)


class FromOne(gym.Env):
    """Never ends; its actions begin at 1."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (3,))
    action_space = gym.spaces.Discrete(3, start=1)

    def reset(self, **_: object) -> tuple[np.ndarray, dict]:
        return np.zeros(3), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        return np.zeros(3), 1.0, False, False, {}


class FromZero(FromOne):
    action_space = gym.spaces.Discrete(3)


def discrete_data_of(env: type[gym.Env]) -> OfflineDataset:
    recorded = [episode(steps, seed=steps, actions=np.arange(steps) % 3) for steps in (5, 3)]
    create(*recorded, action_space=FromZero.action_space)
    return dataclasses.replace(load(), env_spec=EnvSpec("Own-v0", entry_point=env))


def test_the_environment_of_the_metadata_is_held_against_the_data_too() -> None:
    difference = r"actions in a Discrete\(3, start=1\), .* in a Discrete\(3\);.*eval_env"
    with pytest.warns(UserWarning), pytest.raises(DataError, match=difference):
        discrete_data_of(FromOne).make_env(trust=True)


def test_without_a_time_limit_an_evaluation_is_as_long_as_the_longest_episode() -> None:
    with pytest.warns(UserWarning, match="no time limit: evaluations are cut off after 5 steps"):
        env = discrete_data_of(FromZero).make_env(trust=True)
    assert evaluate(lambda observation, rng: 0, env, 1).lengths.tolist() == [5]


def test_without_environment_metadata_only_evaluation_is_refused() -> None:
    create(*pendulum_episodes(), **PENDULUM)
    dataset = load()
    assert dataset.env_spec is dataset.reference is None and dataset.statistics.scores == {}
    with pytest.raises(DataError, match=r"no environment metadata; pass eval_env=ID"):
        dataset.make_env()
    assert dataset.make_env(env_id="Pendulum-v1").spec.id == "Pendulum-v1"


@pytest.mark.parametrize(
    ("space", "env_id", "what", "theirs", "ours"),
    [
        (
            PENDULUM["action_space"],
            "MountainCarContinuous-v0",
            "observations",
            "Box of shape (2,)",
            "Box of shape (3,)",
        ),
        (ONE_ACTION, "CartPole-v1", "observations", "Box of shape (4,)", "Box of shape (3,)"),
        (ACTION_SPACE, "Pendulum-v1", "actions", "Box of shape (1,)", "Box of shape (2,)"),
        (gym.spaces.Discrete(1), "Pendulum-v1", "actions", "Box of shape (1,)", "Discrete(1)"),
        (ONE_ACTION, "FrozenLake-v1", "observations", "Discrete(16)", "Box of shape (3,)"),
    ],
)
def test_an_environment_of_other_shapes_is_refused(
    space: gym.Space, env_id: str, what: str, theirs: str, ours: str
) -> None:
    actions = np.zeros((5, *space.shape), space.dtype)
    create(episode(5, truncated=True, actions=actions), action_space=space)
    with pytest.raises(DataError) as caught:
        load().make_env(env_id=env_id)
    assert str(caught.value) == (
        f"environment {env_id!r} has {what} in a {theirs}, dataset {DATASET!r} in a {ours}; pass one that fits as "
        "eval_env=ID"
    )


def test_discrete_actions_are_compared_by_their_number() -> None:
    space = gym.spaces.Box(-np.inf, np.inf, (4,))
    observations = np.zeros((6, 4))
    for number in (2, 3):
        dataset_id = f"test/discrete{number}-v0"
        arrays = episode(5, truncated=True, observations=observations, actions=np.arange(5) % 2)
        create(arrays, dataset_id=dataset_id, observation_space=space, action_space=gym.spaces.Discrete(number))
    assert load("test/discrete2-v0").make_env(env_id="CartPole-v1").spec.id == "CartPole-v1"
    with pytest.raises(DataError, match=r"actions in a Discrete\(2\), .* in a Discrete\(3\)"):
        load("test/discrete3-v0").make_env(env_id="CartPole-v1")
