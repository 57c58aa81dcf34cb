"""Whether estimates would have chosen well among runs that were evaluated, and what trying some of these would give.

The protocol of ReBRAC (arXiv 2305.09836): of a budget of k policies that are tried in the environment, the best is kept
(expected online performance, Kurenkov, Kolesnikov 2022, arXiv 2110.04156). An estimate costs none of the budget.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recipes.reporting.results import ESTIMATE, Section
from recipes.reporting.tables import number

BUDGETS = (1, 2, 3, 5, 10)
ANY = "any"  # in the place of an algorithm: one of all of them


def expected_best(scores: Sequence[float], k: int) -> float:
    """Mean over all choices of k of the scores of the best one."""
    ways = (score * math.comb(below, k - 1) for below, score in enumerate(sorted(scores)))
    return sum(ways) / math.comb(len(scores), k)


def choice_table(
    sections: Sequence[Section], values: Mapping[tuple[str, str, int], Mapping[str, Any]]
) -> list[list[str]]:
    """A row for each dataset and algorithm of several runs, by their estimates; the header alone if there are none."""
    table = [["dataset", "algorithm", "runs", "taken", "score", "regret", *(f"{k} tried" for k in BUDGETS)]]
    for dataset, algorithm, scores in _groups(sections, {*values}):
        known = {run: values[(dataset, *run)] for run in scores}
        taken = max(known, key=lambda run: (not known[run]["refutations"], known[run]["value"]))
        name = f"{taken[0]}, seed {taken[1]}" + " (its estimate means nothing)" * bool(known[taken]["refutations"])
        best = (number(expected_best([*scores.values()], k)) if k <= len(scores) else "" for k in BUDGETS)
        regret = max(scores.values()) - scores[taken]
        table.append([dataset, algorithm, str(len(scores)), name, number(scores[taken]), number(regret), *best])
    return table


def _groups(
    sections: Sequence[Section], estimated: set[tuple[str, str, int]]
) -> Iterator[tuple[str, str, dict[tuple[str, int], float]]]:
    """Scores of runs that have an estimate too, of each algorithm and of all, by the first measure of a dataset."""
    first = {name: each for each in reversed(sections) if each.measure is not ESTIMATE for name in each.datasets}
    for dataset, section in first.items():
        cells = {name: section.cells[dataset, name] for name in section.algorithms if (dataset, name) in section.cells}
        scores = {
            (name, seed): score
            for name, cell in cells.items()
            for seed, score in cell.seeds.items()
            if (dataset, name, seed) in estimated
        }
        groups = {name: {run: score for run, score in scores.items() if run[0] == name} for name in cells}
        if len(groups) > 1:
            groups[ANY] = scores
        yield from ((dataset, name, own) for name, own in groups.items() if len(own) > 1)
