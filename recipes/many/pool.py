"""Several runs of ``recipes/train.py`` at the same time: a pool of single-threaded processes, one per core.

Two cores that train two agents, a thread each, do more updates per second than the same two cores on one agent: the
products in these networks are too small to share. A process has its own memory and generators, so a run in the pool is
the run that it would be alone with one thread.

The processes are those of the standard library's ``multiprocessing``, forked, where that is safe, from one that has
imported all they need. The pool is ours: ``concurrent.futures`` passes no signal on that has its processes save and
stop, keeps no file of what each of them printed, and breaks when one of them is killed; submitit's executor of this
machine starts all jobs at once.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agents.cores import usable_cores
from agents.errors import printable
from recipes.many import forks
from recipes.many.progress import Board
from recipes.runs.folder import RunFolder
from recipes.runs.lifecycle import AT_WORK, at_work
from recipes.runs.resume import FREE_ON_RESUME
from recipes.settings.command_line import user_script
from recipes.settings.interrupt import PARENT, Interrupt
from recipes.settings.overrides import quoted

TRAIN = Path(__file__).parents[1] / "train.py"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
OUTPUT = "output.log"  # in the run's folder: what it printed
LOOK_EVERY = 0.2  # seconds between two looks at the processes
PATIENCE = 30.0  # seconds for the runs of a pool that was killed to save and stop
ERROR = re.compile(r"error: |[\w.]*(Error|Exception|Interrupt)(: |$)")  # how a line that names one begins


@dataclass(frozen=True)
class Job:
    """One run to be made, or gone on with."""

    name: str  # in the table; no two jobs share one
    folder: Path  # of the run alone
    overrides: tuple[str, ...]  # settings of the training as typed, without run_dir, resume and overwrite
    gradient_steps: int  # updates in all, to tell how far it is
    start_over: bool = False  # overwrite what was begun rather than go on with it
    script: tuple[str, ...] = ()  # arguments of Python that start another script, which knows more algorithms

    def arguments(self) -> list[str]:
        """Settings as typed: a run that was begun goes on, with those of its settings that may change then."""
        if self.start_over or not RunFolder(self.folder).config_file.exists():
            overwrite = ["overwrite=true"] if self.start_over else []
            return ["num_eval_envs=1", *self.overrides, *overwrite, f"run_dir={quoted(self.folder)}"]
        may = (*FREE_ON_RESUME, "eval_env")  # the latter is the same, and has to be typed where it imports a module
        free = [override for override in self.overrides if re.split(r"[.=]", override)[0] in may]
        return ["num_eval_envs=1", *free, f"resume={quoted(self.folder)}"]

    def command(self) -> list[str]:
        """Starts the recipe by its file: ``-m`` would have imports look into the user's folder first."""
        return [sys.executable, *(self.script or (str(TRAIN),)), *self.arguments()]


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    state: str  # done, failed, stopped by a signal to the pool (it can be gone on with) or waiting (not even started)
    reason: str = ""  # of a failure, in one line
    output: Path | None = None  # the file with all that it printed


@dataclass(frozen=True)
class Outcomes:
    """How all jobs ended, by name, and the exit code that says so: 0, 1 (some failed) or 128 + the signal."""

    jobs: Mapping[str, Outcome]
    exit_code: int


class Process(Protocol):
    """A job that is being done, here or elsewhere; a signal asks it to save and stop."""

    def poll(self) -> int | None: ...  # its exit code; None while it runs
    def send_signal(self, number: int, /) -> None: ...


def start_process(job: Job) -> Process:
    """``recipes/train.py`` with one thread, in a session of its own: a terminal's Ctrl-C reaches the pool alone."""
    environment = {**os.environ, **ONE_THREAD}
    if forks.ARE_SAFE and not job.script and not user_script():  # which multiprocessing would run once more
        return forks.Fork([str(TRAIN), *job.arguments()], begin_output(job), environment)
    environment[PARENT] = str(os.getpid())
    with open(begin_output(job), "a") as out:
        return subprocess.Popen(
            job.command(), env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )


def run_jobs(
    jobs: Sequence[Job],
    *,
    start: Callable[[Job], Process] = start_process,
    workers: int | None = None,
    show: bool = True,
) -> Outcomes:
    """Do all jobs, and show how far they are; one that fails does not stop the others.

    The first Ctrl-C or SIGTERM is passed on: every run finishes its update and saves. A second one stops them at once.

    Args:
        workers: jobs at the same time; None: one per core.
        show: print a table that is kept up to date; a line per event where the output is no terminal.
    """
    workers = workers or usable_cores()
    waiting, running, outcomes = [*jobs], dict[Job, Process](), dict[str, Outcome]()
    stopping, patient_until = False, time.monotonic() + PATIENCE
    with Interrupt() as interrupt, Board({job.name: (job.folder, job.gradient_steps) for job in jobs}, show) as board:
        try:
            while running or (waiting and not interrupt.signal):
                while len(running) < workers and not interrupt.signal and (job := _next(waiting, patient_until)):
                    waiting.remove(job)
                    if at_work(RunFolder(job.folder)):  # whose output stays where it is
                        outcomes[job.name] = outcome = Outcome("failed", AT_WORK.format(job.folder), beside(job))
                        board.ended(job.name, outcome.state, outcome.reason)
                        continue
                    board.started(job.name, anew=job.start_over)
                    running[job] = start(job)
                time.sleep(LOOK_EVERY)
                if interrupt.signal and not stopping:
                    stopping = True
                    for process in running.values():
                        process.send_signal(interrupt.signal)
                ended = {job: code for job, process in running.items() if (code := process.poll()) is not None}
                for job, code in ended.items():
                    del running[job]
                    outcomes[job.name] = outcome = _outcome(job, code, stopping=stopping)
                    board.ended(job.name, outcome.state, outcome.reason)
                board.draw()
        except KeyboardInterrupt:
            for process in running.values():
                process.send_signal(signal.SIGINT)
            while any(process.poll() is None for process in running.values()):
                time.sleep(LOOK_EVERY)
    outcomes |= {job.name: Outcome("stopped", output=beside(job)) for job in running}
    outcomes |= {job.name: Outcome("waiting") for job in waiting}
    failed = any(outcome.state == "failed" for outcome in outcomes.values())
    return Outcomes(outcomes, interrupt.exit_code if interrupt.signal else int(failed))


def _next(waiting: Sequence[Job], patient_until: float) -> Job | None:
    """The first job in whose folder no process is at work; if there is none any more after a while, the first one."""
    free = (job for job in waiting if not at_work(RunFolder(job.folder)))
    late = waiting[:1] if time.monotonic() > patient_until else []
    return next(itertools.chain(free, late), None)


def begin_output(job: Job) -> Path:
    """An empty file for what a job prints."""
    keep_output(job)  # of a pool that was killed
    beside(job).parent.mkdir(parents=True, exist_ok=True)
    beside(job).write_text("")
    return beside(job)


def beside(job: Job) -> Path:
    """Where a job's output goes while it runs: its folder is not there yet, or may be overwritten."""
    return job.folder.with_name(f"{job.folder.name}.log")


def keep_output(job: Job) -> Path:
    """Move the output of a job that has ended into its folder, after that of its earlier parts; returns its place."""
    if beside(job).exists():
        if not RunFolder(job.folder).config_file.exists():
            return beside(job)
        with open(job.folder / OUTPUT, "ab") as output:
            output.write(beside(job).read_bytes())
        beside(job).unlink()
    return job.folder / OUTPUT


def _outcome(job: Job, code: int, *, stopping: bool) -> Outcome:
    output = keep_output(job)
    if code == 0:
        return Outcome("done", output=output)
    if stopping:
        return Outcome("stopped", output=output)
    if code < 0:
        return Outcome("failed", f"killed by signal {-code}", output)
    text = output.read_text(errors="replace") if output.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [f"exit code {code}"]
    if code == forks.LOST:
        lines.append("nobody saw how it ended: what it was forked from was killed; the same command goes on")
    errors = [line for line in lines if ERROR.match(line)] or lines  # warnings may follow the error
    return Outcome("failed", printable(errors[-1].removeprefix("error: ")), output)
