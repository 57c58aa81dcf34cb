"""Conversion: honest rows and statistics, bad values in one line, and a cache that survives everything."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import signal
import tracemalloc
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from filelock import FileLock
from tqdm import tqdm

from agents import metrics
from agents.data import conversion, episodes, rows, store
from agents.data.dataset import OfflineDataset
from agents.data.loading import load_dataset
from agents.environments import protocols
from agents.environments.adroit import adroit_task, d4rl_return, success_held
from tests.agents.handmade import (
    ACTION_SPACE,
    DATASET,
    ENDS,
    NUM_OBSERVATIONS,
    adroit_env_spec,
    assert_transitions,
    caches,
    create,
    edit_episode,
    edit_metadata,
    episode,
    load,
    refusal,
    whole,
)

pytestmark = pytest.mark.usefixtures("root")


# Rows -----------------------------------------------------------------------------------------------------------------


def test_episodes_longer_than_a_piece_and_than_an_arrow_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "PIECE", 1000)
    episodes = [episode(40_000, seed=1, truncated=True), episode(7, seed=2, terminated=True)]
    create(*episodes, data_format="parquet")
    dataset = load()
    assert_transitions(dataset, episodes)
    observations = np.concatenate([arrays["observations"][:-1] for arrays in episodes])
    np.testing.assert_allclose(dataset.specs.observation_mean, observations.mean(0), rtol=1e-6)
    np.testing.assert_allclose(dataset.specs.observation_std, observations.std(0), rtol=1e-6)


def test_termination_inside_an_episode_is_kept_where_it_was() -> None:
    arrays = episode(5, seed=1, truncated=True, terminations=np.array([0, 0, 1, 0, 0], bool))
    create(arrays)
    dataset = load()
    assert whole(dataset)["next.terminated"].flatten().tolist() == [False, False, True, False, False]
    assert whole(dataset)["next.done"].flatten().tolist() == [False, False, True, False, True]
    assert (dataset.statistics.terminations, dataset.statistics.truncations) == (1, 1)


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


def test_actions_outside_the_bounds_are_refused_or_clipped(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "PIECE", 2)
    path = create(*ENDS)
    actions = ENDS[2]["actions"].copy()
    actions[3] = 1.001, 4.5
    edit_episode(path, 2, actions=actions)
    message = refusal()
    assert "episode 2: action 0 is 1.001 at step 3, outside [-1, 1]; action_bounds=data takes" in message
    own = load(action_bounds="data")
    assert whole(own)["action"][10].tolist() == pytest.approx([1.001, 4.5])
    assert own.specs.action.high.tolist() == pytest.approx([1.001, 4.5])
    assert own.specs.action.low.tolist() == own.statistics.action_min.tolist()
    clipped = load(clip_actions=True)
    assert whole(clipped)["action"][10].tolist() == [1.0, 4.0]
    np.testing.assert_array_equal(clipped.statistics.action_max, [1.0, 4.0])
    refusal()  # the clipped cache is not mistaken for the other


def test_bounds_far_wider_than_the_data_are_said_with_a_way_out() -> None:
    create(*ENDS, action_space=gym.spaces.Box(np.float32([-1e6, 0.0]), np.float32([1e6, 4.0])))
    with pytest.warns(UserWarning, match=r"100 times .* dimensions \[0\] .*; action_bounds=data takes the data's own"):
        load()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(action_bounds="data").specs.action.high[0] <= 1.0


def test_rounding_at_the_bounds_is_clipped_silently() -> None:
    path = create(*ENDS)
    actions = ENDS[2]["actions"].astype(np.float64)
    actions[1] = 1.0 + 1e-6, -1e-6
    edit_episode(path, 2, actions=actions)
    assert whole(load())["action"][8].tolist() == [1.0, 0.0]


def test_a_locked_dimension_is_not_saturated() -> None:
    create(
        episode(4, truncated=True, actions=np.float32([[0.0, 1.0], [1.0, 1.0], [-1.0, 1.0], [0.5, 1.0]])),
        action_space=gym.spaces.Box(np.float32([-1.0, 1.0]), np.float32([1.0, 1.0])),
    )
    assert load().statistics.saturated_actions == 2 / 8


def test_where_bounds_are_infinite_the_data_s_own_are_taken_and_it_is_said() -> None:
    low, high = np.float32([-np.inf, 0.0]), np.float32([1.0, np.inf])
    create(*ENDS, action_space=gym.spaces.Box(low, high))
    with pytest.warns(UserWarning, match=r"its action space is not bounded.*action_bounds=\[low,high\]"):
        dataset = load()
    assert_transitions(dataset, ENDS)
    assert dataset.statistics.saturated_actions == 0.0
    actions = np.concatenate([arrays["actions"] for arrays in ENDS])
    assert dataset.specs.action.space.low.tolist() == [actions[:, 0].min(), 0.0]
    assert dataset.specs.action.space.high.tolist() == [1.0, actions[:, 1].max()]


def test_discrete_actions_that_the_space_does_not_have() -> None:
    create(episode(3, seed=1, actions=np.array([0, 4, 1])), action_space=gym.spaces.Discrete(4))
    assert "episode 0: action 0 is 4 at step 1, outside [0, 3]" in refusal(clip_actions=True)


def test_episodes_without_steps_are_skipped_with_a_warning() -> None:
    path = create(*ENDS)
    nothing = {name: array[:0] for name, array in ENDS[0].items()}
    edit_episode(path, 0, **{**nothing, "observations": ENDS[0]["observations"][:1]})
    edit_episode(path, 3, **nothing)
    with pytest.warns(UserWarning, match=r"skipped 2 episodes without steps: \[0, 3\]"):
        dataset = load()
    assert_transitions(dataset, [ENDS[1], ENDS[2], ENDS[4], ENDS[5]])
    assert dataset.statistics.num_episodes == 4


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


# Statistics -----------------------------------------------------------------------------------------------------------


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
    assert statistics.success is statistics.success_last is None
    assert statistics.scores == statistics.protocol_returns == statistics.protocol_success == {}


@pytest.mark.parametrize("entries_at_reset", [0, 1])
def test_success_is_that_of_the_steps(entries_at_reset: int) -> None:
    flags = [[True, False, False], [False, False, False], [False, False, True]]
    infos = [{"success": np.array([True] * entries_at_reset + steps)} for steps in flags]
    create(*(episode(3, seed=i, truncated=True, infos=info) for i, info in enumerate(infos)))
    statistics = load().statistics
    assert statistics.success.tolist() == [True, False, True]
    assert statistics.success_last.tolist() == [False, False, True]
    assert statistics.protocol_success == {}  # held is a criterion of the Adroit tasks


def test_what_is_set_beside_evaluations_is_of_as_many_steps() -> None:
    late = {"success": np.array([False] * 5 + [True])}
    path = create(episode(6, seed=0, infos=late), episode(3, seed=1, infos={"success": np.array([False, True, True])}))
    edit_metadata(path, env_spec=gym.make("Pendulum-v1", max_episode_steps=4).spec.to_json())
    statistics = load().statistics
    rewards = [episode(6, seed=0)["rewards"], episode(3, seed=1)["rewards"]]
    np.testing.assert_allclose(statistics.returns, [rewards[0].sum(), rewards[1].sum()])
    np.testing.assert_allclose(statistics.horizon_returns, [rewards[0][:4].sum(), rewards[1].sum()])
    assert statistics.lengths.tolist() == [6, 3]
    assert statistics.success.tolist() == statistics.success_last.tolist() == [False, True]
    means = metrics.data(load())
    assert means["data/return"] == pytest.approx(np.mean(statistics.horizon_returns))
    assert means["data/length"] == 3.5 and means["data/success"] == 0.5 and means["data/num_steps"] == 9


@pytest.mark.parametrize("success", [np.ones(2, bool), np.array(True)])
def test_success_of_fewer_steps_than_the_episode_has_is_ignored(success: np.ndarray) -> None:
    path = create(episode(3, truncated=True, infos={"success": np.ones(3, bool)}))
    edit_episode(path, 0, **{"infos/success": success})
    assert load().statistics.success is None


def test_success_that_is_not_known_of_every_episode_is_not_known() -> None:
    info = {"success": np.ones(3, bool)}
    path = create(episode(3, truncated=True, infos=info), episode(3, seed=1, truncated=True, infos=info))
    edit_episode(path, 1, **{"infos/success": np.ones(1, bool)})
    assert load().statistics.success is None


def pen_episode(num_steps: int, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    observations = rng.uniform(0.0, 0.5, (num_steps + 1, 45))
    success = rng.random(num_steps + 1) < (0.3 if seed else 0.05)
    actions = rng.uniform(-1, 1, (num_steps, 24)).astype(np.float32)
    return episode(num_steps, seed=seed, observations=observations, actions=actions, infos={"success": success})


def test_adroit_statistics_follow_both_protocols() -> None:
    episodes = [pen_episode(num_steps, seed) for seed, num_steps in enumerate((120, 50, 200))]
    space = gym.spaces.Box(-np.inf, np.inf, (45,), np.float64)
    path = create(*episodes, observation_space=space, action_space=gym.spaces.Box(-1, 1, (24,)))
    edit_metadata(path, env_spec=adroit_env_spec(), ref_min_score=-10.0, ref_max_score=90.0)
    dataset = load()
    task = adroit_task("AdroitHandPen-v1")
    assert [*dataset.statistics.scores] == ["d4rl", "minari"]
    returns = [d4rl_return(task, arrays["observations"], arrays["rewards"]) for arrays in episodes]
    np.testing.assert_allclose(dataset.statistics.protocol_returns["d4rl"], returns)
    held = [success_held(task, arrays["infos"]["success"][1:]) for arrays in episodes]
    assert dataset.statistics.protocol_success["d4rl"].tolist() == held == [False, False, True]
    assert dataset.reference.score(40.0) == 50.0
    assert dataset.make_env(num_envs=2).reference is dataset.reference


# Cache ----------------------------------------------------------------------------------------------------------------


def test_converted_once_then_opened_without_reading_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    create(*ENDS)
    first = load()
    monkeypatch.setattr(rows, "read_episodes", lambda source: pytest.fail("read again"))
    again = load()
    assert torch.equal(first.rows, again.rows)
    assert first.fingerprint == again.fingerprint
    for name, value in vars(first.statistics).items():
        np.testing.assert_array_equal(getattr(again.statistics, name), value, err_msg=name)
        assert type(getattr(again.statistics, name)) is type(value)
    assert torch.equal(first.specs.observation_std, again.specs.observation_std)


def test_refreshed_when_the_score_protocols_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    path = create(*ENDS)
    edit_metadata(path, ref_min_score=-10.0, ref_max_score=90.0)
    assert [*load().statistics.scores] == ["minari"]
    monkeypatch.setattr(protocols, "PROTOCOLS", [])
    assert [*load().statistics.scores] == []


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


def test_a_recording_cut_elsewhere_is_other_data() -> None:
    recording = episode(7, seed=1)

    def load_cut(*bounds: int) -> OfflineDataset:
        pieces = [{name: values[start:stop] for name, values in recording.items()} for start, stop in pairwise(bounds)]
        for piece, (start, stop) in zip(pieces, pairwise(bounds)):
            piece["observations"] = recording["observations"][start : stop + 1]
        dataset_id = f"test/cut{bounds[1]}-v0"
        create(*pieces, dataset_id=dataset_id)
        return load(dataset_id)

    uncut, *others = load_cut(0, 7), load_cut(0, 4, 7), load_cut(0, 5, 7)
    transitions, cut = whole(uncut), ("next.done", "next.truncated")
    for other in others:
        assert all(torch.equal(values, transitions[key]) for key, values in whole(other).items() if key not in cut)
    assert len({dataset.fingerprint for dataset in (uncut, *others)}) == 3


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


def test_a_bit_that_changed_in_the_cache_is_noticed_and_said(root: Path) -> None:
    create(*ENDS)
    load()
    file = next(root.rglob("rows.f32"))
    rows = bytearray(file.read_bytes())
    rows[len(rows) // 2] ^= 1
    file.write_bytes(rows)
    with pytest.warns(UserWarning, match=r"rows.f32 is damaged, and made again"):
        assert_transitions(load(), ENDS)
    assert_transitions(load(), ENDS)


CHILD = """
import os, pathlib, signal, sys
import numpy
from agents.data import rows
from agents.data.loading import load_dataset

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def die_in_the_middle(source, index, *args, pack=rows._pack, **kwargs):
    return pack(source, index, *args, **kwargs) if index < 3 else die()

hooks = (rows, "_pack", die_in_the_middle), (numpy, "savez", die), (pathlib.Path, "rename", die)
for owner, name, hook in hooks:
    child = os.fork()
    if not child:
        setattr(owner, name, hook)
        load_dataset("test/hand-v0", progress=False)
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)

for _ in range(3):
    if not os.fork():
        os.write(1, f"{load_dataset('test/hand-v0', progress=False).fingerprint}\\n".encode())  # in one write
        os._exit(0)
for _ in range(3):
    assert os.wait()[1] == 0
"""


def test_kill_9_while_converting_leaves_nothing_that_looks_whole(root: Path, run_in_fork) -> None:
    create(*ENDS)
    *statuses, first, second, third = run_in_fork(CHILD).split()
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

    monkeypatch.setattr(rows, "_pack", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load()
    assert caches(root) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk(root: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    create(*ENDS)

    def full(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(conversion.os, "fsync", full)
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


class Terminal(io.StringIO):
    """Standard error that is looked at."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "progress", "shown"), [(Terminal, True, True), (Terminal, False, False), (io.StringIO, True, False)]
)
def test_progress_is_shown_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], progress: bool, shown: bool
) -> None:
    create(*ENDS)
    monkeypatch.setattr(episodes, "tqdm", lambda **options: tqdm(**{**options, "delay": 0}))
    with contextlib.redirect_stderr(stream()) as errors:
        load_dataset(DATASET, progress=progress)
    assert ("converting test/hand-v0" in errors.getvalue()) == shown == bool(errors.getvalue())


def test_waiting_for_the_conversion_of_another_process_is_said_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(*ENDS)
    lock = root / ".offline_agents" / DATASET.replace("/", "--") / ".lock"
    lock.parent.mkdir(parents=True)
    other = FileLock(lock)
    said = []

    class Stderr(io.StringIO):
        def write(self, text: str) -> int:
            said.append(text)
            other.release()  # the other process is done as soon as this one has complained
            return len(text)

    monkeypatch.setattr(store, "LOCK_PATIENCE", 0)
    with other.acquire(), contextlib.redirect_stderr(Stderr()):
        dataset = load()
    assert "".join(said) == "waiting for another process that is converting test/hand-v0\n"
    assert_transitions(dataset, ENDS)


def test_progress_is_quiet_on_request_and_for_what_is_short(capfd: pytest.CaptureFixture[str]) -> None:
    create(*ENDS)
    load_dataset(DATASET)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
