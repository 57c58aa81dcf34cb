"""IQL and BC on the built-in pen and hammer datasets over three seeds: the table and the plots of the README.

    python benchmarks/adroit.py                  everything that is missing under runs/, then the table

One single-threaded process per core, each a run of ``recipes/train.py`` with its defaults. Writes
``results/adroit.json`` and the plots of seed 0 beside it.
"""

from __future__ import annotations

import concurrent.futures
import csv
import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import agents
from agents import metrics

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
ALGORITHMS, TASKS, SEEDS = ("iql", "bc"), ("pen", "hammer"), (0, 1, 2)
NUM_EPISODES = 100


def folder(algorithm: str, task: str, seed: int) -> Path:
    return ROOT / "runs" / algorithm / "demo" / task / "mixed-v0" / f"seed{seed}"


def train(algorithm: str, task: str, seed: int) -> None:
    """Run, or go on with, one training; its output goes to a file beside the run."""
    place = folder(algorithm, task, seed)
    begun = (place / "config.yaml").exists()
    settings = (
        [f"resume={place}"] if begun else [f"algorithm={algorithm}", f"dataset=demo/{task}/mixed-v0", f"seed={seed}"]
    )
    command = [sys.executable, "recipes/train.py", *settings, "num_eval_envs=1"]
    if not begun:
        command += ["wandb.mode=offline"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place.parent / f"seed{seed}.log", "a") as log:
        subprocess.run(command, cwd=ROOT, env=environment, stdout=log, stderr=log, check=True)


def last_evaluation(algorithm: str, task: str, seed: int) -> dict[str, float]:
    with open(folder(algorithm, task, seed) / "evaluations.csv") as file:
        return {name: float(value) for name, value in list(csv.DictReader(file))[-1].items()}


def main() -> None:
    runs = [(algorithm, task, seed) for task, seed, algorithm in itertools.product(TASKS, SEEDS, ALGORITHMS)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda run: train(*run), runs))
    results = {"/".join(map(str, run)): {"last_evaluation": last_evaluation(*run), **evaluate(*run)} for run in runs}
    RESULTS.mkdir(exist_ok=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    info = json.loads((folder(*runs[0]) / "run.json").read_text())
    facts = {"commit": commit, "versions": info["versions"], "machine": platform.machine(), "cores": os.cpu_count()}
    (RESULTS / "adroit.json").write_text(json.dumps({**facts, "results": results}, indent=1) + "\n")
    for task in TASKS:
        shutil.copy(folder("iql", task, SEEDS[0]) / "returns.png", RESULTS / f"{task}.png")
    print("| dataset | policy | return, 20 episodes | return, 100 episodes | d4rl score | minari score | success |")
    print("|---|---|---|---|---|---|---|")
    for task, algorithm in itertools.product(TASKS, ALGORITHMS):
        rows = [results[f"{algorithm}/{task}/{seed}"] for seed in SEEDS]
        cells = [spread([row["last_evaluation"]["eval/return"] for row in rows])]
        cells += [spread([row[key] for row in rows]) for key in ("return", "d4rl_score", "minari_score")]
        success = statistics.mean(row["success"] for row in rows)
        print(f"| demo/{task}/mixed-v0 | {algorithm} | {' | '.join(cells)} | {100 * success:.0f} % |")


def evaluate(algorithm: str, task: str, seed: int) -> dict[str, float]:
    """The last checkpoint on more episodes than training has time for."""
    policy = agents.load_policy(folder(algorithm, task, seed) / "checkpoints" / "last.safetensors")
    with agents.load_dataset(f"demo/{task}/mixed-v0").make_env(os.cpu_count() or 1) as env:
        columns = metrics.episodes(agents.evaluate(policy, env, NUM_EPISODES))
    return {name: float(values.mean()) for name, values in columns.items()}


def spread(values: list[float]) -> str:
    digits = 0 if max(map(abs, values)) > 1000 else 1
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


if __name__ == "__main__":
    main()
