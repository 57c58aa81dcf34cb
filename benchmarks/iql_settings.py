"""Settings of IQL for data that nobody has tuned: twelve, tried on two datasets with two seeds each.

    python benchmarks/iql_settings.py               train what is not there yet, below runs/iql_settings
    python benchmarks/iql_settings.py --table       what is there, as a table

A run is 20,000 updates and 50 episodes after the last; the seeds are none of those that results are reported for.
"""

from __future__ import annotations

import csv
import itertools
import os
import statistics
import subprocess
import sys
from pathlib import Path

DATASETS = ("demo/pen/mixed-v1", "demo/relocate/mixed-v1")
SEEDS = (10, 11)
RUNS = Path("runs/iql_settings")
BUDGET = ("eval_every=20000", "num_eval_episodes=50", "compile=inductor", "matmul_precision=highest")
DEEP = (
    "algorithm=iql_official",
    "algorithm.normalize_observations=true",
    *(f"algorithm.{network}.hidden_sizes=[256,256,256]" for network in ("actor", "qvalue", "value")),
)
LAYER_NORM = ("algorithm.qvalue.layer_norm=true", "algorithm.value.layer_norm=true")
SCALED = ("algorithm.scale_advantage=true", "algorithm.temperature=1.0")
CHOSEN = (*DEEP, *LAYER_NORM, *SCALED)  # what algorithm=iql is
SETTINGS: dict[str, tuple[str, ...]] = {
    "official": ("algorithm=iql_official",),
    "corl": ("algorithm=iql_corl",),
    "deep": DEEP,
    "deep, LN": (*DEEP, *LAYER_NORM),
    "deep, scaled 1": (*DEEP, *SCALED),
    "deep, LN, scaled 1": CHOSEN,
    "deep, LN, scaled 0.5": (*CHOSEN, "algorithm.temperature=0.5"),
    "deep, LN, scaled 2": (*CHOSEN, "algorithm.temperature=2.0"),
    "deep, LN, scaled 1, 0.9": (*CHOSEN, "algorithm.expectile=0.9"),
    "deep, LN, scaled 1, no dropout": (*CHOSEN, "algorithm.actor.dropout=0.0"),
    "wide, LN, scaled 1": (
        "algorithm=iql_official",
        "algorithm.normalize_observations=true",
        *LAYER_NORM,
        *SCALED,
    ),
    "bc": ("algorithm=bc",),
}


def folder(name: str, dataset: str, seed: int) -> Path:
    return RUNS / name.replace(", ", "-").replace(" ", "_") / dataset / f"seed{seed}"


def rows(path: Path) -> list[dict[str, str]]:
    """The evaluations of a run; none of one that is not finished."""
    try:
        with open(path / "evaluations.csv", newline="") as file:
            return [row for row in csv.DictReader(file) if row["step"] == "20000"]
    except FileNotFoundError:
        return []


def train() -> None:
    for seed, dataset, (name, overrides) in itertools.product(SEEDS, DATASETS, SETTINGS.items()):
        run = folder(name, dataset, seed)
        if rows(run):
            continue
        settings = (f"dataset={dataset}", f"seed={seed}", *overrides, *BUDGET)
        command = [sys.executable, "-m", "recipes.train", *settings, "logger=csv", f"run_dir='{run}'", "overwrite=true"]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)


def table() -> None:
    for name in SETTINGS:
        print(f"{name:32s} | " + " | ".join(f"{cell(name, dataset):28s}" for dataset in DATASETS))


def cell(name: str, dataset: str) -> str:
    scores = [float(row["eval/d4rl_score"]) for seed in SEEDS for row in rows(folder(name, dataset, seed))]
    listing = " ".join(f"{score:6.1f}" for score in scores)
    return f"{listing}  mean {statistics.mean(scores):6.1f}" if scores else ""


if __name__ == "__main__":
    table() if "--table" in sys.argv else train()
