"""The command: a CSV file of one's own becomes an id, whose card and checkpoints name its columns."""

from __future__ import annotations

import functools
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import agents
from agents.errors import ConfigError
from recipes.import_data import next_commands
from recipes.settings import schema
from tests.recipes.conftest import QUICK

DATASET = "robot/arm-v0"
SETTINGS = (
    "source=log.csv",
    f"dataset={DATASET}",
    "columns.observation=[flow_*,level]",
    "columns.action=[valve]",
    "columns.episode=run",
    "reward=-cost - 0.1*abs(flow_in)",
)


@pytest.fixture
def take(run_recipe, tmp_path) -> Callable[..., Any]:
    """The recipe in the test's own folder and store, beside a log of three episodes."""
    rng = np.random.default_rng(0)
    rows = [",".join([*map(str, rng.standard_normal(4)), str(index // 20)]) for index in range(60)]
    (tmp_path / "log.csv").write_text("\n".join(["flow_in,level,valve,cost,run", *rows]) + "\n")
    store = {"MINARI_DATASETS_PATH": str(tmp_path / "store"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    return functools.partial(run_recipe, cwd=tmp_path, **store)


def test_a_log_is_imported_inspected_and_trained_on_by_its_names(take, tmp_path) -> None:
    imported = take("import_data", *SETTINGS)
    assert imported.code == 0, imported.err
    for text in ("flow_in, level (float64)", "reward", "verdict", "dimensions", "2: flow_in, level", "first steps"):
        assert text in imported.out
    assert f"offline-agents train dataset={DATASET} algorithm=iql\n" in imported.out
    quick = [setting for setting in QUICK if not setting.startswith("dataset")]
    trained = take("train", *quick, f"dataset={DATASET}", "algorithm=bc", "algorithm.actor.hidden_sizes=[8]")
    assert trained.code == 0, trained.err
    again = take("import_data", *SETTINGS)
    assert again.code == 0 and "was made of this very log before, and is left as it is" in again.out


def test_a_dry_run_shows_what_is_understood_and_writes_nothing(take, tmp_path) -> None:
    shown = take("import_data", *SETTINGS, "dry_run=true")
    assert shown.code == 0 and "nothing is written: dry_run=true" in shown.out
    assert "3 of 19 steps, 57 in all, by the column 'run'" in shown.out
    assert [path.name for path in tmp_path.rglob("*")] == ["log.csv"]


def test_without_rewards_cloning_alone_is_proposed(take) -> None:
    shown = take("import_data", *SETTINGS[:-1])
    assert "only cloning can use these data" in " ".join(shown.out.split())
    assert re.search("train .* algorithm=bc( validation=0.2)?\n", shown.out) and "algorithm=iql" not in shown.out


@pytest.mark.parametrize("end", ["terminated", "truncated"])
def test_a_cost_of_time_matters_where_episodes_can_be_over_sooner(tmp_path, monkeypatch, end) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    episodes = [{"observation": np.ones((4, 1)), "action": np.full(3, 0.5), "reward": np.full(3, -1.0)}] * 2
    agents.import_dataset(episodes, DATASET, end=end, progress=False)
    commands = next_commands(agents.inspect_dataset(DATASET, progress=False))
    assert (f"offline-agents train dataset={DATASET} algorithm=iql" in commands) is (end == "terminated")
    agents.import_dataset(episodes * 3, DATASET, end="terminated", progress=False, overwrite=True)
    commands = next_commands(agents.inspect_dataset(DATASET, progress=False))
    assert f"offline-agents train dataset={DATASET} algorithm=iql validation=0.2" in commands


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("source=nowhere.csv", "source=nowhere.csv: no such file or folder; known are files that end in .csv"),
        ("columns.action=[valv]", "columns.action: log.csv has no column 'valv' (did you mean valve?)"),
        ("reward=-cst", "reward: log.csv has no column 'cst' (did you mean cost?); there are flow_in"),
        ("action_bounds=[1]", "action_bounds must be data or [low,high], got [1]"),
    ],
)
def test_what_does_not_fit_is_a_line(take, tmp_path, change, says) -> None:
    assert says in take("import_data", *SETTINGS, change).refusal()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["log.csv"]


ROBOTS = Path(__file__).parents[1] / "agents" / "data" / "importers" / "robots"


@pytest.mark.slow
def test_a_robot_s_folder_needs_an_id_alone_and_trains_beside_its_pictures(take, tmp_path) -> None:
    shutil.copytree(ROBOTS / "lerobot_v2.1", tmp_path / "arm")
    imported = take("import_data", "source=arm", "dataset=robot/pick-v0", "columns.picture=[*.wrist]")
    assert imported.code == 0, imported.err
    for text in ("LeRobot v2.1", "10 steps a second", "so100_follower", "state.gripper.pos", "wrist (6 x 8 x 3)"):
        assert text in imported.out
    quick = [setting for setting in QUICK if not setting.startswith("dataset")]
    trained = take("train", *quick, "dataset=robot/pick-v0", "algorithm=bc", "algorithm.actor.hidden_sizes=[8]")
    assert trained.code == 0, trained.err
    assert "left out of training: wrist (a picture) of its observations" in trained.err


def test_a_robot_s_log_that_cannot_be_read_is_a_line(take, tmp_path) -> None:
    description = Path(shutil.copytree(ROBOTS / "lerobot_v3.0", tmp_path / "arm"), "meta", "info.json")
    description.write_text(description.read_text().replace('"v3.0"', '"v4.0"'))
    says = "arm is a LeRobot dataset of version v4.0; read are v2.0, v2.1, v3.0: convert it by LeRobot's own scripts"
    assert take("import_data", "source=arm", "dataset=robot/pick-v0").refusal() == says


@pytest.mark.parametrize("path", ["log.csv", "./log.csv", "logs/a.parquet", "~/a.npz"])
def test_a_path_in_the_place_of_an_id_is_told_of_the_command(path) -> None:
    hint = f"first make a dataset of it: offline-agents import source={path} dataset=robot/arm-v0"
    for config in (schema.TrainConfig, schema.InspectConfig):
        with pytest.raises(ConfigError, match=f"dataset={re.escape(path)} names no dataset.*{re.escape(hint)}"):
            config(dataset=path)
    with pytest.raises(ConfigError, match=re.escape(hint)):
        schema.CompareConfig(datasets=["demo/pen/mixed-v1", path])
