"""Loggers: W&B offline holds what the CSV files hold, under the documented keys, and nothing of the machine."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import agents
from agents import metrics
from agents.evaluation.held_out import HeldOut
from agents.files import flatten

RUN = "runs/iql/test/pendulum-v0/seed0"
PAGE = Path(agents.__file__).parents[1] / "docs/one_run.md"
TAGS = ["test/pendulum-v0", "iql", "pendulum"]
Rows = list[dict[str, str]]

# the names of the network are never looked up, and what a run has no use for is not loaded
BEFORE = """
import atexit, socket, sys
atexit.register(lambda: "wandb.sdk.launch" in sys.modules and print("LAUNCH"))
def no_network(*_, **__):
    print("NETWORK")
    raise OSError
socket.getaddrinfo = no_network
"""
SHORT = """
from agents.evaluation.offline.settings import FQEConfig
from recipes.runs import estimation
estimation.quick_fit = lambda steps, gamma: FQEConfig(gradient_steps=2, num_members=3, compile="off")
"""  # estimates
VIDEOS = {"eval/video", "eval/video_worst", "eval/video_median", "eval/video_best"}  # where asked for
CHOSEN = ("wandb.project=grasp", "wandb.entity=lab", "wandb.group=first", "wandb.tags=[a,b]", "wandb.job_type=pilot")


@dataclass(frozen=True)
class Logged:
    """An offline W&B run and the CSV files beside it."""

    folder: Path
    out: str
    records: list[dict[str, Any]]
    metrics: Rows
    evaluations: Rows

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [record[kind] for record in self.records if record["type"] == kind]

    @property
    def run(self) -> dict[str, Any]:
        return self.of_type("run")[0]

    @property
    def config(self) -> dict[str, Any]:
        return {key: value for key, value in self.run["config"]["update"].items() if key != "_wandb"}

    @property
    def history(self) -> list[dict[str, Any]]:
        """What was logged together, without W&B's own entries; of histograms and tables only the key."""
        items = [record["item"] for record in self.of_type("history")]
        return [{key.split(".")[0]: value for key, value in item.items() if key[0] != "_"} for item in items]

    @property
    def keys(self) -> set[str]:
        return {key for item in self.history for key in item}


@pytest.fixture(scope="module")
def log(quick_train, as_adroit, read_wandb, read_csv, tmp_path_factory) -> Callable[..., Logged]:
    def run(*overrides: str) -> Logged:
        folder = tmp_path_factory.mktemp("logged")
        finished = quick_train("logger=wandb", *overrides, cwd=folder, before=BEFORE + as_adroit + SHORT)
        assert finished.code == 0, finished.err
        folder = folder / RUN
        rows = (read_csv(folder / f"{name}.csv") for name in ("metrics", "evaluations"))
        return Logged(folder, finished.out, read_wandb(folder), *rows)

    return run


@pytest.fixture(scope="module")
def logged(log) -> Logged:
    return log("algorithm.max_grad_norm=1.0", "validation=0.25", "estimate_every=7", *CHOSEN)


@pytest.fixture(scope="module")
def logged_by_default(log) -> Logged:
    return log("wandb.mode=auto")


def test_the_settings_of_wandb_reach_the_run(logged, logged_by_default) -> None:
    names = ("project", "entity", "run_group", "tags")
    assert [logged.run.get(name) for name in names] == ["grasp", "lab", "first", ["a", "b", *TAGS]]
    assert [logged_by_default.run.get(name) for name in names] == [
        *("offline-agents", None, "iql/test/pendulum-v0", TAGS)
    ]


def test_a_run_is_named_and_says_that_it_trains(logged, logged_by_default) -> None:
    assert logged.run["display_name"] == "iql/test/pendulum-v0/seed0"
    assert logged_by_default.run["job_type"] == "train" and logged.run["job_type"] == "pilot"
    assert logged.run["run_id"] == json.loads((logged.folder / "run.json").read_text())["wandb_id"]


def test_without_an_account_a_run_is_offline_and_says_how_to_upload_it(logged_by_default, logged) -> None:
    for run in (logged_by_default, logged):
        told = re.search(r"^W&B: +offline; upload by: wandb sync (\S+)$", run.out, re.MULTILINE)
        assert (run.folder.parents[4] / told[1]).is_dir()


def test_offline_the_network_is_never_asked(logged, logged_by_default) -> None:
    assert "NETWORK" not in logged.out and "NETWORK" not in logged_by_default.out


def test_a_run_does_not_load_the_launcher_of_jobs(logged, logged_by_default) -> None:
    assert "LAUNCH" not in logged.out + logged_by_default.out


@pytest.mark.parametrize("mode", ["auto", "offline"])
def test_a_wrong_variable_of_wandbs_is_refused_in_one_line(mode, train, tmp_path) -> None:
    finished = train("logger=wandb", f"wandb.mode={mode}", before=BEFORE, WANDB_MODE="onlin")
    assert re.fullmatch(r"W&B refused the run \(.*onlin.*\); use wandb.mode=offline or logger=csv", finished.refusal())
    assert not (tmp_path / RUN).exists()


def test_online_without_an_account_is_refused_in_one_line(train, tmp_path) -> None:
    finished = train("logger=wandb", "wandb.mode=online", before=BEFORE)
    assert re.fullmatch(r"W&B refused the run \(.*\); use wandb.mode=offline or logger=csv", finished.refusal())
    assert "NETWORK" not in finished.out
    assert not (tmp_path / RUN).exists()


AS_IT_CAME_OUT = ("dataset_fingerprint", "compile", "matmul_precision", "num_threads")


def test_the_config_is_nested_and_complete(logged) -> None:
    settings = OmegaConf.to_container(OmegaConf.load(logged.folder / "config.yaml"))
    info = json.loads((logged.folder / "run.json").read_text())
    expected = {
        **settings,
        "versions": info["versions"],
        "algorithm_name": "iql",
        "job_type": "pilot",
        **{name: info[name] for name in AS_IT_CAME_OUT},
    }
    assert logged.config == {key: value for key, value in expected.items() if key not in ("run_dir", "resume")}
    assert logged.config["algorithm"]["actor"]["hidden_sizes"] == [8] and not any("." in key for key in logged.config)


def test_nothing_of_the_machine_is_uploaded(logged, environment) -> None:
    uploaded = json.dumps([record for record in logged.records if record["type"] != "artifact"])  # its paths stay local
    assert str(logged.folder) not in uploaded and environment["HOME"] not in uploaded
    assert "host" not in logged.run and "program" not in uploaded and "executable" not in uploaded
    assert socket.gethostname() not in re.findall(r'"([^"]*)"', uploaded)
    (files,) = logged.folder.glob("wandb/offline-run-*/files")
    assert os.listdir(files) == ["media"]


def test_wandb_holds_what_the_csv_files_hold(logged) -> None:
    every = {"train": logged.metrics, "time": logged.metrics}
    # whose log points come too often here
    every |= dict.fromkeys(("eval", "validation", "estimate"), logged.evaluations)
    for prefix, rows in every.items():
        for row in rows:
            ours = {key: float(value) for key, value in row.items() if value and key.startswith(f"{prefix}/")}
            step = int(row["step"])
            items = [item for item in logged.history if item.get(f"{prefix}/step") == step]
            theirs = {key: value for item in items for key, value in item.items() if key in ours}
            assert theirs == ours


def test_wandb_holds_nothing_else_but_histograms_table_data_and_steps(logged) -> None:
    csv_keys = {*logged.metrics[0], *logged.evaluations[0]} - {"step"}
    steps = {f"{prefix}/step" for prefix in ("train", "time", "validation", "estimate", "eval", "data")}
    of_data = {*metrics.data(agents.load_dataset("test/pendulum-v0")), "data/returns"}
    assert logged.keys - csv_keys == {"eval/returns", "eval/episodes"} | steps | of_data
    assert csv_keys < logged.keys


def test_what_the_data_hold_is_logged_once_before_all_else(logged) -> None:
    data = [item for item in logged.history if "data/step" in item]
    assert data == logged.history[: len(data)] and {item["data/step"] for item in data} == {0}
    ours = metrics.data(agents.load_dataset("test/pendulum-v0").split(0.25)[0])
    assert {key: value for item in data for key, value in item.items() if key in ours} == ours


def test_the_page_explains_every_key_and_no_other(logged, specs, discrete_specs, batches_for) -> None:
    of_any = set()
    linear = agents.ExpectileScheduleConfig(kind="linear")
    with_options = agents.IQLConfig(value_warm_up=1, expectile_schedule=linear, scale_advantage=True)
    for config in (
        *(config() for config in agents.ALGORITHMS.values()),
        with_options,
        agents.ALGORITHMS["cql"](lagrange_threshold=5.0),
        agents.ReBRACConfig().going_online(10),
    ):
        suited = discrete_specs if config.actions == "discrete" else specs
        agent = config.build(suited)
        statistics = agent.update(batch := batches_for(suited, agent)(0))
        of_any |= metrics.training(statistics, agent.learning_rates).keys()
        of_any |= metrics.validation(HeldOut(agent, suited, batch).measure()).keys()
    section = PAGE.read_text().split("## Dashboard keys")[1].split("\n## ")[0]
    explained = re.findall(
        r"^\| `?((?:train|validation|eval|estimate|time|data)/\w+)`? \| (\S.*?) \|(.*)\|$", section, re.MULTILINE
    )
    names = [name for name, _, _ in explained]
    steps = {key for key in logged.keys if key.endswith("/step")}
    assert len(names) == len(set(names))
    elsewhere = {"time/gpu_memory", "time/collection_share", "data/success", "data/d4rl_score"}  # not here
    assert set(names) == logged.keys - steps | of_any | VIDEOS | elsewhere
    assert all(f"`{step}`" in section for step in steps)


def test_the_x_axis_of_every_key_is_its_own_step(logged) -> None:
    metrics = {metric["name"]: metric.get("step_metric") for metric in logged.of_type("metric")}
    logged_keys = {key for key in logged.keys if key != "eval/episodes"}  # a table has no axis
    assert metrics.keys() == logged_keys
    for name, step in metrics.items():
        assert step == (None if name.endswith("/step") else f"{name.split('/')[0]}/step")


def test_the_summary_holds_the_last_evaluation_as_final(logged) -> None:
    updates = {key: value for record in logged.of_type("summary") for key, value in record["update"].items()}
    final = {key: value for key, value in updates.items() if key.startswith("final/")}
    last = {key: float(value) for key, value in logged.evaluations[-1].items() if key.startswith("eval/")}
    assert final == {key.replace("eval/", "final/"): value for key, value in last.items()}


def test_the_table_has_a_row_per_episode(logged) -> None:
    tables = [
        json.loads(path.read_text()) for path in logged.folder.glob("wandb/offline-run-*/files/media/table/**/*.json")
    ]
    assert len(tables) == 2
    for table in tables:
        assert table["columns"][:3] == ["episode", "return", "length"]
        assert [row[0] for row in table["data"]] == [0, 1]


def test_a_finished_run_is_closed_without_an_error(logged) -> None:
    assert logged.records[-1]["exit"]["exit_code"] == 0


# The others ----------------------------------------------------------------------------------------------------------


def test_none_writes_nothing_beside_the_csv_files(usual) -> None:
    assert {path.name for path in usual.iterdir() if path.name[0] != "."} == {
        *("config.yaml", "run.json", "metrics.csv", "evaluations.csv", "checkpoints")
    }


def test_csv_writes_a_file_per_key(train, tmp_path, read_csv) -> None:
    assert train("logger=csv").code == 0
    (folder,) = (tmp_path / RUN).glob("csv/scalars")
    rows = [*read_csv(tmp_path / RUN / "metrics.csv"), *read_csv(tmp_path / RUN / "evaluations.csv")]
    for key in {key for row in rows for key in row} - {"step"}:
        points = [line.split(",") for line in (folder / f"{key}.csv").read_text().splitlines()]
        assert points == [[row["step"], row[key]] for row in rows if key in row]


def test_tensorboard_writes_every_key(train, tmp_path, read_csv) -> None:
    assert train("logger=tensorboard").code == 0
    events = EventAccumulator(str(tmp_path / RUN / "tensorboard")).Reload()
    rows = [*read_csv(tmp_path / RUN / "metrics.csv"), *read_csv(tmp_path / RUN / "evaluations.csv")]
    assert set(events.Tags()["scalars"]) == {key for row in rows for key in row} - {"step"}
    losses = {event.step: event.value for event in events.Scalars("train/loss_actor")}
    assert losses == pytest.approx({int(row["step"]): float(row["train/loss_actor"]) for row in rows[:4]})


def test_flat_settings_are_written_as_on_the_command_line() -> None:
    tree = {"seed": 0, "algorithm": {"actor": {"hidden_sizes": [8]}, "gamma": None}, "empty": {}}
    assert flatten(tree) == {"seed": 0, "algorithm.actor.hidden_sizes": [8], "algorithm.gamma": None}
