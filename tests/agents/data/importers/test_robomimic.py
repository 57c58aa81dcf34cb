"""robomimic: a file that its own scripts wrote, held against what its own dataset reads in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import minari
import numpy as np
import pytest

from agents.data import load_dataset
from agents.errors import ConfigError, DataError

FOLDER = Path(__file__).parent / "robots"
DATASET = "robot/arm-v0"
NAMES = ["cart_pos.0", "cart_pos.1", "object.0", "object.1"]


@pytest.fixture
def source() -> Path:
    return shutil.copy(FOLDER / "robomimic.hdf5", "log.hdf5")


def assert_equal_to_the_library(episodes: list, demos: list[str]) -> None:
    with np.load(FOLDER / "robomimic.npz") as values:
        theirs = {name.split("/", 1)[1]: values[name] for name in values.files}
    assert len(episodes) == len(demos)
    for episode, demo in zip(episodes, demos):
        for start, name in ((0, "cart_pos"), (2, "object")):
            observations = episode.observations["observation"][:, start : start + 2]
            assert observations[:-1].tobytes() == theirs[f"{demo}/obs/{name}"].tobytes()
            assert observations[1:].tobytes() == theirs[f"{demo}/next_obs/{name}"].tobytes()
        pictures = episode.observations["agentview_image"]
        assert pictures[:-1].tobytes() == theirs[f"{demo}/obs/agentview_image"].tobytes()
        assert pictures[1:].tobytes() == theirs[f"{demo}/next_obs/agentview_image"].tobytes()
        assert episode.actions.tobytes() == theirs[f"{demo}/actions"].tobytes()
        assert episode.rewards.tobytes() == theirs[f"{demo}/rewards"].tobytes()


def test_values_are_those_that_robomimic_reads(source, take, episodes) -> None:
    imported = take(source)
    assert_equal_to_the_library(episodes(), [f"demo_{number}" for number in range(4)])
    assert imported.meaning["observations"] == f"{', '.join(NAMES)} (float64)"
    assert imported.meaning["last observation"] == "in 4 given"
    assert imported.meaning["ends"].startswith("0 terminated, 4 truncated")  # 'dones' ends nothing
    assert imported.meaning["rate"] == "20 steps a second"
    assert imported.meaning["not observed"].startswith("states")
    assert imported.meaning["subset"] == "all episodes; subset=NAME takes some alone: train 3, valid 1"
    metadata = minari.load_dataset(DATASET).storage.metadata
    assert json.loads(metadata["env_args"])["env_name"] == "Slider" and metadata["steps_per_second"] == 20


def test_a_filter_key_chooses_demonstrations(source, take, episodes) -> None:
    with h5py.File(source) as file:
        (valid,) = file["mask/valid"].asstr()[:]
    take(source, subset="valid")
    assert_equal_to_the_library(episodes(), [valid])
    with pytest.raises(ConfigError, match="subset=half: log.hdf5 has no such episodes; choose from train, valid"):
        take(source, subset="half", dry_run=True)


@pytest.mark.filterwarnings("ignore:dataset .*left out of training")
def test_vectors_train_and_pictures_stay_beside_them(source, take) -> None:
    take(source)
    specs = load_dataset(DATASET, progress=False).specs
    assert specs.observation_names == tuple(NAMES)
    take(source, "robot/blind-v0", pictures="drop", observation=["object"])
    assert load_dataset("robot/blind-v0", progress=False).specs.observation_names == ("object.0", "object.1")


def test_states_are_observed_where_nothing_else_is(source, take, episodes) -> None:
    with h5py.File(source, "a") as file:
        for demo in file["data"].values():
            del demo["obs"], demo["next_obs"]
        states = file["data/demo_0/states"][()]
    imported = take(source)
    assert episodes()[0].observations.tobytes() == states.tobytes()
    assert imported.meaning["last observation"].startswith("in 4 that of the last row")


def edit(source: Path, *removed: str, **added: Any) -> None:
    with h5py.File(source, "a") as file:
        for name in (*removed, *added):
            del file[f"data/{name.replace('__', '/')}"]
        for name, value in added.items():
            file[f"data/{name.replace('__', '/')}"] = value


@pytest.mark.parametrize(
    ("removed", "added", "says"),
    [
        (["demo_0/actions"], {}, "log.hdf5: demo_0 has no actions, without which nothing can be learned; it has dones"),
        (["demo_2/actions"], {}, "demo_2 of log.hdf5 has no 'actions', which the first one has"),
        (["demo_1/obs/object"], {}, "demo_1 of log.hdf5 has no 'object', which the first one has"),
        (
            [],
            {"demo_1__obs__object": np.zeros((5, 3))},
            r"demo_1 of log.hdf5: 'object' is of shape \[3\] in obs and \[2\] in next_obs",
        ),
        (
            [],
            {"demo_1__obs__object": np.zeros((5, 3)), "demo_1__next_obs__object": np.zeros((5, 3))},
            r"demo_1 of log.hdf5: observations of shape \[5\], in the episodes before \[4\]",
        ),
        (
            [],
            {"demo_1__actions": np.zeros((5, 3))},
            r"demo_1 of log.hdf5: actions of shape \[3\], in the episodes before",
        ),
        ([], {"demo_1__rewards": np.zeros(4)}, "demo_1 of log.hdf5: 4 rewards for 5 actions"),
        (
            [],
            {"demo_1__obs__agentview_image": np.zeros((5, 9, 8, 3), np.uint8)},
            "a picture is 9 x 8, those before 6 x 8",
        ),
        (
            [],
            {"demo_1__obs__agentview_image": np.zeros((3, 6, 8, 3), np.uint8)},
            "4 pictures 'agentview_image', where 6",
        ),
    ],
)
def test_what_is_missing_or_contradicts_is_said(source, take, store, removed, added, says) -> None:
    edit(source, *removed, **added)
    with pytest.raises(DataError, match=says):
        take(source)
    assert not [*store.glob("robot*")] and not [*store.glob(".importing*")]


def test_a_file_that_is_cut_off_is_a_line(source, take) -> None:
    content = Path(source).read_bytes()
    Path(source).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="log.hdf5 cannot be read as HDF5"):
        take(source)


@pytest.mark.parametrize("name", ["actions", "obs/object", "obs/agentview_image"])
def test_a_link_into_another_file_is_not_followed(source, take, name) -> None:
    shutil.copy(source, "other.hdf5")
    with h5py.File(source, "a") as file:
        del file[f"data/demo_1/{name}"]
        file[f"data/demo_1/{name}"] = h5py.ExternalLink("other.hdf5", f"data/demo_1/{name}")
    with pytest.raises(DataError, match=f"the values of /data/demo_1/{name} are in another file"):
        take(source)
