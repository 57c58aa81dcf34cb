"""The table of the Adroit tasks: which algorithms, with which budget, on which data; and one of its rows once more.

    python benchmarks/adroit.py             train what is not there yet, below runs/adroit; the tables into results/
    python benchmarks/adroit.py --check     train one row of the committed table again, and compare to the last digit

Either can be stopped and called again. Some ten hours on two cores; one row takes two minutes.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
TASKS = ("pen", "hammer", "door", "relocate")
FAST = "iql,iql_official,iql_corl,bc,bc_top,awac,td3_bc,rebrac"
SLOW = "cql_small,dt_small,edac,sac_n"  # 5 to 50 times as long for an update
SETTINGS = ("num_eval_episodes=50", "compile=inductor", "matmul_precision=highest", "logger=none")
CHECKED = ("d4rl", "demo/pen/mixed-v1", "bc", 0)  # the cheapest row


@dataclass(frozen=True)
class Table:
    """One comparison."""

    name: str
    algorithms: str
    quality: str  # of the data: mixed or expert
    seeds: str
    gradient_steps: int

    def command(self) -> list[str]:
        datasets = ",".join(f"demo/{task}/{self.quality}-v1" for task in TASKS)
        places = (f"runs={ROOT / 'runs' / 'adroit' / self.name}", f"output={RESULTS / self.name}")
        budget = (f"gradient_steps={self.gradient_steps}", f"eval_every={self.gradient_steps // 4}")
        choice = (f"algorithms={self.algorithms}", f"datasets={datasets}", f"seeds={self.seeds}")
        return [sys.executable, "-m", "recipes.compare", *choice, *places, *budget, *SETTINGS]


TABLES = (
    Table("mixed_v1", FAST, "mixed", "0,1,2", 20_000),
    Table("mixed_v1_short", SLOW, "mixed", "0,1,2", 2_000),
    Table("expert_v1", FAST, "expert", "0", 20_000),
    Table("expert_v1_short", SLOW, "expert", "0", 2_000),
)


def check() -> None:
    """Train the row ``CHECKED`` with the settings of its table, and exit with 1 if its score is another one."""
    table = json.loads((RESULTS / "mixed_v1" / "results.json").read_text())
    columns, *rows = table["runs"]
    assert columns == ["protocol", "dataset", "algorithm", "seed", "score"]
    committed = next(score for *row, score in rows if tuple(row) == CHECKED)
    protocol, dataset, algorithm, seed = CHECKED
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        settings = (f"algorithm={algorithm}", f"dataset={dataset}", f"seed={seed}", *SETTINGS[:-1], "logger=csv")
        budget = ("gradient_steps=20000", "eval_every=20000", f"run_dir={run}")
        start([sys.executable, "-m", "recipes.train", *settings, *budget])
        with open(run / "evaluations.csv", newline="") as file:
            score = float([*csv.DictReader(file)][-1][f"eval/{protocol}_score"])
    print(f"{algorithm} on {dataset}, seed {seed}: {score!r}; committed: {committed!r}")
    if score != committed:
        sys.exit("another score: equal ones need the committed versions and a processor that sums as the committed one")


def start(command: list[str]) -> None:
    """One thread, as the runs of a comparison have it: other numbers of threads sum in another order."""
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


if __name__ == "__main__":
    if "--check" in sys.argv:
        check()
    else:
        for table in TABLES:
            start(table.command())
