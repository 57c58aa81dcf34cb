"""The built-in datasets: ordinary, the same everywhere, whole or absent.

Most tests make three episodes of pen with a bundle of random policies.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections import namedtuple
from pathlib import Path

import h5py
import minari
import numpy as np
import pytest
from minari.dataset._storages import get_minari_storage

import agents
from agents.data.demos import adroit, making
from agents.data.demos.arithmetic import on_grid
from agents.data.demos.demo import FIRST_SEED
from agents.environments.adroit import ADROIT_TASKS
from agents.environments.environment import EvaluationEnv

ARRAYS = ("observations", "actions", "rewards", "terminations", "truncations", "infos/success")
EXPERT, MIXED = "demo/pen/expert-v1", "demo/pen/mixed-v1"


def make(dataset_id: str = EXPERT) -> list[dict[str, np.ndarray]]:
    """Make a dataset and read its arrays."""
    making.make(dataset_id, progress=False)
    return read(Path(os.environ["MINARI_DATASETS_PATH"]), dataset_id)


def read(store: Path, dataset_id: str = EXPERT) -> list[dict[str, np.ndarray]]:
    with h5py.File(store / dataset_id / "data" / "main_data.hdf5") as file:
        return [{name: file[f"episode_{i}"][name][()] for name in ARRAYS} for i in range(len(file))]


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in ARRAYS)


def refusal(dataset_id: str = EXPERT) -> str:
    """The message of the DataError that making a dataset ends in, which is one line."""
    with pytest.raises(agents.DataError) as caught:
        making.make(dataset_id, progress=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def contents(store: Path) -> list[str]:
    return sorted(path.relative_to(store).as_posix() for path in store.rglob("*")) if store.exists() else []


# Making a dataset ----------------------------------------------------------------------------------------------------


def test_it_is_the_same_in_every_store_with_any_number_of_workers(store, monkeypatch, tmp_path) -> None:
    made = []
    for num_workers in (1, 2, 16):
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / f"store{num_workers}"))
        monkeypatch.setattr(os, "cpu_count", lambda number=num_workers: number)
        made.append(make())
    assert len(made[0]) == 3
    for others in made[1:]:
        assert all(same(first, second) for first, second in zip(made[0], others, strict=True))


OTHER_KERNELS = {  # of numpy and of OpenBLAS, as on an old machine
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "OPENBLAS_CORETYPE": "Prescott",
}
DIGESTS_OF_ONE_EPISODE = """
import sys, warnings
from agents.data.demos import adroit, making
warnings.simplefilter("ignore")  # that one episode is not all
adroit.NUM_EPISODES, digest = 1, making.digest
making.digest = lambda episodes: print(digest(episodes))
for dataset_id in sys.argv[1:]:
    making.make(dataset_id, progress=False)
"""
FINGERPRINTS = {  # of the rows, as run.json has them
    "demo/pen/expert-v1": "81f85656b9bcaa156cffcd0250ee7e1b",
    "demo/pen/mixed-v1": "218b537447bc443d78d4155fb6edf901",
    "demo/hammer/expert-v1": "7f5e2b3b43b24fc55b81bfa100974f31",
    "demo/hammer/mixed-v1": "6b057778d77cafe974dbfb88de630bab",
    "demo/door/expert-v1": "54f772899b72c11e41726248018a7858",
    "demo/door/mixed-v1": "8c1fcfd5c0d16dc415b25300e055bd97",
    "demo/relocate/expert-v1": "cb3c3e3574561eb00b6f1ee55d3ed216",
    "demo/relocate/mixed-v1": "868b59f9c84bd80752f443a3fe55fdf2",
    "demo/pointmaze/umaze-v1": "ce2392d1bc8606ce6e284cfffd66927f",
    "demo/pointmaze/medium-v1": "b5592e6537fd9b4e6c5309aaf18873ba",
    "demo/taxi/mixed-v1": "de710a52ccf0791c204970b41340c6fb",
    "demo/mountaincar/mixed-v1": "c1e29160096e2caf1012e603b796192c",
}
LOAD = """
import sys, warnings
import agents
warnings.simplefilter("error")
print(agents.load_dataset(sys.argv[1], progress=False).fingerprint)
"""


def lines_of(code: str, *arguments: str, store: Path, **environment: str) -> list[str]:
    """What a process of its own prints."""
    variables = {**os.environ, "MINARI_DATASETS_PATH": str(store), "XDG_CACHE_HOME": str(store), **environment}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True).stdout.split()


def test_other_kernels_of_numpy_and_blas_make_the_same_episodes(tmp_path) -> None:
    dataset_ids = [f"demo/{task}/mixed-v1" for task in ADROIT_TASKS]
    here = lines_of(DIGESTS_OF_ONE_EPISODE, *dataset_ids, store=tmp_path / "here")
    elsewhere = lines_of(DIGESTS_OF_ONE_EPISODE, *dataset_ids, store=tmp_path / "elsewhere", **OTHER_KERNELS)
    assert here == elsewhere and len({*here}) == 4


@pytest.mark.slow
@pytest.mark.parametrize("dataset_id", making.dataset_ids())
def test_the_built_in_datasets_are_the_same_everywhere(tmp_path, dataset_id) -> None:
    assert lines_of(LOAD, dataset_id, store=tmp_path, **OTHER_KERNELS) == [FINGERPRINTS[dataset_id]]


def test_a_machine_that_makes_other_episodes_says_so(store, monkeypatch) -> None:
    monkeypatch.setattr(making, "digest", lambda episodes: "others")
    with pytest.warns(UserWarning, match="demo/pen/expert-v1 came out other than"):
        making.make(EXPERT, progress=False)


def test_mixed_is_some_episodes_of_expert_and_then_weak_ones(store) -> None:
    expert, mixed = make(EXPERT), make(MIXED)
    assert [same(first, second) for first, second in zip(expert, mixed, strict=True)] == [True, False, False]
    assert not same(mixed[1], mixed[2])


def test_no_evaluation_starts_where_an_episode_of_the_data_did(store) -> None:
    starts = [episode["observations"][0] for episode in make()]
    with EvaluationEnv("AdroitHandPen-v1") as env, env.borrow(1) as (gym_env,):
        for seed in range(100):
            observation, _ = gym_env.reset(seed=seed)
            assert not any(np.array_equal(on_grid(observation), start) for start in starts)


def test_an_episode_is_what_the_environment_answers_to_its_actions(store) -> None:
    episode = make()[1]
    with EvaluationEnv("AdroitHandPen-v1") as env, env.borrow(1) as (gym_env,):
        observation, _ = gym_env.reset(seed=FIRST_SEED + 1)
        assert np.array_equal(on_grid(observation), episode["observations"][0])
        for step, action in enumerate(episode["actions"]):
            observation, reward, terminated, truncated, info = gym_env.step(action)
            assert np.array_equal(on_grid(observation), episode["observations"][step + 1])
            assert (on_grid(reward), terminated) == (episode["rewards"][step], episode["terminations"][step])
            assert (truncated, info["success"]) == (episode["truncations"][step], episode["infos/success"][step])
    assert truncated


def test_minari_takes_it_for_one_of_its_own_without_a_warning(store) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        making.make(MIXED, progress=False)
        assert list(minari.list_local_datasets()) == [MIXED]
        dataset = minari.load_dataset(MIXED)
        assert (dataset.total_episodes, dataset.total_steps) == (3, 600)
        assert [episode.observations.shape for episode in dataset] == [(201, 45)] * 3
        assert dataset.observation_space.shape == (45,) and dataset.action_space.shape == (24,)
        metadata = dataset.storage.metadata
        assert (metadata["ref_min_score"], metadata["ref_max_score"]) == (-5.0, 95.0)
        assert minari.get_normalized_score(dataset, np.array([45.0])) == 0.5
        assert dataset.spec.env_spec.id == "AdroitHandPen-v1"
        assert dataset.spec.minari_version == minari.__version__
        environment = dataset.recover_environment()
        assert environment.spec.kwargs.get("reward_type", "dense") == "dense"
        environment.close()


def test_load_dataset_makes_it_on_first_use(store, capfd) -> None:
    dataset = agents.load_dataset(MIXED, progress=False)
    assert (dataset.statistics.num_episodes, len(dataset)) == (3, 600)
    assert (dataset.statistics.terminations, dataset.statistics.truncations) == (0, 3)
    assert dataset.statistics.success is not None
    assert dataset.reference == agents.Reference(-5.0, 95.0)
    assert [*dataset.statistics.scores] == ["d4rl", "minari"]
    made = (store / MIXED / "data" / "main_data.hdf5").stat()
    assert agents.load_dataset(MIXED, progress=False).fingerprint == dataset.fingerprint
    assert (store / MIXED / "data" / "main_data.hdf5").stat() == made
    assert capfd.readouterr().out == ""


def test_every_built_in_dataset_has_a_digest() -> None:
    assert making.dataset_ids() == [*making.DIGESTS]
    adroit_ids = [f"demo/{task}/{kind}-v1" for task in ADROIT_TASKS for kind in ("expert", "mixed")]
    assert making.dataset_ids()[:8] == adroit_ids


@pytest.mark.parametrize("dataset_id", ["demo/pen/human-v1", "demo/pen/expert-v0", "demo/pen", "pen"])
def test_an_unknown_id_is_refused_with_the_known_ones(store, dataset_id) -> None:
    message = refusal(dataset_id)
    assert repr(dataset_id) in message and all(known in message for known in making.dataset_ids())
    assert contents(store) == []


# Failures ------------------------------------------------------------------------------------------------------------


def test_a_rollout_that_fails_leaves_nothing(store, monkeypatch) -> None:
    def fail(self: adroit.BundledPolicy, observation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        raise FloatingPointError("broken on purpose")

    monkeypatch.setattr(adroit.BundledPolicy, "__call__", fail)
    with pytest.raises(FloatingPointError):
        making.make(EXPERT, progress=False)
    assert contents(store) == []


def test_a_write_that_fails_leaves_nothing(store, monkeypatch) -> None:
    storage = get_minari_storage("hdf5")
    update_episodes = storage.update_episodes

    def write_and_fail(self: object, episodes: list) -> None:
        update_episodes(self, episodes[:1])
        raise OSError("broken on purpose")

    monkeypatch.setattr(storage, "update_episodes", write_and_fail)
    assert "broken on purpose" in refusal()
    assert contents(store) == []


def test_what_killed_processes_left_in_the_store_goes_when_a_dataset_is_made(store, dead_pid) -> None:
    left = [store / f".making.a1b2.{pid}.tmp" for pid in (dead_pid, os.getppid())]
    for folder in left:
        (folder / "dataset" / "data").mkdir(parents=True)
    making.make(MIXED, progress=False)
    assert [folder.exists() for folder in left] == [False, True]  # the other one is at work


def test_a_full_disk_is_noticed_before_hdf5_meets_it(store, monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2_000_000, 1_000_000, 1_000_000))
    message = refusal()
    assert "No space left on device" in message and "MINARI_DATASETS_PATH" in message
    assert contents(store) == []


def test_a_store_that_cannot_be_written_is_noticed_before_the_work(store, monkeypatch) -> None:
    store.touch()
    monkeypatch.setattr(adroit, "_record", lambda *_: pytest.fail("rolled out for nothing"))
    message = refusal()
    assert EXPERT in message and str(store) in message and "MINARI_DATASETS_PATH" in message


def test_other_files_in_its_place_are_named_and_stay(store) -> None:
    (store / EXPERT).mkdir(parents=True)
    (store / EXPERT / "notes.txt").touch()
    assert str(store / EXPERT) in refusal()
    assert contents(store) == ["demo", "demo/pen", EXPERT, f"{EXPERT}/notes.txt"]


KILLED = """
import os, signal, sys
from pathlib import Path
from agents.data.demos import adroit, making
adroit.POLICIES, adroit.NUM_EPISODES = Path(sys.argv[1]), 1
os.rename = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
making.make("demo/pen/expert-v1", progress=False)
"""


def test_a_kill_before_the_last_step_leaves_nothing_that_looks_whole(store) -> None:
    command = [sys.executable, "-c", KILLED, str(adroit.POLICIES)]
    killed = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    written = [file for file in contents(store) if file.endswith("main_data.hdf5")]
    assert len(written) == 1 and written[0].startswith(".")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert minari.list_local_datasets() == {}
    assert agents.load_dataset(EXPERT, progress=False).statistics.num_episodes == 3


def test_two_that_make_it_at_the_same_time_do_not_hurt_each_other(store, monkeypatch) -> None:
    """The second starts when the first has written all but not moved it, and is done before the first goes on."""
    write, made = making.write, []

    def write_while_another_makes_it(*arguments: object) -> None:
        write(*arguments)
        if not made:
            made.append(None)
            made[0] = make()

    monkeypatch.setattr(making, "write", write_while_another_makes_it)
    making.make(EXPERT, progress=False)
    assert all(same(first, second) for first, second in zip(made[0], read(store), strict=True))
    assert contents(store) == ["demo", "demo/pen", EXPERT, f"{EXPERT}/data"] + [
        f"{EXPERT}/data/{name}" for name in ("main_data.hdf5", "metadata.json")
    ]


def test_the_environment_variable_of_the_store_is_never_touched(store, monkeypatch) -> None:
    before = dict(os.environ)
    update_metadata, seen = get_minari_storage("hdf5").update_metadata, []

    def look_and_update(*arguments: object) -> None:
        seen.append(dict(os.environ))
        update_metadata(*arguments)

    monkeypatch.setattr(get_minari_storage("hdf5"), "update_metadata", look_and_update)
    making.make(EXPERT, progress=False)
    assert seen and all(variables == before for variables in (*seen, dict(os.environ)))
