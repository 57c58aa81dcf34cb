"""IQL's update by the code of others and by ours, in turns, on one machine.

    python benchmarks/peers/iql.py peers            every table: a quarter of an hour on two quiet cores
    python benchmarks/peers/iql.py peers --check    the tables once more, in fewer rounds, held to the committed ones

``peers`` is a folder with a checkout of each peer and an environment of its own, made anywhere by:

    git clone https://github.com/corl-team/CORL peers/corl
    git clone https://github.com/nissymori/JAX-CORL peers/jax_corl
    git clone https://github.com/EmptyJackson/unifloral peers/unifloral
    git clone https://github.com/ikostrikov/implicit_q_learning peers/official
    python -m venv peers/jax
    peers/jax/bin/pip install jax==0.5.3 jaxlib==0.5.3 flax==0.10.6 optax==0.2.4 distrax==0.1.5 \\
        tensorflow-probability==0.25.0 omegaconf pydantic tqdm
    python -m venv peers/jax_old
    peers/jax_old/bin/pip install jax==0.4.13 jaxlib==0.4.13 flax==0.7.0 optax==0.1.5 chex==0.1.82 \\
        orbax-checkpoint==0.2.7 tensorflow-probability==0.20.1 'numpy<2' 'scipy<1.13' tqdm

CORL runs with this environment's torch; the official code needs a JAX of its time. Their code is imported as it is,
with stand-ins for what an update does not use (d4rl, gym, wandb). Each is a process that stays, bound to as many cores
as it has threads, and waits while another one works. All learn from 100,000 random transitions of the pen's shapes, in
batches of 256, with two layers of 256; sampling is part of an update. Prints Markdown; all of it is written to
results/peers_iql.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = HERE.parent / "results" / "peers_iql.json"
NUM_ROWS, NUM_OBSERVATIONS, NUM_ACTIONS = 100_000, 45, 24
UPDATES = 200  # in a round; JAX-CORL makes eight at a time, unifloral all of them
WARM_UP = 2  # rounds that do not count
REFERENCE = "jax_corl"
TABLES = ((2, 0), (1, 0), (2, 2), (2, 6))  # threads, busy processes beside them
BESIDE_BUSY = ("jax_corl", "ours", "ours_no_dropout")


@dataclass(frozen=True)
class Contestant:
    """Who updates: a module of this folder, in whose environment, with which settings."""

    label: str
    module: str
    environment: str | None = None  # below the folder of peers; None: this one
    settings: tuple[str, ...] = ()


CONTESTANTS = {
    "corl": Contestant("CORL", "corl"),
    "corl_medium": Contestant("CORL, `medium` products", "corl", settings=("medium",)),
    "official": Contestant("official (JAX)", "official", "jax_old"),
    "jax_corl": Contestant("JAX-CORL", "jax_corl", "jax"),
    "unifloral": Contestant("unifloral (JAX)", "unifloral", "jax"),
    "ours": Contestant("ours", "ours"),
    "ours_no_dropout": Contestant("ours, without dropout", "ours", settings=("without dropout",)),
    "ours_bfloat16": Contestant("ours, bfloat16", "ours", settings=("bfloat16",)),
}


class Process:
    """A contestant's process: each line that it is sent asks for a round, which it answers with two times."""

    def __init__(self, contestant: Contestant, peers: Path, data: Path, threads: int) -> None:
        self._label = contestant.label
        python = peers / contestant.environment / "bin" / "python" if contestant.environment else Path(sys.executable)
        source = ROOT if contestant.module == "ours" else peers / contestant.module
        arguments = (contestant.module, source, data, threads, UPDATES, *contestant.settings)
        self._process = subprocess.Popen(
            [python, HERE / "contestant.py", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "TF_CPP_MIN_LOG_LEVEL": "2"},
        )

    def round(self) -> tuple[float, float]:
        """Seconds of the clock and of the processor, per update."""
        print(file=self._process.stdin, flush=True)
        if not (answer := self._process.stdout.readline()):
            raise ChildProcessError(f"{self._label} does not run; its error stands above")
        wall, processor = map(float, answer.split())
        return wall / UPDATES, processor / UPDATES

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


def measure(names: Sequence[str], peers: Path, *, threads: int, others: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Of each contestant, its times and how many times as fast as the reference it was in the same round."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        data = Path(folder, "transitions.npz")
        write_transitions(data)
        processes = {name: Process(CONTESTANTS[name], peers, data, threads) for name in names}
        for process in processes.values():
            stack.callback(process.end)
        for process in processes.values():
            for _ in range(WARM_UP):
                process.round()
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        with busy(others):
            for number in range(rounds):
                first = number % len(names)
                for name in (*names[first:], *names[:first]):
                    times[name].append(processes[name].round())
    return {name: row(times[name], times[REFERENCE]) for name in names}


def row(times: Sequence[tuple[float, float]], reference: Sequence[tuple[float, float]]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for kind, own, others in zip(("wall", "processor"), zip(*times), zip(*reference)):
        ratios = [other / time for time, other in zip(own, others)]
        summary[f"{kind}_ms"] = 1e3 * statistics.median(own)
        summary[f"{kind}_ratio"] = [statistics.median(ratios), min(ratios), max(ratios)]
    return summary


def show(title: str, rows: dict[str, dict[str, Any]]) -> None:
    print(f"\n| {title} | ms | x {CONTESTANTS[REFERENCE].label} | processor ms | x |\n|---|---|---|---|---|")
    for name, each in rows.items():
        cells = (f"{each[f'{kind}_ms']:.2f} | {ratio(each[f'{kind}_ratio'])}" for kind in ("wall", "processor"))
        print(f"| {CONTESTANTS[name].label} | {' | '.join(cells)} |", flush=True)


def ratio(values: Sequence[float]) -> str:
    return "{:.2f} ({:.2f}-{:.2f})".format(*values)


def differences(committed: dict[str, Any], rows: dict[str, dict[str, Any]]) -> list[str]:
    """Rows whose median ratio lies outside what the committed rounds showed, by the clock of a quiet machine."""
    found = []
    for name, each in rows.items():
        median, (_, low, high) = each["wall_ratio"][0], committed[name]["wall_ratio"]
        if not low <= median <= high:
            found.append(f"{CONTESTANTS[name].label}: {median:.2f}; committed: {low:.2f} to {high:.2f}")
    return found


def versions(peers: Path) -> dict[str, str]:
    """The commits of ours and of the peers."""
    folders = {
        "ours": ROOT,
        **{each.module: peers / each.module for each in CONTESTANTS.values() if each.module != "ours"},
    }
    command = ("git", "rev-parse", "HEAD")
    return {name: subprocess.check_output(command, cwd=folder, text=True).strip() for name, folder in folders.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", type=Path, help="folder of checkouts and environments")
    parser.add_argument("--only", nargs="+", default=list(CONTESTANTS), choices=CONTESTANTS, metavar="NAME")
    parser.add_argument("--rounds", type=int, help="10, or 5 with --check")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    names = list(dict.fromkeys((*arguments.only, REFERENCE)))
    committed = json.loads(RESULTS.read_text())["tables"] if arguments.check else {}
    tables, found = {}, []
    for threads, others in TABLES:
        title = f"{threads} threads, {others} busy processes"
        rounds = arguments.rounds or (5 if arguments.check else 10)
        present = [name for name in names if name in BESIDE_BUSY] if others else names
        rows = tables[title] = measure(present, arguments.peers, threads=threads, others=others, rounds=rounds)
        show(title, rows)
        if arguments.check and others == 0:  # beside busy processes chance has a wider part
            found += differences(committed[title], rows)
    if arguments.check:
        sys.exit("\n".join(found) or None)
    if set(names) == set(CONTESTANTS):
        RESULTS.write_text(json.dumps({"commits": versions(arguments.peers), "tables": tables}, indent=1) + "\n")


if __name__ == "__main__":
    main()
