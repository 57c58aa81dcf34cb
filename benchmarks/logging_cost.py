"""What logging costs: the time of a training run with each logger beside the same run with none.

    python benchmarks/logging_cost.py                      about ten minutes on two cores
    python benchmarks/logging_cost.py --rounds 3 --steps 2000

IQL on the built-in pen dataset with all settings at their defaults, but for the steps, and without evaluations, which
would hide the cost: what is measured is a row of metrics every 500 updates and what the logger's own process takes from
the cores. Runs with and without take turns, in another order each round; each is timed by itself from the first row to
the last, and ratios are those of the same round. The processor time is that of the run and of the processes that it has
started (Linux): what else the machine does changes it little. Prints Markdown and writes results/logging_cost.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from agents.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "logging_cost.json"
LOGGERS = {"none": ["logger=none"], "csv": ["logger=csv"], "wandb, offline": ["logger=wandb", "wandb.mode=offline"]}
TIMED = """
import os, sys, time, runpy
from pathlib import Path
from recipes.runs import writer
log = writer.RunWriter.log
def processor_time():
    others = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try: fields = stat.read_text().rpartition(")")[2].split()
        except OSError: continue
        if int(fields[1]) == os.getpid():  # user and system time of a child
            others += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return time.process_time() + others, others
def timed(self, step, scalars):
    log(self, step, scalars)
    print("logged", step, time.perf_counter(), *processor_time())
writer.RunWriter.log = timed
sys.argv[0] = {train!r}
runpy.run_path({train!r}, run_name="__main__")
"""


def run(settings: Sequence[str], steps: int, log_every: int) -> dict[str, float]:
    """Milliseconds per update between the first and the last row of a run, by the clock and of the processor; the share
    of the time that logging took, and that of the processor time that other processes of the run took."""
    code = TIMED.format(train=str(ROOT / "recipes" / "train.py"))
    with tempfile.TemporaryDirectory() as folder:
        given = [
            f"gradient_steps={steps}",
            f"log_every={log_every}",
            f"eval_every={10 * steps}",  # but for the one at the end
            "num_eval_episodes=1",
            "compile=off",  # measuring which is fastest could choose another one each time
            f"run_dir={folder}/run",
            *settings,
        ]
        command = [sys.executable, "-c", code, *given]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        rows = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("logged ")]
        with open(Path(folder, "run", "metrics.csv"), newline="") as file:
            shares = [float(row["time/logging_share"]) for row in csv.DictReader(file)][1:]
    steps, clock, processor, others = (float(end) - float(begin) for begin, end in zip(rows[0], rows[-1]))
    return {
        "ms_per_update": 1e3 * clock / steps,
        "processor_ms_per_update": 1e3 * processor / steps,
        "logging_share": statistics.mean(shares),
        "processes_share": others / processor,
    }


def measure(rounds: int, steps: int, log_every: int) -> dict[str, list[dict[str, float]]]:
    """Every logger once per round, in rotating order."""
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in LOGGERS}
    for number in range(rounds):
        names = [*LOGGERS]
        for name in names[number % len(names) :] + names[: number % len(names)]:
            measured[name].append(run(LOGGERS[name], steps, log_every))
            print(f"round {number + 1} of {rounds}: {name} {measured[name][-1]}", file=sys.stderr, flush=True)
    return measured


def summarise(measured: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, dict[str, float | list[float]]]:
    """Per logger the median time, its ratio to none of the same round, and the share that logging took of the run."""
    summaries = {}
    for name, runs in measured.items():
        summaries[name] = {
            share: statistics.median(one[share] for one in runs) for share in ("logging_share", "processes_share")
        }
        for unit in ("ms_per_update", "processor_ms_per_update"):
            ratios = [one[unit] / none[unit] for one, none in zip(runs, measured["none"])]
            summaries[name] |= {
                unit: statistics.median(one[unit] for one in runs),
                f"{unit}_to_none": [statistics.median(ratios), min(ratios), max(ratios)],
            }
    return summaries


def table(summaries: Mapping[str, Mapping[str, float | list[float]]]) -> str:
    columns = ("logger", "ms per update", "times `none`", "processor ms per update", "times `none`")
    columns += ("share of the time in logging", "share of the processor time in the logger's process")
    lines = [f"| {' | '.join(columns)} |", f"{'|---' * len(columns)}|"]
    for name, known in summaries.items():
        cells = [name]
        for unit in ("ms_per_update", "processor_ms_per_update"):
            middle, low, high = known[f"{unit}_to_none"]
            cells += [f"{known[unit]:.2f}", f"{middle:.3f} ({low:.3f}-{high:.3f})"]
        lines.append(f"| {' | '.join(cells)} | {known['logging_share']:.2%} | {known['processes_share']:.2%} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--log-every", type=int, default=500)
    chosen = parser.parse_args()
    measured = measure(chosen.rounds, chosen.steps, chosen.log_every)
    summaries = summarise(measured)
    about = {
        **vars(chosen),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    text = json.dumps({"about": about, "summary": summaries, "rounds": measured}, indent=1) + "\n"
    write_atomically(RESULTS, text.encode())
    print(table(summaries))


if __name__ == "__main__":
    main()
