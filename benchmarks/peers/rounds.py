"""Contestants in turns: processes that stay, one of which works while the others wait, and tables of their ratios."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = HERE.parent / "results"
NUM_ROWS, NUM_OBSERVATIONS, NUM_ACTIONS = 100_000, 45, 24
WARM_UP = 2  # rounds that do not count

Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Contestant:
    """Who updates: a module of this folder, in whose environment, with which settings."""

    label: str
    module: str
    environment: str | None = None  # below the folder of peers; None: this one
    settings: tuple[str, ...] = ()
    number: int = 200  # of updates in a round


class Process:
    """A contestant's process: each line that it is sent asks for a round, which it answers with two times."""

    def __init__(self, contestant: Contestant, peers: Path, data: Path, threads: int) -> None:
        self.label, self._number = contestant.label, contestant.number
        python = peers / contestant.environment / "bin" / "python" if contestant.environment else Path(sys.executable)
        source = ROOT if contestant.module == "ours" else peers / contestant.module
        arguments = (contestant.module, source, data, threads, self._number, *contestant.settings)
        free = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        self._process = subprocess.Popen(
            [python, HERE / "contestant.py", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**free, "TF_CPP_MIN_LOG_LEVEL": "2", "TQDM_DISABLE": "1"},
        )

    def round(self) -> tuple[float, float]:
        """Seconds of the clock and of the processor, per update."""
        print(file=self._process.stdin, flush=True)
        if not (answer := self._process.stdout.readline()):
            raise ChildProcessError(f"{self.label} does not run; its error stands above")
        wall, processor = map(float, answer.split())
        return wall / self._number, processor / self._number

    def end(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def write_transitions(path: Path) -> None:
    """Random ones: what they hold changes no timing."""
    generator = np.random.default_rng(0)
    widths = {"observation": NUM_OBSERVATIONS, "action": NUM_ACTIONS, "next_observation": NUM_OBSERVATIONS}
    columns = {name: generator.standard_normal((NUM_ROWS, width), np.float32) for name, width in widths.items()}
    columns["action"] = np.tanh(columns["action"])
    columns["reward"] = generator.standard_normal(NUM_ROWS, np.float32)
    np.savez(path, **columns, terminated=generator.random(NUM_ROWS) < 0.01)


@contextlib.contextmanager
def busy(number: int) -> Iterator[None]:
    """Other people's processes, one core's worth of work each."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def start(contestants: Mapping[str, Contestant], peers: Path, *, threads: int) -> Iterator[dict[str, Process]]:
    """The contestants' processes, each of which has made its first rounds."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        data = Path(folder, "transitions.npz")
        write_transitions(data)
        processes = {}
        for name, contestant in contestants.items():
            process = processes[name] = Process(contestant, peers, data, threads)
            stack.callback(process.end)
            for _ in range(WARM_UP):
                process.round()
        yield processes


def measure(processes: Mapping[str, Process], reference: str, *, rounds: int) -> Rows:
    """Of each contestant, its times and how many times as fast as the reference it was in the same round."""
    names = list(processes)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            times[name].append(processes[name].round())
    return {name: {"label": processes[name].label, **row(times[name], times[reference])} for name in names}


def row(times: Sequence[tuple[float, float]], reference: Sequence[tuple[float, float]]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for kind, own, others in zip(("wall", "processor"), zip(*times), zip(*reference)):
        ratios = [other / time for time, other in zip(own, others)]
        summary[f"{kind}_ms"] = 1e3 * statistics.median(own)
        summary[f"{kind}_ratio"] = [statistics.median(ratios), min(ratios), max(ratios)]
    return summary


def show(title: str, reference: str, rows: Rows) -> None:
    print(f"\n| {title} | ms | x {reference} | processor ms | x |\n|---|---|---|---|---|")
    for each in rows.values():
        cells = (f"{each[f'{kind}_ms']:.2f} | {ratio(each[f'{kind}_ratio'])}" for kind in ("wall", "processor"))
        print(f"| {each['label']} | {' | '.join(cells)} |", flush=True)


def ratio(values: Sequence[float]) -> str:
    return "{:.2f} ({:.2f}-{:.2f})".format(*values)


def differences(committed: Rows, rows: Rows) -> list[str]:
    """Rows whose median ratio lies outside what the committed rounds showed, by the clock of a quiet machine."""
    found = []
    for name in [name for name in rows if name in committed]:  # others came later
        each = rows[name]
        median, (_, low, high) = each["wall_ratio"][0], committed[name]["wall_ratio"]
        if not low <= median <= high:
            found.append(f"{each['label']}: {median:.2f}; committed: {low:.2f} to {high:.2f}")
    return found
