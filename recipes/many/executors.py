"""Executors of a comparison's runs: processes of this machine, a Ray cluster, or Slurm's queue.

Elsewhere too, a run is a process of ``recipes/train.py`` with one thread that writes into its own folder. The
project's and the runs' folders therefore have to be on a file system that all machines share, under the same path.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agents.cores import usable_cores
from agents.errors import ConfigError, optional_package
from recipes.many.pool import ONE_THREAD, Job, Process, begin_output, beside, start_process
from recipes.settings.many_runs import CompareConfig, SlurmConfig, SweepConfig

Start = Callable[[Job], Process]


@contextlib.contextmanager
def executor(config: CompareConfig | SweepConfig) -> Iterator[tuple[Start, int]]:
    """The function that starts a run, and the number of runs at the same time."""
    if config.executor == "local":
        yield start_process, config.workers or usable_cores()
    elif config.executor == "ray":
        with _ray_cluster(config.address) as (start, num_cpus):
            yield start, config.workers or num_cpus
    else:
        assert config.output is not None  # a sweep has filled it in
        yield _slurm_queue(config.slurm, Path(config.output) / "slurm"), config.workers or sys.maxsize


@dataclass(frozen=True)
class RemoteProcess:
    """A job on a cluster, by what the cluster's package can be asked about it."""

    job: Job
    is_done: Callable[[], bool]
    result: Callable[[], int]
    cancel: Callable[[], None]

    def poll(self) -> int | None:
        if not self.is_done():
            return None
        try:
            return self.result()
        except Exception as error:  # what the job raised, of any type, goes to where its output is
            lines = [line for line in str(error).splitlines() if line.strip()] or [""]
            with open(beside(self.job), "a") as output:
                output.write(f"{type(error).__name__}: {lines[-1]}\n")
            return 1

    def send_signal(self, number: int, /) -> None:
        self.cancel()  # whatever the number


@contextlib.contextmanager
def _ray_cluster(address: str | None) -> Iterator[tuple[Start, int]]:
    with optional_package("ray", "executor=ray"):
        import ray
        from ray.exceptions import TaskCancelledError
    try:
        # without an address, processes of this machine: as many tasks at once as it has cores
        ray.init(address or "local", num_cpus=None if address else usable_cores(), log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        way_out = "leave it out for one of this machine"
        raise ConfigError(f"no Ray cluster at address={address}: {error}; {way_out}") from error
    work = ray.remote(num_cpus=1, max_retries=0)(_portable_work())

    def result(task: Any) -> int:
        try:
            return ray.get(task)
        except TaskCancelledError:
            return 1

    def start(job: Job) -> RemoteProcess:
        task = work.remote(*_command(job))
        cancel = partial(ray.cancel, task, force=False)  # raises KeyboardInterrupt there
        return RemoteProcess(job, lambda: bool(ray.wait([task], timeout=0)[0]), partial(result, task), cancel)

    try:
        yield start, max(int(ray.cluster_resources().get("CPU", 1)), 1)
    finally:
        ray.shutdown()


def _slurm_queue(settings: SlurmConfig, logs: Path) -> Start:
    with optional_package("slurm", "executor=slurm"):
        import submitit
    if shutil.which("sbatch") is None:
        raise ConfigError("executor=slurm, but there is no Slurm on this machine; use executor=local")
    queue = submitit.AutoExecutor(folder=logs, cluster="slurm")
    queue.update_parameters(timeout_min=settings.minutes, mem_gb=settings.memory_gb, cpus_per_task=1, name="train")
    if settings.partition:
        queue.update_parameters(slurm_partition=settings.partition)
    work = _portable_work()

    def start(job: Job) -> RemoteProcess:
        task = queue.submit(work, *_command(job))
        return RemoteProcess(job, task.done, task.result, partial(task.cancel, check=False))

    return start


def _command(job: Job) -> tuple[list[str], str, str, dict[str, str]]:
    """The arguments of :func:`_portable_work`'s function."""
    return job.command(), str(begin_output(job).resolve()), os.getcwd(), ONE_THREAD


def _portable_work() -> Callable[[list[str], str, str, dict[str, str]], int]:
    """A function that runs a command elsewhere and passes on the signal that stops it.

    It takes the command, the file to print to, a folder and an environment. Defined in here, it travels by value: what
    unpickles it needs neither this file nor the project.
    """

    def work(command: list[str], output: str, folder: str, environment: dict[str, str]) -> int:
        import os
        import signal
        import subprocess

        previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with open(output, "a") as file:
                environment = {**os.environ, **environment, "OFFLINE_AGENTS_PARENT": str(os.getpid())}
                options = {"cwd": folder, "env": environment, "start_new_session": True}
                process = subprocess.Popen(command, stdout=file, stderr=file, **options)
            while True:
                try:
                    return process.wait(timeout=0.2)  # in short turns: a signal waits for the end of a turn
                except subprocess.TimeoutExpired:
                    continue
                except KeyboardInterrupt:
                    process.terminate()  # not SIGINT: Ray's workers block it, and so do their children
        finally:
            signal.signal(signal.SIGTERM, previous)

    return work
