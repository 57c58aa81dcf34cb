"""A W&B server that is away, silent or unwilling costs a run a line and bounded time, never its data; nothing about the
machine is uploaded."""

from __future__ import annotations

import functools
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RUN = "runs/iql/test/pendulum-v0/seed0"
ONLINE = ("logger=wandb", "wandb.mode=auto", "wandb.timeout=1", "wandb.upload_timeout=1")
DIES = """
import os, signal, time
from recipes.tracking import loggers
log = loggers.log_scalars
def written(logger):  # by W&B's own process, which does so every second
    (file,) = logger.folder.glob("run-*.wandb")
    return file.read_bytes().count(b"train/loss_qvalue") > 3  # the key's definition and three rows
def log_scalars(logger, scalars, step):
    log(logger, scalars, step)
    if step == 15: {death}
loggers.log_scalars = log_scalars
"""
KILL = DIES.format(
    death="""
        deadline = time.monotonic() + 30.0
        while not written(logger) and time.monotonic() < deadline: time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGKILL)"""
)
FAIL = DIES.format(death="raise RuntimeError('bug')")


@pytest.fixture
def train_online(train, wandb_server) -> Callable[..., Any]:
    return functools.partial(train, *ONLINE, **wandb_server.environment)


def rows(records: list[dict[str, Any]]) -> set[int]:
    """Steps of the rows of training in a W&B file."""
    items = [record["history"]["item"] for record in records if record["type"] == "history"]
    return {item["train/step"] for item in items if "train/step" in item}


# A server that answers -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def online(quick_train, as_adroit, module_wandb_server, tmp_path_factory) -> tuple[Any, Path]:
    """The server after a whole run with everything that can be logged, and the run's folder."""
    folder = tmp_path_factory.mktemp("online")
    settings = (*ONLINE, "wandb.timeout=20", "wandb.upload_timeout=60", "wandb.artifacts=true")
    done = quick_train(*settings, cwd=folder, before=as_adroit, **module_wandb_server.environment)
    assert done.code == 0 and "warning" not in done.err, done.err
    assert re.search(rf"^W&B: {module_wandb_server.url}/lab/offline-agents/runs/\w+$", done.out, re.MULTILINE)
    return module_wandb_server, folder / RUN


def test_online_every_row_arrives_and_the_run_ends_well(online, read_csv) -> None:
    server, folder = online
    arrived = [row for row in server.lines("wandb-history.jsonl") if "train/step" in row]
    assert [row["train/step"] for row in arrived] == [5, 10, 15, 20]
    for row, ours in zip(arrived, read_csv(folder / "metrics.csv")):
        assert all(row[key] == pytest.approx(float(value)) for key, value in ours.items() if key != "step")
    assert server.finished() == [0]
    assert any(name.startswith("media/table/eval/episodes") for name in server.files)


def test_nothing_of_the_machine_is_uploaded(online, environment) -> None:
    server, folder = online
    received = b"".join((*server.received, *server.files.values())).decode(errors="replace")
    assert "dataset_fingerprint" in received and len(received) > 10_000
    secrets = (
        environment["HOME"],
        str(folder),
        str(Path(__file__).parents[3]),
        "/tmp",
        "site-packages",
        "requirements",
    )
    assert [secret for secret in secrets if secret in received] == []
    assert not re.search(rf'["@/]{re.escape(socket.gethostname())}["./]', received)
    assert "filelock" not in received and "pluggy" not in received  # installed, and no version that results depend on


# One that does not ---------------------------------------------------------------------------------------------------


def assert_logged_offline(done: Any, folder: Path, read_wandb: Callable[..., Any], reason: str) -> None:
    assert done.code == 0, done.err
    warnings = [line for line in done.err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert re.fullmatch(rf"warning: W&B is not to be had \(.*{reason}.*\); the run is logged offline", warnings[0])
    assert "W&B:         offline; upload by: wandb sync" in done.out
    assert rows(read_wandb(folder)) == {5, 10, 15, 20}


def test_a_server_that_is_away(train, tmp_path, read_wandb) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{unused.getsockname()[1]}"
    done = train(*ONLINE, WANDB_BASE_URL=nowhere, WANDB_API_KEY="a" * 40)
    assert_logged_offline(done, tmp_path / RUN, read_wandb, "did not respond in time")


@pytest.mark.slow
def test_for_a_server_that_is_silent_several_seeds_wait_once(train_online, wandb_server, tmp_path, read_wandb) -> None:
    wandb_server.silent.set()
    done = train_online("seeds=[0,1]", "stack=true")
    for seed in (0, 1):
        assert_logged_offline(
            done, tmp_path / RUN.replace("seed0", f"seed{seed}"), read_wandb, "did not respond in time"
        )


def test_a_server_that_refuses_the_key(train_online, wandb_server, tmp_path, read_wandb) -> None:
    wandb_server.refuse = 401
    assert_logged_offline(train_online("wandb.mode=online"), tmp_path / RUN, read_wandb, "invalid API key")


def test_a_server_that_answers_and_refuses_the_run(train_online, wandb_server, tmp_path, read_wandb) -> None:
    wandb_server.silent_after = "GetDefaultEntity"
    assert_logged_offline(train_online(), tmp_path / RUN, read_wandb, "resume status")


@pytest.mark.slow
def test_a_server_that_falls_silent_on_the_way(train_online, wandb_server, tmp_path, read_csv) -> None:
    wandb_server.silent_after = "UpsertBucket"
    done = train_online("wandb.artifacts=true")
    assert done.code == 0, done.err
    assert "warning: W&B does not answer: checkpoints may not be logged" in done.err
    (told,) = re.findall(
        r"warning: W&B has not taken everything in time; upload the rest by: wandb sync (\S+)", done.err
    )
    assert [*(tmp_path / told).glob("run-*.wandb")]
    assert len(read_csv(tmp_path / RUN / "metrics.csv")) == 4


# A run that dies -----------------------------------------------------------------------------------------------------


def test_a_run_that_was_killed_did_not_end_well_and_its_data_are_there(train, tmp_path, read_wandb) -> None:
    done = train("logger=wandb", before=KILL)
    assert done.code == -signal.SIGKILL
    records = read_wandb(tmp_path / RUN)
    assert rows(records) == {5, 10, 15}
    assert not [record for record in records if record["type"] == "exit" and record["exit"].get("exit_code", 0) == 0]


@pytest.mark.parametrize("how", [KILL, FAIL], ids=["killed", "failed"])
def test_online_a_run_that_dies_is_never_marked_finished(how, train_online, wandb_server) -> None:
    done = train_online(before=how)
    assert done.code != 0
    assert 0 not in wandb_server.finished()
    if how is FAIL:
        assert wandb_server.finished() == [1]
        assert {row["train/step"] for row in wandb_server.lines("wandb-history.jsonl") if "train/step" in row} == {
            5,
            10,
            15,
        }


def test_settings_of_time_are_at_least_a_second(train) -> None:
    assert train("wandb.timeout=0").refusal() == "wandb.timeout must be at least 1, got 0"
    assert train("wandb.upload_timeout=0").refusal() == "wandb.upload_timeout must be at least 1, got 0"
