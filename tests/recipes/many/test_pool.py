"""Many runs at once, with a script that leaves the same files as recipes/train.py in no time."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock
from hydra.core.override_parser.overrides_parser import OverridesParser

from recipes.many import forks, pool
from recipes.many.pool import Job, run_jobs
from recipes.settings.overrides import quoted

# ten updates of `pace` seconds each, one checkpoint per update; seed 13 fails, seed 14 before it has a folder
SCRIPT = """
import json, os, pathlib, signal, sys, time
given = dict(argument.split("=", 1) for argument in sys.argv[1:])
stop = []
for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, lambda number, _: stop.append(number))
folder = pathlib.Path(given.get("resume") or given["run_dir"])
print("threads", os.environ["OMP_NUM_THREADS"], *sys.argv[1:], flush=True)
if given.get("seed") == "14": sys.exit("error: no such dataset")
folder.mkdir(parents=True, exist_ok=True)
(folder / "config.yaml").touch()
log = folder / "metrics.csv"
if not log.exists(): log.write_text("step,train/loss\\n")
begun = len(log.read_text().splitlines())
for step in range(begun, 11):
    time.sleep(float(os.environ["PACE"]))
    with open(log, "a") as file: file.write(f"{step},0.5\\n")
    if given.get("seed") == "13":
        print("error: loss is not finite\\nwarning: something was left behind", file=sys.stderr)
        sys.exit(2)
    if stop: print("saved"); sys.exit(128 + stop[0])
(folder / "evaluations.csv").write_text(f"step,eval/return,eval/d4rl_score\\n10,-3.0,{begun}.5\\n")
"""


@pytest.fixture(autouse=True, params=["forks", "fresh processes"])
def quick(tmp_path, monkeypatch, request) -> None:
    if request.param == "forks":
        if not forks.ARE_SAFE:
            pytest.skip("no safe forks here")
        monkeypatch.setattr(forks, "PRELOADED", [])
        monkeypatch.setattr(pool, "user_script", lambda: ())
    else:
        monkeypatch.setattr(forks, "ARE_SAFE", False)
    (tmp_path / "train.py").write_text(SCRIPT)
    monkeypatch.setattr(pool, "TRAIN", tmp_path / "train.py")
    monkeypatch.setattr(pool, "LOOK_EVERY", 0.01)
    monkeypatch.setenv("PACE", "0")


@pytest.fixture
def jobs(tmp_path):
    def make(*seeds: int) -> list[Job]:
        return [
            Job(f"iql/seed{seed}", tmp_path / "runs" / f"seed{seed}", ("algorithm=iql", f"seed={seed}"), 10)
            for seed in seeds
        ]

    return make


def test_every_run_has_its_folder_and_its_output_in_it(jobs, tmp_path) -> None:
    outcomes = run_jobs(jobs(0, 1, 2))
    assert outcomes.exit_code == 0
    assert {name: outcome.state for name, outcome in outcomes.jobs.items()} == dict.fromkeys(
        ("iql/seed0", "iql/seed1", "iql/seed2"), "done"
    )
    folder = tmp_path / "runs" / "seed1"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["seed0", "seed1", "seed2"]
    assert outcomes.jobs["iql/seed1"].output == folder / "output.log"
    printed = (folder / "output.log").read_text()
    assert printed == f"threads 1 num_eval_envs=1 algorithm=iql seed=1 run_dir={folder}\n"


def test_a_run_that_fails_is_reported_and_does_not_stop_the_others(jobs, tmp_path, capsys) -> None:
    outcomes = run_jobs(jobs(13, 14, 0), workers=1)
    assert outcomes.exit_code == 1
    assert [outcome.state for outcome in outcomes.jobs.values()] == ["failed", "failed", "done"]
    assert outcomes.jobs["iql/seed13"].reason == "loss is not finite"
    assert outcomes.jobs["iql/seed13"].output == tmp_path / "runs" / "seed13" / "output.log"
    assert outcomes.jobs["iql/seed14"].reason == "no such dataset"
    assert outcomes.jobs["iql/seed14"].output == tmp_path / "runs" / "seed14.log"  # it never had a folder
    line = "failed iql/seed13 in 0 s: loss is not finite (0 running, 0 done, 1 failed, 2 waiting"
    assert line in capsys.readouterr().out


def test_no_more_runs_than_workers_are_at_work(jobs) -> None:
    at_work, most = set(), []

    class Process:
        def __init__(self, job: Job) -> None:
            at_work.add(job)
            most.append(len(at_work))
            self.job, self.looks = job, 0

        def poll(self) -> int | None:
            self.looks += 1
            if self.looks < 3:
                return None
            at_work.discard(self.job)
            return 0

    assert run_jobs(jobs(*range(7)), start=Process, workers=3, show=False).exit_code == 0
    assert max(most) == 3


def interrupt(*signals: int, after: Path) -> threading.Thread:
    """Signals to this process as soon as a run has begun to write."""

    def send() -> None:
        while not (after.exists() and len(after.read_text().splitlines()) > 1):
            time.sleep(0.005)
        for number in signals:
            os.kill(os.getpid(), number)
            time.sleep(0.2)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_pool_lets_its_runs_save_and_the_same_call_goes_on(number, jobs, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PACE", "0.03")
    folder = tmp_path / "runs" / "seed0"
    sender = interrupt(number, after=folder / "metrics.csv")
    outcomes = run_jobs(jobs(0, 1), workers=1)
    sender.join()
    assert outcomes.exit_code == 128 + number
    assert [outcome.state for outcome in outcomes.jobs.values()] == ["stopped", "waiting"]
    assert (folder / "output.log").read_text().endswith("saved\n")
    steps = len((folder / "metrics.csv").read_text().splitlines()) - 1
    assert 0 < steps < 10

    assert run_jobs(jobs(0, 1)).exit_code == 0
    printed = (folder / "output.log").read_text().splitlines()
    assert printed[-1] == f"threads 1 num_eval_envs=1 resume={folder}"
    assert len((folder / "metrics.csv").read_text().splitlines()) == 11


def test_a_second_signal_stops_at_once_without_leaving_a_process(jobs, monkeypatch, tmp_path) -> None:
    processes = []
    start = pool.start_process
    monkeypatch.setenv("PACE", "0.3")
    sender = interrupt(signal.SIGINT, signal.SIGINT, after=tmp_path / "runs" / "seed0" / "metrics.csv")
    outcomes = run_jobs(jobs(0, 1), start=lambda job: processes.append(start(job)) or processes[-1], workers=2)
    sender.join()
    assert outcomes.exit_code == 130
    assert {outcome.state for outcome in outcomes.jobs.values()} == {"stopped"}
    assert all(process.poll() is not None for process in processes)


def test_only_settings_that_a_run_may_change_go_along_when_it_goes_on(tmp_path) -> None:
    given = ("algorithm=iql", "seed=1", "device=cpu", "wandb.mode=offline", "storage=memmap", "devices=x")
    job = Job("a", tmp_path / "a", given, 10)
    assert job.arguments() == ["num_eval_envs=1", *given, f"run_dir={tmp_path}/a"]
    job.folder.mkdir()
    (job.folder / "config.yaml").touch()
    free = ["device=cpu", "wandb.mode=offline", "storage=memmap"]
    assert job.arguments() == ["num_eval_envs=1", *free, f"resume={tmp_path}/a"]
    again = Job("a", tmp_path / "a", (), 10, start_over=True)
    assert again.arguments() == ["num_eval_envs=1", "overwrite=true", f"run_dir={tmp_path}/a"]


@pytest.mark.parametrize("folder", ["runs/a", "with space", "it's", "a=b,c", "[x]{y}", "back\\slash\\'", "(1)", "ü$x"])
def test_any_folder_can_be_put_on_hydras_command_line(folder) -> None:
    (parsed,) = OverridesParser.create().parse_overrides([f"run_dir={quoted(folder)}"])
    assert parsed.value() == folder


def test_a_second_part_of_the_output_follows_the_first(jobs, tmp_path) -> None:
    (job,) = jobs(0)
    job.folder.mkdir(parents=True)
    (job.folder / "config.yaml").touch()
    (job.folder / "output.log").write_text("first part\n")
    pool.beside(job).write_text("of a pool that was killed\n")
    run_jobs([job])
    lines = (job.folder / "output.log").read_text().splitlines()
    assert lines[:2] == ["first part", "of a pool that was killed"] and lines[2].startswith("threads 1")
    assert not pool.beside(job).exists()


@pytest.mark.parametrize("patience", [0.0, 60.0])
def test_a_run_that_another_process_is_at_work_on_is_waited_for_or_left_alone(
    patience, jobs, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(pool, "PATIENCE", patience)
    busy, _ = both = jobs(0, 1)
    busy.folder.mkdir(parents=True)
    (busy.folder / "config.yaml").touch()
    pool.beside(busy).write_text("of the other one\n")
    lock = FileLock(busy.folder / ".lock", thread_local=False)
    lock.acquire()
    finished = tmp_path / "runs" / "seed1" / "evaluations.csv"

    def let_go() -> None:
        while not finished.exists():
            time.sleep(0.005)
        lock.release()

    if patience:
        threading.Thread(target=let_go).start()
    outcomes = run_jobs(both, workers=1)
    assert outcomes.jobs["iql/seed1"].state == "done"  # it goes first
    if patience:
        assert outcomes.jobs["iql/seed0"].state == "done"
    else:
        assert "another process is at work in" in outcomes.jobs["iql/seed0"].reason
        assert pool.beside(busy).read_text() == "of the other one\n"


def test_a_failure_is_told_without_what_a_terminal_would_obey(jobs, tmp_path) -> None:
    (job,) = jobs(0)
    job.folder.mkdir(parents=True)
    pool.beside(job).write_text("error: \x1b[2Jgone\n")
    assert pool._outcome(job, 2, stopping=False).reason == "\\x1b[2Jgone"
    pool.beside(job).write_text("step 5 of 10\n")
    assert "nobody saw how it ended" in pool._outcome(job, forks.LOST, stopping=False).reason
