"""Whether this commit is slower than another: updates of every algorithm, the start, a conversion; in turns.

    make bench BASE=HEAD~20                                    everything, a quarter of an hour on two cores
    python benchmarks/regression.py BASE --only iql start      some of it

Both versions run side by side with this environment's packages, one waiting while the other works, in rounds that begin
with each in turn; a ratio is that of two times of one round, above 1 where this version is faster. Updates are compiled
and timed by the clock, with batches of the built-in data; start and conversion are processor time of whole processes.
Of algorithms, those that both have; of those, the dataclass's settings, which presets of the recipes may not be.
Prints Markdown; what holds every row is written to results/regression.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "regression.json"
BATCH_SIZE = 256
WARM_UP = 30  # updates before the first round
DATASETS = {"continuous": "demo/pen/mixed-v1", "discrete": "demo/taxi/mixed-v1"}
TRAIN = "from recipes.__main__ import main; main()"
PROCESSES = {  # what a process of its own runs, and with which arguments
    "import agents": ("import agents; agents.load_dataset", ()),
    "help": (TRAIN, ("train", "--help")),
    "first update": (TRAIN, ("train", "algorithm=bc", "gradient_steps=1", "num_eval_episodes=1", "logger=none")),
    "conversion": (f"import agents; agents.load_dataset({DATASETS['continuous']!r})", ()),
}
GROUPS = {"start": ("import agents", "help", "first update")}

Measure = Callable[[], float]  # seconds


# In the process of a version ------------------------------------------------------------------------------------------


def serve(algorithm: str) -> None:
    """Answers each line, a number of updates, with the seconds that they took; uses the public interface alone."""
    import agents

    info = agents.ALGORITHMS[algorithm]
    dataset = agents.load_dataset(DATASETS[info.actions], progress=False)
    agent = info().build(dataset.specs)
    buffer = dataset.replay_buffer(max(BATCH_SIZE // (agent.sampling.context_length or 1), 1), **agent.sampling)
    agent.compile(buffer.sample(), "inductor")
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            agent.update(buffer.sample())
        print(time.perf_counter() - start, flush=True)


# In this one ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """The files of a commit, in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        yield Path(folder)


def variables(tree: Path) -> dict[str, str]:
    """A version is found before the one that is installed."""
    return {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": ""}


@contextlib.contextmanager
def updates(algorithm: str, tree: Path, seconds: float) -> Iterator[Measure]:
    """Seconds of an update of a version, in a process that stays."""
    command = [sys.executable, __file__, "--serve", algorithm]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tree, env=variables(tree), **pipes) as process:

        def run(number: int) -> float:
            print(number, file=process.stdin, flush=True)
            if not (answer := process.stdout.readline()):
                raise ChildProcessError(f"{algorithm} does not run at {tree}")
            return float(answer) / number

        run(WARM_UP)
        number = max(round(seconds / run(WARM_UP)), 1)
        yield lambda: run(number)
        process.stdin.close()


@contextlib.contextmanager
def whole_process(name: str, tree: Path, _: float) -> Iterator[Measure]:
    """Processor seconds of a version's process from its start to its end, caches of the compiler warm."""
    code, arguments = PROCESSES[name]

    def run() -> float:
        with tempfile.TemporaryDirectory() as folder:
            place = [f"run_dir={folder}/run"] if name == "first update" else []
            cold = {"XDG_CACHE_HOME": folder} if name == "conversion" else {}
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            command = [sys.executable, "-c", code, *arguments, *place]
            subprocess.run(command, cwd=tree, env=variables(tree) | cold, check=True, stdout=subprocess.DEVNULL)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    run()
    yield run


def algorithms(tree: Path) -> list[str]:
    command = [sys.executable, "-c", "import agents; print(*agents.ALGORITHMS)"]
    return subprocess.check_output(command, cwd=tree, env=variables(tree), text=True).split()


def compare(name: str, trees: Sequence[Path], *, rounds: int, seconds: float) -> dict[str, Any]:
    """Times of both versions, round by round, and the ratios."""
    contestant = whole_process if name in PROCESSES else updates
    times: tuple[list[float], list[float]] = ([], [])
    with contextlib.ExitStack() as stack:
        measures = [stack.enter_context(contestant(name, tree, seconds)) for tree in trees]
        for index in range(rounds):
            for which in (0, 1) if index % 2 == 0 else (1, 0):
                times[which].append(measures[which]())
    ratios = sorted(base / ours for base, ours in zip(*times))
    low, high = interval(ratios)
    medians = [1e3 * statistics.median(each) for each in times]
    return {"base_ms": medians[0], "ms": medians[1], "ratio": statistics.median(ratios), "low": low, "high": high}


def interval(ordered: Sequence[float]) -> tuple[float, float]:
    """Of the median, by order statistics: second to second last, 98 % for ten; of fewer than six, all."""
    cut = 1 if len(ordered) >= 6 else 0
    return ordered[cut], ordered[-1 - cut]


def git(*arguments: str) -> str:
    return subprocess.check_output(["git", *arguments], cwd=ROOT, text=True).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", nargs="?", help="commit to compare with")
    parser.add_argument("--only", nargs="+", default=[], help="algorithms, start, conversion")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1.0, help="of updates in each round")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(arguments.serve)
    from agents import ALGORITHMS

    names = [name for given in arguments.only for name in GROUPS.get(given, (given,))]
    known = [*PROCESSES, *ALGORITHMS]
    if arguments.base is None or any(name not in known for name in names):
        parser.error(f"name the commit to compare with, and of --only: {', '.join([*GROUPS, *known])}")
    base, ours = git("rev-parse", "--short", arguments.base), git("describe", "--always", "--dirty")
    rows = {}
    print(f"| of {ours} against {base} | before, ms | now, ms | times as fast |\n|---|---|---|---|", flush=True)
    with worktree(arguments.base) as tree:
        both = {*PROCESSES, *algorithms(tree)}
        for name in names or (name for name in known if name in both):
            row = rows[name] = compare(name, (tree, ROOT), rounds=arguments.rounds, seconds=arguments.seconds)
            ratio = f"{row['ratio']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
            print(f"| {name} | {row['base_ms']:.2f} | {row['ms']:.2f} | {ratio} |", flush=True)
    if not arguments.only:
        RESULTS.write_text(json.dumps({"base": base, "commit": ours, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
