"""Online after offline: scores before and after, on the Adroit tasks; one row once more; and runs that are killed.

    python benchmarks/online.py             train what is not there yet, below runs/online; the table into results/
    python benchmarks/online.py rlpd/       the same of the rows alone whose names begin so
    python benchmarks/online.py --check     train one row of the committed table again, and compare to the last digit
    python benchmarks/online.py --kills 50  kill a small run so often, at random moments, and find the same bytes

The first can be stopped and called again; it takes some days on two cores. A check takes a quarter of an hour. What is
killed is forked from a process that has imported all, which Linux allows: imports would be most of its time.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recipes.reporting.results import t_quantile

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "online.json"
RUNS = ROOT / "runs" / "online"
EPISODES = 50
ALIKE = (f"num_eval_episodes={EPISODES}", "compile=inductor", "logger=none", "device=cpu")


@dataclass(frozen=True)
class Row:
    """A method on a dataset, one seed."""

    dataset: str
    offline: str  # algorithm until the switch
    online: str  # and after it
    seed: int
    online_steps: int

    @property
    def name(self) -> str:
        return f"{self.online}/{self.dataset}/{self.online_steps}/seed{self.seed}"


TASKS = ("demo/pen/mixed-v1", "demo/hammer/mixed-v1", "demo/door/mixed-v1", "D4RL/door/human-v2")
LONG = [Row(d, a, a, seed, 100_000) for d in TASKS for a in ("iql_official", "rebrac") for seed in range(3)]
PAIRS = (("sac", "rlpd"), ("cal_ql", "cal_ql"), ("cal_ql", "wsrl"))
SHORT = [Row(TASKS[0], before, after, seed, 20_000) for before, after in PAIRS for seed in range(3)]
CHECKED = Row(TASKS[0], "iql_official", "iql_official", 0, 5_000)  # the cheapest


def train(row: Row, runs: Path) -> dict[str, Any]:
    """Make both phases, or what is left of them; the row of the table."""
    before, after = runs / "offline" / row.offline / row.dataset / f"seed{row.seed}", runs / row.name
    settings = (f"algorithm={row.offline}", f"dataset={row.dataset}", f"seed={row.seed}", "matmul_precision=highest")
    _go_on("train", before, f"run_dir={before}", *settings, *ALIKE)
    further = (f"checkpoint={before}", f"run_dir={after}", f"online_steps={row.online_steps}", "eval_every=5000")
    method = () if row.online == row.offline else (f"method={row.online}",)
    _go_on("finetune", after, *further, *method, *ALIKE)
    evaluations = from_the_switch(_read(after / "evaluations.csv"))
    info = json.loads((after / "run.json").read_text())
    scores = [float(each["eval/d4rl_score"]) for each in evaluations]
    outcome = {name.removeprefix("online/"): value for name, value in info["online"].items()}
    cost = {name: info["cost"][name] for name in ("updates_per_second", "minutes")}
    return {
        **asdict(row),
        "scores": scores,
        **outcome,
        **cost,
        "versions": info["versions"],
        "gains": gains(after),
    }


def from_the_switch(evaluations: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The offline policy's last evaluation, and all online."""
    phases = [float(each["phase"]) for each in evaluations]
    return [*evaluations[phases.count(0.0) - 1 :]]


def gains(run: Path) -> list[float]:
    """Score of the last policy less that of the offline one, episode by episode, from the same initial states."""
    import agents
    from recipes.evaluate import evaluation_env, read_checkpoint
    from recipes.settings.schema import EvaluateConfig

    scores = []
    for name in ("offline", "last"):
        checkpoint = read_checkpoint(str(run / "checkpoints" / f"{name}.safetensors"))
        with evaluation_env(EvaluateConfig(checkpoint=str(checkpoint.path)), checkpoint) as env:
            scores.append(agents.evaluate(checkpoint.build_agent().policy, env, EPISODES).scores["d4rl"])
    return (scores[1] - scores[0]).tolist()


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each method, dataset and length: mean scores, and the lower bound of the paired gain."""
    lines = []
    for kind in dict.fromkeys((row["dataset"], row["online"], row["online_steps"]) for row in rows):
        own = [row for row in rows if (row["dataset"], row["online"], row["online_steps"]) == kind]
        gain = _of_seeds([row["gains"] for row in own])
        bound = gain.mean() - t_quantile(len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain))
        first, worst, last = (
            np.mean([f(row["scores"]) for row in own]) for f in (lambda s: s[0], min, lambda s: s[-1])
        )
        regret = np.mean([row["regret"] for row in own])
        what = f"{kind[0]} | {kind[1]} | {kind[2]:,} | {len(own)}"
        numbers = f"{first:.1f} | {worst:.1f} | {last:.1f} | {gain.mean():.1f} (>= {bound:.1f}) | {regret:.2f}"
        lines.append(f"| {what} | {numbers} |")
    header = "| data | method | steps | seeds | before | worst | after | paired gain, 95 % | regret |"
    return "\n".join([header, "|---|---|---|---|---|---|---|---|---|", *lines])


def _of_seeds(gains: Sequence[Sequence[float]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The mean gain of each seed: episodes of one policy are no evidence of another. Of a single seed, its episodes."""
    return np.array(gains[0]) if len(gains) == 1 else np.array([np.mean(own) for own in gains])


def check() -> None:
    """Train the row ``CHECKED`` again, and exit with 1 if its scores are others."""
    committed = next(row["scores"] for row in read_rows() if is_of(CHECKED, row))
    with tempfile.TemporaryDirectory() as folder:
        scores = train(CHECKED, Path(folder))["scores"]
    print(f"{CHECKED.name}: {scores}\ncommitted: {committed}")
    if scores != committed:
        sys.exit("other scores: equal ones need the committed versions and a processor that sums as the committed one")


def read_rows() -> list[dict[str, Any]]:
    return json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []


def is_of(row: Row, result: Mapping[str, Any]) -> bool:
    return asdict(row).items() <= result.items()


def train_all(names: Sequence[str]) -> None:
    """Make the rows whose names begin so, all where there is none, and write each into the table."""
    wanted = [row for row in (CHECKED, *SHORT, *LONG) if row.name.startswith(tuple(names or [""]))]
    for row in wanted:
        rows = [*(each for each in read_rows() if not is_of(row, each)), train(row, RUNS)]
        RESULTS.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    print(summary(read_rows()))


def kill(number: int) -> None:
    """Kill a small run so often, at random moments, let it end, and compare it with one that nobody killed."""
    quick = ("dataset=demo/pointmaze/umaze-v1", "batch_size=32", "logger=none", "compile=off", "num_eval_episodes=1")
    small = [f"algorithm.{network}.hidden_sizes=[16]" for network in ("actor", "qvalue", "value")]
    more = ("online_steps=6000", "eval_every=1000", "checkpoint_every=100", "num_envs=2", "compile=off", "logger=none")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _call("train", *quick, *small, "gradient_steps=200", "eval_every=200", f"run_dir={folder / 'offline'}")
        begin = ["finetune", f"checkpoint={folder / 'offline'}", *more]
        _call(*begin, f"run_dir={folder / 'whole'}")
        kills = rounds = 0
        while kills < number:
            run = folder / f"killed{rounds}"
            rounds += 1
            command = [*begin, f"run_dir={run}"]
            while (code := _killed(command, run)) != 0:
                if code > 0:
                    sys.exit(f"the run ended with code {code} after {kills} kills")
                kills += 1
                print(f"kill {kills}", flush=True)
                if (run / "run.json").exists():
                    command = ["finetune", f"resume={run}", "logger=none"]
                if kills >= number:
                    _call(*command)
                    break
            compare(run, folder / "whole")
    print(f"{kills} kills in {rounds} runs: the same bytes as without")


def _killed(command: Sequence[str], run: Path) -> int:
    """Start a run and kill it within two seconds of its first sign of life; its exit code, 0 if it was faster."""
    from recipes.many.forks import Fork

    recipe, *settings = command
    log, script = run.with_suffix(".log"), ROOT / "recipes" / f"{recipe}.py"
    process = Fork([str(script), *settings], log, _environment())
    signs = (run / "experience.f32", run / "checkpoints" / "last.safetensors")
    before = [_changed(path) for path in signs]
    while process.poll() is None and [_changed(path) for path in signs] == before:
        time.sleep(0.01)
    time.sleep(random.uniform(0.0, 2.0))
    process.send_signal(signal.SIGKILL)
    while (code := process.poll()) is None:
        time.sleep(0.01)
    if code > 0:
        print(log.read_text(), file=sys.stderr)
    return code


def _changed(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


def compare(killed: Path, whole: Path) -> None:
    """Exit with 1 where two runs differ in more than times."""
    for name in ("experience.f32", "checkpoints/last.safetensors", "checkpoints/best.safetensors", "evaluations.csv"):
        if (killed / name).read_bytes() != (whole / name).read_bytes():
            sys.exit(f"{name} differs")
    if _without_times(killed) != _without_times(whole):
        sys.exit("metrics.csv differs")


def _without_times(run: Path) -> list[dict[str, str]]:
    rows = _read(run / "metrics.csv")
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]


def _go_on(recipe: str, run: Path, *settings: str) -> None:
    """Begin a run, or go on with it; of a finished one nothing is left to do."""
    if (run / "run.json").exists():
        _call(recipe, f"resume={run}", "logger=none")
    else:
        _call(recipe, *settings)


def _read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return [*csv.DictReader(file)]


def _call(*command: str) -> None:
    subprocess.run(_command(*command), cwd=ROOT, check=True, env=_environment())


def _command(recipe: str, *settings: str) -> list[str]:
    return [sys.executable, "-m", f"recipes.{recipe}", *settings]


def _environment() -> dict[str, str]:
    """One thread: other numbers of threads sum in another order."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="ROW", help="beginning of the names of rows")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--kills", type=int, metavar="N")
    options = parser.parse_args()
    if options.kills:
        kill(options.kills)
    elif options.check:
        check()
    else:
        train_all(options.names)


if __name__ == "__main__":
    main()
