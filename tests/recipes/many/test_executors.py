"""Runs that are made elsewhere; a cluster is one of this machine, and is only there where its package is."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from agents.errors import ConfigError
from recipes.many import executors, pool
from recipes.many.executors import executor
from recipes.many.pool import Job, run_jobs
from recipes.settings.many_runs import CompareConfig

# two updates and, with seed 1, as many as there is time for until it is asked to stop; seed 13 fails
SCRIPT = """
import os, pathlib, signal, sys, time
given = dict(argument.split("=", 1) for argument in sys.argv[1:])
stop = []
for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, lambda number, _: stop.append(number))
folder = pathlib.Path(given["run_dir"])
folder.mkdir(parents=True)
(folder / "config.yaml").touch()
(folder / "metrics.csv").write_text("step,train/loss\\n1,0.5\\n2,0.5\\n")
print("threads", os.environ["OMP_NUM_THREADS"], "in", os.getcwd(), flush=True)
if given["seed"] == "13": sys.exit("error: loss is not finite")
while given["seed"] == "1" and not stop: time.sleep(0.01)
if stop: print("saved"); sys.exit(128 + stop[0])
"""


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text(SCRIPT)
    monkeypatch.setattr(pool, "TRAIN", tmp_path / "train.py")
    return lambda *seeds: [Job(f"seed{seed}", tmp_path / f"seed{seed}", (f"seed={seed}",), 2) for seed in seeds]


@pytest.fixture
def on_ray(monkeypatch):
    """A cluster of two cores on this machine."""
    pytest.importorskip("ray", reason="ray is not installed")
    monkeypatch.setattr(executors, "usable_cores", lambda: 2)
    with executor(CompareConfig(executor="ray")) as (start, workers):
        yield start, workers


@pytest.fixture
def on_slurm(monkeypatch, tmp_path):
    """Submitit with processes of this machine in the place of Slurm's queue."""
    submitit = pytest.importorskip("submitit", reason="submitit is not installed")

    class Queue(submitit.AutoExecutor):
        def __init__(self, folder, cluster) -> None:
            super().__init__(folder, cluster="local")

    monkeypatch.setattr(submitit, "AutoExecutor", Queue)
    monkeypatch.setattr(executors.shutil, "which", lambda name: name)
    with executor(CompareConfig(executor="slurm", output=str(tmp_path / "output"))) as (start, workers):
        yield start, workers


@pytest.mark.parametrize("cluster", [pytest.param("on_ray", marks=pytest.mark.slow), "on_slurm"])
def test_results_come_back_as_from_this_machine_and_a_signal_lets_runs_save(cluster, jobs, tmp_path, request) -> None:
    start, workers = request.getfixturevalue(cluster)
    outcomes = run_jobs(jobs(0, 13), start=start, workers=workers, show=False)
    assert outcomes.exit_code == 1
    assert outcomes.jobs["seed0"] == pool.Outcome("done", output=tmp_path / "seed0" / "output.log")
    assert (tmp_path / "seed0" / "output.log").read_text() == f"threads 1 in {os.getcwd()}\n"
    assert (outcomes.jobs["seed13"].state, outcomes.jobs["seed13"].reason) == ("failed", "loss is not finite")

    def interrupt() -> None:
        while not (tmp_path / "seed1.log").exists() or not (tmp_path / "seed1.log").read_text():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    outcomes = run_jobs(jobs(1), start=start, workers=workers, show=False)
    thread.join()
    assert outcomes.exit_code == 130
    assert outcomes.jobs["seed1"].state == "stopped"
    assert (tmp_path / "seed1" / "output.log").read_text().endswith("saved\n")


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_package_is_named(name, package, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with (
        pytest.raises(ConfigError, match=rf"pip install 'offline-agents\[{name}\]'"),
        executor(CompareConfig(executor=name)),
    ):
        pass


def test_without_slurm_its_executor_is_refused(monkeypatch) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed")
    monkeypatch.setenv("PATH", "")
    with (
        pytest.raises(ConfigError, match="there is no Slurm on this machine"),
        executor(CompareConfig(executor="slurm")),
    ):
        pass


def test_here_there_is_a_process_per_core_unless_told_otherwise(monkeypatch) -> None:
    monkeypatch.setattr(executors, "usable_cores", lambda: 7)
    with executor(CompareConfig()) as (start, workers):
        assert (start, workers) == (pool.start_process, 7)
    with executor(CompareConfig(workers=3)) as (_, workers):
        assert workers == 3
