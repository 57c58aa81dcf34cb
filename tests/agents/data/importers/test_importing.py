"""An import: a dataset is there whole or not at all, is recognised, and keeps the names of its columns."""

from __future__ import annotations

import errno
import gc
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import minari
import numpy as np
import pytest
import torch
from tqdm import tqdm

import agents
from agents.data.importers import ColumnsConfig, writing
from agents.data.importers.meaning import Episode
from agents.data.importers.minari_hdf5 import Parts
from agents.data.importers.understanding import Understanding
from agents.data.store import is_here
from agents.data.units import Units, read_units
from agents.environments.adapter import Spaces
from agents.errors import ConfigError, DataError

USES = {"observation": ["flow_in", "level"], "action": ["valve"], "reward": "-cost", "episode": "run"}


@pytest.fixture
def log(table) -> str:
    rng = np.random.default_rng(0)
    rows = [[*map(float, rng.standard_normal(4)), index // 10] for index in range(40)]
    return table("flow_in,level,valve,cost,run", rows)


def test_names_of_columns_stay_with_the_dataset(take, log) -> None:
    take(log, **USES)
    dataset = agents.load_dataset("robot/arm-v0", progress=False)
    assert dataset.specs.observation_names == ("flow_in", "level")
    spaces = dataset.specs.numbers
    assert spaces.actions.labels == ("valve",) and spaces.observations.named
    again = Spaces.from_json(json.loads(json.dumps(spaces.to_json())))
    assert again == spaces and again.observations.names == ("flow_in", "level")
    assert agents.inspect_dataset("robot/arm-v0", progress=False).source.observations.names == ("flow_in", "level")
    broken = spaces.to_json()
    broken["observations"]["parts"][0]["labels"] = ["one"]
    with pytest.raises(ValueError, match="are no names"):
        Spaces.from_json(broken)


def test_the_dataset_is_an_ordinary_one_of_minari(take, log) -> None:
    take(log, **USES)
    dataset = minari.load_dataset("robot/arm-v0")
    assert (dataset.total_episodes, dataset.total_steps) == (4, 36)
    assert all(dataset.observation_space.contains(row) for row in dataset[0].observations) and repr(dataset[0])


def test_units_and_rate_stay_with_the_dataset(take, table) -> None:
    dates = [f"2026-01-31 12:{minute:02}:00" for minute in range(0, 50, 10)]
    rows = [[date, float(index), 0.5, index % 2, "ab"[index % 2]] for index, date in enumerate(dates)]
    log = table("t,s,s2,a,ward", rows)
    uses = {"observation": ["s", "ward", "s2"], "category": ["ward"], "action": ["a"], "action_kind": "continuous"}
    units = ["s2=l/s", "a=rad"]
    imported = take(log, **uses, time="t", units=units)
    assert imported.meaning["observations"] == "s, ward, s2 [l/s] (float64)"
    assert read_units("robot/arm-v0") == Units((None, "l/s"), ("rad",), 1 / 600)
    take(log, "robot/arm-v1", **uses, time="t", time_step=1200)
    assert read_units("robot/arm-v1") == Units((None, None), (None,), 1 / 1200)
    with pytest.raises(ConfigError, match=r"columns.units: log.csv has no column 's3' \(did you mean s\?\)"):
        take(log, "robot/arm-v2", **uses, units=["s3=m"])
    with pytest.raises(ConfigError, match=r"columns.units must be a list of column=unit, got \['s2'\]"):
        take(log, "robot/arm-v2", **uses, units=["s2"])


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"observation_units": "m", "action_units": [1], "steps_per_second": -1}']
)
def test_units_that_are_none_are_not_known(store, content) -> None:
    (store / "robot/arm-v0/data").mkdir(parents=True)
    (store / "robot/arm-v0/data/metadata.json").write_text(content)
    assert read_units("robot/arm-v0") == read_units("robot/nowhere-v0") == Units()


def test_names_that_are_no_names_are_left_out(take, log, store) -> None:
    take(log, **USES)
    path = store / "robot/arm-v0/data/metadata.json"
    for names in (["one"], "ab", [1, 2], None):
        path.write_text(json.dumps({**json.loads(path.read_text()), "observation_names": names}))
        source = agents.inspect_dataset("robot/arm-v0", progress=False).source
        assert source.observations.names == ("observation.0", "observation.1")


def test_training_gets_the_numbers_of_the_log(take, log) -> None:
    take(log, **USES, last_observation="repeat")
    table = np.loadtxt(log, delimiter=",", skiprows=1, dtype=np.float32)
    dataset = agents.load_dataset("robot/arm-v0", progress=False)
    assert dataset.statistics.num_steps == len(table)
    mean = torch.from_numpy(table[:, :2].mean(0))
    torch.testing.assert_close(dataset.specs.observation_mean, mean, atol=1e-6, rtol=0)
    np.testing.assert_allclose(dataset.statistics.reward_mean, -table[:, 3].mean(), rtol=1e-5)


def test_episodes_are_written_one_by_one_over_several_openings_of_the_file(take, episodes, monkeypatch) -> None:
    monkeypatch.setattr("agents.data.importers.minari_hdf5.AT_ONCE", 2)
    in_memory: list[int] = []
    parts = writing._parts

    def counted(episode: Episode, understanding: Understanding) -> Parts:
        in_memory.append(sum(type(each) is Episode for each in gc.get_objects()))
        return parts(episode, understanding)

    monkeypatch.setattr(writing, "_parts", counted)
    take([{"observation": np.full((3, 1), index), "action": np.zeros((2, 1))} for index in range(5)])
    assert [episode.observations[0, 0] for episode in episodes()] == [0, 1, 2, 3, 4]
    assert len(in_memory) == 5 and max(in_memory) <= 2


def test_the_same_log_is_recognised_and_another_one_refused(take, log, store) -> None:
    first = take(log, **USES)
    before = (store / "robot/arm-v0/data/main_data.hdf5").stat().st_mtime_ns
    again = take(log, **USES)
    assert again.unchanged and not first.unchanged and again.meaning == first.meaning
    with pytest.raises(DataError, match="'robot/arm-v0' is there already; overwrite=true puts this log in its place"):
        take(log, **USES, end="terminated")
    with open(log, "a") as file:
        file.write("1,2,3,4,9\n5,6,7,8,9\n")
    with pytest.raises(DataError, match="is there already"):
        take(log, **USES)
    assert (store / "robot/arm-v0/data/main_data.hdf5").stat().st_mtime_ns == before
    assert not take(log, **USES, overwrite=True).unchanged
    assert minari.load_dataset("robot/arm-v0").total_episodes == 5


def test_a_dry_run_writes_nothing(take, log, store) -> None:
    imported = take(log, **USES, dry_run=True)
    assert imported.first_rows[0] == ["flow_in", "level", "valve", "reward"] and len(imported.first_rows) == 4
    assert not [*store.glob("*")]


@pytest.mark.parametrize("before", [False, True])
def test_a_failure_while_writing_leaves_the_store_as_it_was(take, log, store, episodes, monkeypatch, before) -> None:
    if before:
        take(log, **USES)

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("agents.data.importers.writing.append_episodes", no_room)
    with pytest.raises(DataError, match=r"No space left on device.*nothing is half-written"):
        take(log, **USES, overwrite=True, end="terminated")
    assert [path.name for path in store.iterdir()] == (["robot"] if before else [])
    assert not before or len(episodes()) == 4


def test_a_full_disk_is_seen_before_hdf5_meets_it(take, log, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("usage", "free")(1000))
    with pytest.raises(DataError, match="MB are needed.*make room in"):
        take(log, **USES)


def test_what_a_killed_import_left_is_removed_by_the_next(take, log, store, dead_pid) -> None:
    (store / f".importing.x.{dead_pid}.tmp" / "dataset").mkdir(parents=True)
    take(log, **USES)
    assert [path.name for path in store.iterdir()] == ["robot"]


def test_a_kill_between_two_renames_leaves_the_dataset_of_before(take, log, store, episodes, dead_pid) -> None:
    """It is aside then, in the hidden folder of that import, and again in its place for whoever asks for one first."""
    take(log, **USES)
    aside = store / f".importing.x.{dead_pid}.tmp"
    for ask in (
        lambda: agents.load_dataset("robot/arm-v0", progress=False),
        lambda: take(log, "robot/leg-v0", **USES, overwrite=True),
        lambda: take(log, **USES),
    ):
        (aside / "dataset" / "data").mkdir(parents=True, exist_ok=True)
        (aside / "before" / "robot").mkdir(parents=True, exist_ok=True)
        (store / "robot" / "arm-v0").rename(aside / "before" / "robot" / "arm-v0")
        if not [*(store / "robot").iterdir()]:
            (store / "robot").rmdir()
        ask()
        assert len(episodes()) == 4


def test_what_a_living_import_has_aside_stays_there(take, log, store) -> None:
    take(log, **USES)
    before = store / f".importing.x.{os.getpid()}.tmp" / "before" / "robot"
    before.mkdir(parents=True)
    (store / "robot" / "arm-v0").rename(before / "arm-v0")
    assert not is_here("robot/arm-v0") and (before / "arm-v0" / "data").is_dir()


KILLED = """
import os, signal
from agents.data.importers import ColumnsConfig, import_dataset, writing
append = writing.append_episodes

def killed(path, episodes):
    append(path, [next(iter(episodes))])
    os.kill(os.getpid(), signal.SIGKILL)

writing.append_episodes = killed
columns = ColumnsConfig(observation=["level"], action=["valve"], episode="run")
import_dataset("log.csv", "robot/arm-v0", columns=columns, overwrite=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("before", [False, True])
def test_a_kill_while_writing_leaves_the_store_as_it_was(take, log, store, episodes, before) -> None:
    if before:
        take(log, **USES)
    code = "import sys; sys.path.insert(0, sys.argv[1])" + KILLED
    killed = subprocess.run([sys.executable, "-c", code, str(Path(agents.__file__).parents[1])])
    assert killed.returncode == -signal.SIGKILL
    assert len([*store.glob(".importing.*")]) == 1
    assert [*minari.list_local_datasets()] == (["robot/arm-v0"] if before else [])
    assert not before or len(episodes()) == 4
    take(log, **USES, overwrite=True)
    assert [path.name for path in store.iterdir()] == ["robot"] and len(episodes()) == 4


def test_a_bar_over_rows_has_rate_and_time_left(log, monkeypatch) -> None:
    shown = io.StringIO()
    at_once = {"disable": False, "delay": 0, "mininterval": 0, "file": shown}
    monkeypatch.setattr("agents.data.importers.importing.tqdm", lambda **settings: tqdm(**settings | at_once))
    columns = ColumnsConfig(observation=["level"], action=["valve"], episode="run")
    agents.import_dataset(log, "robot/arm-v0", columns=columns)
    assert re.search(r"reading log.csv: .*40.0/41.0 .00:00<00:00.*rows/s", shown.getvalue())
    assert re.search(r"writing robot/arm-v0: 100%.*36.0/36.0 .*rows/s", shown.getvalue())


@pytest.mark.parametrize("dataset", ["robot", "robot/arm", "a/b-v0", "demo/arm-v0", "../arm-v0"])
def test_an_id_that_minari_does_not_take_is_refused(take, log, dataset) -> None:
    with pytest.raises(ConfigError, match=f"dataset={dataset}"):
        take(log, dataset, **USES)


def test_a_path_in_the_place_of_an_id_names_the_import() -> None:
    with pytest.raises(DataError, match="import_dataset of agents makes one of a log"):
        agents.load_dataset("/data/log.csv")


@pytest.mark.parametrize("stop, seen", [(OSError("no"), DataError), (KeyboardInterrupt(), KeyboardInterrupt)])
def test_the_dataset_of_before_stays_where_another_cannot_take_its_place(
    stop, seen, take, table, episodes, monkeypatch
) -> None:
    log = table("s,a", [[index, 0.5] for index in range(4)])
    take(log, observation=["s"], action=["a"])
    rename = os.rename

    def refuse(source: Path, destination: Path) -> None:
        if source.name == "dataset":
            raise stop
        rename(source, destination)

    monkeypatch.setattr("agents.data.importers.writing.os.rename", refuse)
    with pytest.raises(seen, match="could not write robot/arm-v0" if seen is DataError else None):
        take(log, observation=["s"], action=["a"], last_observation="repeat", overwrite=True)
    assert len(episodes()[0].rewards) == 3
