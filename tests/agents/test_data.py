"""Datasets: right transitions, honest statistics, a cache that survives everything, one clear line for bad input.

Shapes: ``T`` steps of an episode, ``O`` observation, ``A`` action, ``N`` steps of the dataset.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import minari
import numpy as np
import pytest
import torch
from minari.data_collector.episode_buffer import EpisodeBuffer
from tensordict import TensorDict
from torchrl.data import Bounded, Categorical, TensorDictReplayBuffer, Unbounded
from torchrl.data.datasets import MinariExperienceReplay

from agents import data
from agents.envs import adroit_task, d4rl_return, success_held
from agents.errors import ConfigError, DataError

NUM_OBSERVATIONS, NUM_ACTIONS = 3, 2
OBSERVATION_SPACE = gym.spaces.Box(-np.inf, np.inf, (NUM_OBSERVATIONS,), np.float64)
ACTION_SPACE = gym.spaces.Box(np.float32([-1.0, 0.0]), np.float32([1.0, 4.0]))
DATASET = "test/hand-v0"
REPOSITORY = Path(data.__file__).parents[1]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty dataset folder, an empty user cache, and no network."""

    def no_network(*_: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(data.socket, "getaddrinfo", no_network)
    for name in ("MINARI_REMOTE", "HF_ENDPOINT", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path / "minari"


def episode(num_steps: int, *, seed: int = 0, terminated: bool = False, truncated: bool = False, **other: Any) -> dict:
    """Random values; observation ``t`` of episode ``seed`` has ``1000 * seed + t`` in its first column."""
    rng = np.random.default_rng(seed)
    observations = rng.standard_normal((num_steps + 1, NUM_OBSERVATIONS))
    observations[:, 0] = 1000 * seed + np.arange(num_steps + 1)
    ends = np.arange(num_steps) == num_steps - 1
    arrays = {
        "observations": observations,
        "actions": rng.uniform(ACTION_SPACE.low, ACTION_SPACE.high, (num_steps, NUM_ACTIONS)).astype(np.float32),
        "rewards": rng.standard_normal(num_steps),
        "terminations": ends & terminated,
        "truncations": ends & truncated,
    }
    return {**arrays, **other}


def create(*episodes: dict, dataset_id: str = DATASET, **options: Any) -> Path:
    """Write a dataset with Minari and return its data folder."""
    options = {"observation_space": OBSERVATION_SPACE, "action_space": ACTION_SPACE, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(dataset_id, [EpisodeBuffer(**arrays) for arrays in episodes], **options)
    return Path(os.environ["MINARI_DATASETS_PATH"], dataset_id, "data")


def load(dataset_id: str = DATASET, **options: Any) -> data.OfflineDataset:
    return data.load_dataset(dataset_id, progress=False, **options)


def refusal(dataset_id: str = DATASET, **options: Any) -> str:
    """The message of the DataError that loading ends in: one line that names the dataset."""
    with pytest.raises(DataError) as caught:
        load(dataset_id, **options)
    message = str(caught.value)
    assert repr(dataset_id) in message
    assert "\n" not in message
    return message


def edit_metadata(path: Path, **changes: Any) -> None:
    """Change entries of metadata.json; None removes one."""
    metadata = {**json.loads((path / "metadata.json").read_text()), **changes}
    (path / "metadata.json").write_text(
        json.dumps({key: value for key, value in metadata.items() if value is not None})
    )


def edit_episode(path: Path, index: int, **arrays: Any) -> None:
    """Replace arrays of an episode by others of any shape; None removes one."""
    with h5py.File(path / "main_data.hdf5", "a") as file:
        for name, array in arrays.items():
            del file[f"episode_{index}"][name]
            if array is not None:
                file[f"episode_{index}"][name] = array


def caches(root: Path) -> list[str]:
    """What conversions have left of the dataset, whole or not."""
    home = root / ".offline_agents" / DATASET.replace("/", "--")
    return sorted(path.name for path in home.iterdir() if path.is_dir()) if home.exists() else []


def whole(dataset: data.OfflineDataset) -> dict[Any, torch.Tensor]:
    """Every transition in order, through the replay buffer."""
    return dataset.replay_buffer(1, keys=data.DEFAULT_KEYS + data.OPTIONAL_KEYS)[:].flatten_keys(".").to_dict()


# Transitions ---------------------------------------------------------------------------------------------------------

ENDS = [
    episode(4, seed=1, terminated=True),
    episode(3, seed=2, truncated=True),
    episode(5, seed=3, terminated=True, truncated=True),
    episode(2, seed=4),  # neither: the recording just stops
    episode(1, seed=5, terminated=True),
    episode(1, seed=6, truncated=True),
]


def expected(episodes: list[dict]) -> dict[str, np.ndarray]:
    """The transitions of the definition, written out step by step."""
    rows: dict[str, list] = {}
    for arrays in episodes:
        for t in range(len(arrays["rewards"])):
            last = t == len(arrays["rewards"]) - 1
            step = {
                "observation": arrays["observations"][t],
                "action": np.atleast_1d(arrays["actions"][t]),
                "next.observation": arrays["observations"][t + 1],
                "next.reward": [arrays["rewards"][t]],
                "next.terminated": [arrays["terminations"][t]],
                "next.done": [last],
                "next.truncated": [last and not arrays["terminations"][t]],
            }
            for key, value in step.items():
                rows.setdefault(key, []).append(value)
    return {key: np.array(values) for key, values in rows.items()}


def assert_transitions(dataset: data.OfflineDataset, episodes: list[dict]) -> None:
    for key, values in expected(episodes).items():
        found = whole(dataset)[key]
        assert found.dtype == (torch.bool if values.dtype == bool else torch.float32)
        np.testing.assert_array_equal(found.numpy(), values.astype(found.numpy().dtype), err_msg=key)


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
    for key in data.DEFAULT_KEYS:
        assert ours[key].shape == theirs[key].shape
        torch.testing.assert_close(ours[key], theirs[key].to(ours[key].dtype), rtol=0, atol=0)


def test_termination_inside_an_episode_is_kept_where_it_was() -> None:
    arrays = episode(5, seed=1, truncated=True, terminations=np.array([0, 0, 1, 0, 0], bool))
    create(arrays)
    assert whole(load())["next.terminated"].flatten().tolist() == [False, False, True, False, False]


def test_episodes_longer_than_a_piece_and_than_an_arrow_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "PIECE", 1000)
    episodes = [episode(40_000, seed=1, truncated=True), episode(7, seed=2, terminated=True)]
    create(*episodes, data_format="parquet")
    dataset = load()
    assert_transitions(dataset, episodes)
    observations = np.concatenate([arrays["observations"][:-1] for arrays in episodes])
    np.testing.assert_allclose(dataset.specs.observation_mean, observations.mean(0), rtol=1e-6)
    np.testing.assert_allclose(dataset.specs.observation_std, observations.std(0), rtol=1e-6)


def test_no_episode_is_lost_where_the_file_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "REOPEN_EVERY", 2)
    create(*ENDS[:5])
    assert_transitions(load(), ENDS[:5])


def test_discrete_actions_are_indices() -> None:
    episodes = [episode(6, seed=1, actions=np.array([0, 1, 2, 3, 0, 1]), truncated=True)]
    for dataset_id, data_format in (("test/hdf5-v0", "hdf5"), ("test/arrow-v0", "arrow")):
        create(*episodes, dataset_id=dataset_id, action_space=gym.spaces.Discrete(4), data_format=data_format)
        dataset = load(dataset_id)
        assert isinstance(dataset.specs.action, Categorical)
        actions = dataset.replay_buffer(1)[:]["action"]
        assert actions.tolist() == [0, 1, 2, 3, 0, 1]
        assert dataset.specs.action.is_in(actions)


# Replay buffer -------------------------------------------------------------------------------------------------------


def test_batches_have_the_documented_keys_shapes_and_types() -> None:
    create(*ENDS)
    buffer = load().replay_buffer(8)
    assert isinstance(buffer, TensorDictReplayBuffer)
    batch = buffer.sample()
    shapes = {key: tuple(batch[key].shape) for key in data.DEFAULT_KEYS}
    assert shapes == dict(zip(data.DEFAULT_KEYS, [(8, 3), (8, 2), (8, 3), (8, 1), (8, 1)]))
    assert batch["next", "terminated"].dtype == torch.bool
    assert set(batch["next"].keys()) == {"observation", "reward", "terminated"}
    assert batch.batch_size == batch["next"].batch_size == torch.Size([8])


def test_only_the_keys_that_are_asked_for() -> None:
    create(*ENDS)
    batch = load().replay_buffer(8, keys=["observation", ("next", "done")]).sample()
    assert set(batch.keys(True, True)) == {"observation", ("next", "done"), "index"}
    with pytest.raises(ConfigError, match="cost"):
        load().replay_buffer(8, keys=["cost"])


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
    batch = dataset.replay_buffer(8, keys=data.DEFAULT_KEYS + data.OPTIONAL_KEYS).sample().exclude("index")
    assert dataset.rows.device.type == "cpu"
    assert {value.device.type for value in batch.values(True, True)} == {"meta"}


# Specs and statistics ------------------------------------------------------------------------------------------------


def test_specs_have_the_bounds_of_the_space_and_the_moments_of_the_observations() -> None:
    create(*ENDS)
    specs = load().specs
    observations = np.concatenate([arrays["observations"][:-1] for arrays in ENDS])
    np.testing.assert_allclose(specs.observation_mean, observations.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(specs.observation_std, observations.std(0), rtol=1e-5)
    assert isinstance(specs.observation, Unbounded)
    assert specs.observation.shape == (NUM_OBSERVATIONS,)
    assert isinstance(specs.action, Bounded)
    np.testing.assert_array_equal(specs.action.space.low, ACTION_SPACE.low)
    np.testing.assert_array_equal(specs.action.space.high, ACTION_SPACE.high)


def test_moments_are_exact_where_the_mean_is_far_larger_than_the_std() -> None:
    episodes = [episode(50, seed=seed) for seed in range(20)]
    for arrays in episodes:
        arrays["observations"] = 10_000.0 + np.round(arrays["observations"] % 1.0, 2)
    create(*episodes)
    observations = np.concatenate([arrays["observations"][:-1] for arrays in episodes]).astype(np.float32)
    np.testing.assert_allclose(load().specs.observation_std, observations.std(0, dtype=np.float64), rtol=1e-6)


def test_statistics_describe_the_source() -> None:
    arrays = episode(4, seed=1, terminated=True)
    arrays["actions"] = np.float32([[-1.0, 0.0], [0.9985, 4.0], [0.0, 2.0], [0.0, 3.9]])  # 4 within 0.1 % of a bound
    episodes = [arrays, *ENDS[1:]]
    create(*episodes)
    statistics = load().statistics
    rewards = np.concatenate([arrays["rewards"] for arrays in episodes])
    actions = np.concatenate([arrays["actions"] for arrays in episodes])
    assert (statistics.num_episodes, statistics.num_steps) == (6, 16)
    np.testing.assert_allclose(statistics.returns, [arrays["rewards"].sum() for arrays in episodes])
    np.testing.assert_array_equal(statistics.lengths, [4, 3, 5, 2, 1, 1])
    np.testing.assert_array_equal(statistics.action_min, actions.min(0))
    np.testing.assert_array_equal(statistics.action_max, actions.max(0))
    found = (statistics.reward_mean, statistics.reward_std, statistics.reward_min, statistics.reward_max)
    np.testing.assert_allclose(found, [rewards.mean(), rewards.std(), rewards.min(), rewards.max()], rtol=1e-6)
    assert (statistics.terminations, statistics.truncations) == (3, 3)
    share = (actions - ACTION_SPACE.low) / (ACTION_SPACE.high - ACTION_SPACE.low)
    assert statistics.saturated_actions == ((share < 1e-3) | (share > 1 - 1e-3)).mean() >= 4 / 32
    assert statistics.success is statistics.success_held is statistics.success_last is statistics.d4rl_returns is None


@pytest.mark.parametrize("entries_at_reset", [0, 1])
def test_success_is_that_of_the_steps(entries_at_reset: int) -> None:
    flags = [[True, False, False], [False, False, False], [False, False, True]]
    infos = [{"success": np.array([True] * entries_at_reset + steps)} for steps in flags]
    create(*(episode(3, seed=i, truncated=True, infos=info) for i, info in enumerate(infos)))
    statistics = load().statistics
    assert statistics.success.tolist() == [True, False, True]
    assert statistics.success_last.tolist() == [False, False, True]
    assert statistics.success_held is None  # a criterion of the Adroit tasks


def pen_episode(num_steps: int, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    observations = rng.uniform(0.0, 0.5, (num_steps + 1, 45))
    success = rng.random(num_steps + 1) < (0.3 if seed else 0.05)
    actions = rng.uniform(-1, 1, (num_steps, 24)).astype(np.float32)
    return episode(num_steps, seed=seed, observations=observations, actions=actions, infos={"success": success})


def adroit_env_spec(env_id: str = "AdroitHandPen-v1") -> str:
    entry_point = "gymnasium_robotics.envs.adroit_hand.adroit_pen:AdroitHandPenEnv"
    return gym.envs.registration.EnvSpec(env_id, entry_point, max_episode_steps=200, kwargs={}).to_json()


def test_adroit_statistics_follow_both_protocols() -> None:
    episodes = [pen_episode(num_steps, seed) for seed, num_steps in enumerate((120, 50, 200))]
    space = gym.spaces.Box(-np.inf, np.inf, (45,), np.float64)
    path = create(*episodes, observation_space=space, action_space=gym.spaces.Box(-1, 1, (24,)))
    edit_metadata(path, env_spec=adroit_env_spec(), ref_min_score=-10.0, ref_max_score=90.0)
    dataset = load()
    task = adroit_task("AdroitHandPen-v1")
    assert dataset.task is task
    returns = [d4rl_return(task, arrays["observations"], arrays["rewards"]) for arrays in episodes]
    np.testing.assert_allclose(dataset.statistics.d4rl_returns, returns)
    held = [success_held(task, arrays["infos"]["success"][1:]) for arrays in episodes]
    assert dataset.statistics.success_held.tolist() == held == [False, False, True]
    assert dataset.reference.score(40.0) == 50.0
    assert dataset.make_env(num_envs=2).reference is dataset.reference


def test_no_task_where_the_observation_is_not_the_environments() -> None:
    path = create(*ENDS)
    edit_metadata(path, env_spec=adroit_env_spec())
    dataset = load()
    assert dataset.env_spec.id == "AdroitHandPen-v1"
    assert dataset.task is dataset.statistics.d4rl_returns is None


# Environment and reference -------------------------------------------------------------------------------------------


def test_evaluation_environment_comes_from_the_metadata() -> None:
    path = create(*ENDS, env="CartPole-v1", eval_env="Acrobot-v1")
    edit_metadata(path, ref_min_score=0.0, ref_max_score=1.0)
    dataset = load()
    assert dataset.make_env().spec.id == "Acrobot-v1"
    assert dataset.make_env(num_envs=3).num_envs == 3
    other = dataset.make_env(env_id="CartPole-v1")
    assert (other.spec.id, other.reference) == ("CartPole-v1", None)  # its returns are on another scale


def test_older_gymnasium_specs_are_understood() -> None:
    path = create(*ENDS, env="CartPole-v1")
    spec = {**json.loads(gym.spec("CartPole-v1").to_json()), "apply_api_compatibility": False, "autoreset": False}
    edit_metadata(path, env_spec=json.dumps(spec))
    assert load().env_spec.id == "CartPole-v1"


def test_without_environment_metadata_only_evaluation_is_refused() -> None:
    create(*ENDS)
    dataset = load()
    assert dataset.env_spec is dataset.task is dataset.reference is None
    with pytest.raises(DataError, match=r"no environment metadata; pass eval_env=ID"):
        dataset.make_env()
    assert dataset.make_env(env_id="CartPole-v1").spec.id == "CartPole-v1"


@pytest.mark.parametrize("changes", [{"env_spec": "{broken"}, {"ref_min_score": 1.0, "ref_max_score": 1.0}])
def test_unusable_extras_are_ignored_with_a_warning(changes: dict) -> None:
    edit_metadata(create(*ENDS), **changes)
    with pytest.warns(UserWarning, match="ignored"):
        dataset = load()
    assert dataset.env_spec is dataset.reference is None


# Cache ---------------------------------------------------------------------------------------------------------------


def test_converted_once_then_opened_without_reading_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    create(*ENDS)
    first = load()
    monkeypatch.setattr(data, "_read_episodes", lambda source: pytest.fail("read again"))
    again = load()
    assert torch.equal(first.rows, again.rows)
    assert first.fingerprint == again.fingerprint
    for name, value in vars(first.statistics).items():
        np.testing.assert_array_equal(getattr(again.statistics, name), value, err_msg=name)
        assert type(getattr(again.statistics, name)) is type(value)
    assert torch.equal(first.specs.observation_std, again.specs.observation_std)


def test_refreshed_when_the_source_changes(root: Path) -> None:
    path = create(*ENDS)
    first = load()
    edit_episode(path, 0, rewards=np.float64([7, 7, 7, 7]))
    second = load()
    assert second.statistics.returns[0] == 28
    assert second.fingerprint != first.fingerprint
    assert len(caches(root)) == 1  # the old one is gone
    edit_metadata(path, description="a change of the text alone")
    assert load().fingerprint == second.fingerprint  # names the content, whatever the files' dates


@pytest.mark.parametrize("name", ["rows.f32", "statistics.npz"])
@pytest.mark.parametrize("damage", ["remove", "truncate"])
def test_a_damaged_cache_is_rebuilt(root: Path, name: str, damage: str) -> None:
    create(*ENDS)
    load()
    file = next(root.rglob(name))
    if damage == "remove":
        file.unlink()
    else:
        os.truncate(file, file.stat().st_size // 2)
    assert_transitions(load(), ENDS)


CHILD = """
import os, pathlib, signal, sys
import numpy
from agents import data

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def die_in_the_middle(source, index, *args, pack=data._pack, **kwargs):
    return pack(source, index, *args, **kwargs) if index < 3 else die()

for owner, name, hook in ((data, "_pack", die_in_the_middle), (numpy, "savez", die), (pathlib.Path, "rename", die)):
    child = os.fork()
    if not child:
        setattr(owner, name, hook)
        data.load_dataset("test/hand-v0", progress=False)
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)

for _ in range(3):
    if not os.fork():
        os.write(1, f"{data.load_dataset('test/hand-v0', progress=False).fingerprint}\\n".encode())  # in one write
        os._exit(0)
for _ in range(3):
    assert os.wait()[1] == 0
"""


def test_kill_9_while_converting_leaves_nothing_that_looks_whole(root: Path) -> None:
    create(*ENDS)
    command = [sys.executable, "-c", CHILD]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    *statuses, first, second, third = run.stdout.split()
    assert statuses == [str(int(signal.SIGKILL))] * 3  # while writing rows, before the statistics, before the rename
    assert first == second == third  # three processes at once, over what the killed ones left
    assert len(caches(root)) == 1
    dataset = load()
    assert dataset.fingerprint == first
    assert_transitions(dataset, ENDS)


def test_an_interrupted_conversion_cleans_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create(*ENDS)

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "_pack", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load()
    assert caches(root) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk(root: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    create(*ENDS)

    def full(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(data.os, "fsync", full)
    message = refusal()
    assert os.strerror(code) in message
    assert "GB" in message
    assert "make room" in message
    assert caches(root) == []


def test_a_store_that_cannot_be_written_is_cached_elsewhere(root: Path, tmp_path: Path) -> None:
    create(*ENDS)
    (root / ".offline_agents").write_text("a file where a folder should be: nobody, root included, can write here")
    assert_transitions(load(), ENDS)
    assert list((tmp_path / "cache").rglob("rows.f32"))


def test_conversion_holds_little_more_than_one_episode() -> None:
    episodes = [episode(1000, seed=seed, truncated=True) for seed in range(60)]
    create(*episodes)
    load(storage="memmap")  # pays for the imports
    shutil.rmtree(Path(os.environ["MINARI_DATASETS_PATH"], ".offline_agents"))
    tracemalloc.start()
    dataset = load(storage="memmap")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.5 * 4 * dataset.rows.numel()


def test_progress_is_quiet_on_request_and_for_what_is_short(capfd: pytest.CaptureFixture[str]) -> None:
    create(*ENDS)
    data.load_dataset(DATASET)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


# Bad data ------------------------------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    os.truncate(path / "main_data.hdf5", (path / "main_data.hdf5").stat().st_size // 2)


def shrink(path: Path) -> None:
    with h5py.File(path / "main_data.hdf5", "a") as file:
        del file["episode_4"]


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncate, r"episode 0: cannot be read .*; delete .*test/hand-v0 to have it .* or copy it again"),
    "empty": (lambda path: os.truncate(path / "main_data.hdf5", 0), "episode 0: cannot be read"),
    "missing": (lambda path: (path / "main_data.hdf5").unlink(), "cannot be opened .*copy it again"),
    "no hdf5": (lambda path: (path / "main_data.hdf5").write_text("<html>404</html>"), "episode 0: cannot be read"),
    "episode gone": (shrink, "episode 4: cannot be read"),
    "array gone": (lambda path: edit_episode(path, 2, actions=None), "episode 2: cannot be read"),
    "no json": (lambda path: (path / "metadata.json").write_text("{"), r"cannot be opened .*metadata\.json"),
    "no metadata": (lambda path: (path / "metadata.json").unlink(), r"cannot be opened .*metadata\.json"),
    "list": (lambda path: (path / "metadata.json").write_text("[]"), r"cannot be opened .*metadata\.json"),
    "no version": (lambda path: edit_metadata(path, minari_version=None), r"cannot be opened .*metadata\.json"),
    "no spaces": (lambda path: edit_metadata(path, action_space=None), r"cannot be opened .*metadata\.json"),
    "odd space": (
        lambda path: edit_metadata(path, action_space='{"type": "Bx"}'),
        r"cannot be opened .*metadata\.json",
    ),
    "odd format": (lambda path: edit_metadata(path, data_format="csv"), r"cannot be opened .*metadata\.json"),
    "version": (lambda path: edit_metadata(path, minari_version="9.0.0"), r"Minari 9\.0\.0, .* use another version"),
    "no episodes": (lambda path: edit_metadata(path, total_episodes=0), "holds no steps"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files(root: Path, name: str) -> None:
    damage, message = DAMAGE[name]
    damage(create(*ENDS))
    assert re.search(message, refusal())
    assert caches(root) == []


@pytest.mark.parametrize("data_format", ["arrow", "parquet"])
def test_damaged_arrow_files(data_format: str) -> None:
    path = create(*ENDS, data_format=data_format)
    (path / "3" / f"part-0.{data_format}").write_bytes(b"nothing")
    assert "episode 3: cannot be read" in refusal()
    shutil.rmtree(path / "1")
    assert "episode 1: cannot be read" in refusal()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("name", ["observations", "actions", "rewards"])
def test_values_that_are_not_finite(name: str, value: float) -> None:
    path = create(*ENDS)
    array = ENDS[2][name].astype(np.float64)
    array[3] = value
    edit_episode(path, 2, **{name: array})
    for options in ({}, {"clip_actions": True}):
        message = refusal(**options)
        assert "episode 2: " in message
        assert name[:-1] in message
        assert "must be finite in float32: remove the episode" in message


def test_a_last_observation_that_is_not_finite() -> None:
    path = create(*ENDS)
    edit_episode(
        path, 0, observations=np.vstack([ENDS[0]["observations"][:-1], np.full((1, NUM_OBSERVATIONS), np.nan)])
    )
    assert "episode 0: ('next', 'observation') is nan at step 3" in refusal()


def test_actions_outside_the_bounds_are_refused_or_clipped(root: Path) -> None:
    path = create(*ENDS)
    actions = ENDS[2]["actions"].copy()
    actions[1] = 1.5, 4.5
    edit_episode(path, 2, actions=actions)
    message = refusal()
    assert "episode 2: action 0 is 1.5 at step 1, outside [-1, 1]; clip_actions=true" in message
    clipped = load(clip_actions=True)
    assert whole(clipped)["action"][8].tolist() == [1.0, 4.0]
    np.testing.assert_array_equal(clipped.statistics.action_max, [1.0, 4.0])
    refusal()  # the clipped cache is not mistaken for the other


def test_rounding_at_the_bounds_is_clipped_silently() -> None:
    path = create(*ENDS)
    actions = ENDS[2]["actions"].astype(np.float64)
    actions[1] = 1.0 + 1e-6, -1e-6
    edit_episode(path, 2, actions=actions)
    assert whole(load())["action"][8].tolist() == [1.0, 0.0]


def test_infinite_bounds_bound_nothing() -> None:
    create(*ENDS, action_space=gym.spaces.Box(-np.inf, np.inf, (NUM_ACTIONS,)))
    dataset = load()
    assert_transitions(dataset, ENDS)
    assert dataset.statistics.saturated_actions == 0.0
    assert isinstance(dataset.specs.action, Unbounded)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("observations", ENDS[2]["observations"][:-1]),
        ("observations", ENDS[2]["observations"][:, :-1]),
        ("actions", ENDS[2]["actions"][:-1]),
        ("actions", ENDS[2]["actions"][:, 0]),
        ("rewards", ENDS[2]["rewards"][:-1]),
        ("rewards", np.zeros(0)),
        ("rewards", np.float64(1.0)),
        ("rewards", np.array([b"a"] * 5)),
        ("terminations", np.zeros(6, bool)),
        ("truncations", np.zeros((5, 1), bool)),
    ],
)
def test_wrong_shapes(name: str, array: np.ndarray) -> None:
    edit_episode(create(*ENDS), 2, **{name: array})
    message = refusal()
    assert "episode 2: " in message
    assert "write the dataset again, with one observation more than actions" in message


def test_arrow_arrays_that_are_too_short_are_not_mistaken_for_padding() -> None:
    path = create(*ENDS, data_format="arrow")
    metadata = json.loads((path / "2" / "metadata.json").read_text())
    (path / "2" / "metadata.json").write_text(json.dumps({**metadata, "total_steps": 6}))
    assert "episode 2: observations are float64[6, 3], expected numbers [7, 3]" in refusal()


def test_several_episodes_in_one_are_refused() -> None:
    create(episode(5, seed=1, truncations=np.array([0, 1, 0, 0, 1], bool)))
    assert "episode 0: truncated at step 1 of 5, before its end; " in refusal()


def test_episodes_without_steps_are_skipped_with_a_warning() -> None:
    path = create(*ENDS)
    nothing = {name: array[:0] for name, array in ENDS[0].items()}
    edit_episode(path, 0, **{**nothing, "observations": ENDS[0]["observations"][:1]})
    edit_episode(path, 3, **nothing)
    with pytest.warns(UserWarning, match=r"skipped 2 episodes without steps: \[0, 3\]"):
        dataset = load()
    assert_transitions(dataset, [ENDS[1], ENDS[2], ENDS[4], ENDS[5]])
    assert dataset.statistics.num_episodes == 4


@pytest.mark.parametrize(
    ("spaces", "message"),
    [
        ({"observation_space": gym.spaces.Dict({"a": OBSERVATION_SPACE})}, "observations in a Dict"),
        ({"observation_space": gym.spaces.Tuple([OBSERVATION_SPACE])}, "observations in a Tuple"),
        ({"observation_space": gym.spaces.Box(-1, 1, (2, 3))}, r"observations in a Box of shape \(2, 3\)"),
        ({"observation_space": gym.spaces.Discrete(3)}, "observations in a Discrete"),
        ({"action_space": gym.spaces.MultiDiscrete([2, 3])}, "actions in a MultiDiscrete"),
        ({"action_space": gym.spaces.Discrete(3, start=1)}, "actions in a Discrete"),
    ],
)
def test_unsupported_spaces_are_named_with_what_is_supported(spaces: dict, message: str) -> None:
    create(**spaces)
    assert re.search(f"{message}.* supported are a one-dimensional Box, and Discrete actions", refusal())


def test_discrete_actions_that_the_space_does_not_have() -> None:
    create(episode(3, seed=1, actions=np.array([0, 4, 1])), action_space=gym.spaces.Discrete(4))
    assert "episode 0: action 0 is 4 at step 1, outside [0, 3]" in refusal(clip_actions=True)


# Fetching ------------------------------------------------------------------------------------------------------------


def test_unknown_datasets_are_answered_with_close_ones_and_the_way_without_a_network(root: Path) -> None:
    create(*ENDS)
    message = refusal("D4RL/pen/humn-v2")
    assert "did you mean D4RL/pen/human-v2" in message
    assert "no network" in message
    for way_out in ("test/hand-v0", "demo/pen/mixed-v0", str(root / "D4RL/pen/humn-v2")):
        assert way_out in message
    assert "did you mean test/hand-v0" in refusal("test/hnd-v0")
    assert "demo/pen/mixed-v0" in refusal("demo/pen/mixd-v0")
    assert "not an id such as D4RL/pen/human-v2" in refusal("pen human")
    assert "not an id" in refusal("")


def test_built_in_datasets_are_made_on_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def make(dataset_id: str, *, progress: bool) -> None:
        made.append((dataset_id, progress))
        create(*ENDS, dataset_id=dataset_id)

    monkeypatch.setattr(data.demos, "make", make)
    assert_transitions(load("demo/pen/mixed-v0"), ENDS)
    load("demo/pen/mixed-v0")
    assert made == [("demo/pen/mixed-v0", False)]


class FakeHub:
    """A remote that Minari can be pointed at; ``breaks`` is the file during whose transfer the connection fails."""

    source = Path()
    breaks: str | None = None
    transferred: list[str] = []

    def __init__(self, name: str, token: str | None) -> None:
        pass

    def list_namespaces(self) -> list[str]:
        return ["test"]

    def list_datasets(self, prefix: str | None = None) -> Iterator[str]:
        yield from (dataset_id for dataset_id in (DATASET,) if dataset_id.startswith(prefix or ""))

    def get_dataset_metadata(self, dataset_id: str) -> dict:
        return json.loads((self.source / "metadata.json").read_text())

    def download_namespace_metadata(self, namespace: str, path: Path) -> None:
        (path / namespace).mkdir(parents=True, exist_ok=True)
        (path / namespace / "namespace_metadata.json").write_text("{}")

    def download_dataset(self, dataset_id: str, path: Path) -> None:
        target = path / dataset_id / "data"
        target.mkdir(parents=True, exist_ok=True)
        for name in ("metadata.json", "main_data.hdf5"):
            if name == self.breaks:
                (target / name).write_bytes(b"half of it")
                raise ConnectionError("connection reset\nby peer")
            shutil.copy(self.source / name, target)
            self.transferred.append(name)


@pytest.fixture
def hub(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[FakeHub]:
    shutil.move(create(*ENDS), tmp_path / "remote")
    shutil.rmtree(root)
    monkeypatch.setattr(FakeHub, "source", tmp_path / "remote")
    monkeypatch.setattr(FakeHub, "transferred", [])
    monkeypatch.setitem(minari.storage.remotes._registry, "fake", lambda: FakeHub)
    monkeypatch.setenv("MINARI_REMOTE", "fake://hub")
    return FakeHub


def test_download(hub: type[FakeHub], root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert_transitions(load(), ENDS)
    load()
    assert hub.transferred == ["metadata.json", "main_data.hdf5"]  # once
    assert capfd.readouterr().out == ""  # Minari's chatter is not on stdout
    assert os.environ["MINARI_DATASETS_PATH"] == str(root)
    assert (root / "test" / "namespace_metadata.json").exists()
    assert list(minari.list_local_datasets()) == [DATASET]


@pytest.mark.parametrize("breaks", ["metadata.json", "main_data.hdf5"])
def test_a_download_that_fails_half_way_leaves_nothing_that_looks_whole(
    hub: type[FakeHub], root: Path, monkeypatch: pytest.MonkeyPatch, breaks: str
) -> None:
    monkeypatch.setattr(hub, "breaks", breaks)
    assert "the download failed: connection reset by peer" in refusal()
    assert not (root / DATASET).exists()
    assert minari.list_local_datasets() == {}
    monkeypatch.setattr(hub, "breaks", None)
    assert_transitions(load(), ENDS)


def test_ids_that_the_hub_does_not_have(hub: type[FakeHub], root: Path) -> None:
    assert "Couldn't find any version" in refusal("test/other-v0")
    assert "test/hand-v7, doesn't exist" in refusal("test/hand-v7")
    assert not (root / "test").exists()
