"""The tables of a comparison: cells as texts, and as plain numbers with their CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from agents.evaluation.statistics import Interval
from recipes.reporting.published_scores import SOURCES
from recipes.reporting.results import ESTIMATE, RETURN, STATISTICS, Cell, Section

Table = list[tuple[Any, ...]]
DATA = "data"  # column of the recorded episodes
OVER_DATASETS = "Over the datasets, with 95 % stratified bootstrap intervals (arXiv 2108.13264):"
FEW = {  # what is to be said of so many seeds
    1: " One seed has no interval: nothing parts it from others.",
    2: " Two seeds say next to nothing about their spread: their intervals are of no use.",
}
CHOICE = (
    "The run that fitted Q evaluation would take without an environment, how far its last evaluation is below that of "
    "the best run (regret), and the best that is to be expected of trying some of the runs, drawn at random:"
)
ONLINE = (
    "Online after offline: the last evaluation of the offline policy, the worst and the last one online, by score or "
    "else by return, mean ± standard error over seeds, and the regret, as Cal-QL counts it (arXiv 2303.05479):"
)
COST = "What a run took, mean over seeds; minutes by the clock, evaluations included, whatever else the machine did:"
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet would compute


class Best(str):
    """A cell that stands out, in every form of a table."""


def matrix(section: Section, rest: str) -> list[list[str]]:
    """The main table: a row per dataset, a column per algorithm, and a row of published scores where there are some.

    Where the mean of the recorded episodes is known it stands first: a clone of all of them comes near it. The highest
    mean of a row stands out, and all that seeds, or data, do not part from it; an unknown cell is ``rest``.
    """
    first = [DATA] if section.data else []
    table = [["dataset", *first, *section.algorithms]]
    for dataset in section.datasets:
        row = {name: section.cells[dataset, name] for name in section.algorithms if (dataset, name) in section.cells}
        best = max(row.values(), key=lambda cell: cell.mean)
        words = {name: spread(cell, digits_of(section)) for name, cell in row.items()}
        shown = {name: word if row[name].parted_from(best) else Best(word) for name, word in words.items()}
        recorded = [digits_of(section)(section.data[dataset]) if dataset in section.data else rest for _ in first]
        table.append([dataset, *recorded, *(shown.get(name, rest) for name in section.algorithms)])
        if others := {name: f"{cell.published:.1f}" for name, cell in row.items() if cell.published is not None}:
            table.append(
                ["published", *(rest for _ in first), *(others.get(name, rest) for name in section.algorithms)]
            )
    return table


def aggregates_table(section: Section, rest: str) -> list[list[str]]:
    """A row per algorithm, a column per statistic over datasets, with 95 % intervals."""
    names = [*STATISTICS, section.improvement]
    rows = [
        [algorithm, *(_interval(estimates[name], name) if name in estimates else rest for name in names)]
        for algorithm, estimates in section.aggregates.items()
    ]
    return [["algorithm", *names], *rows]


def seeds_table(section: Section, rest: str) -> list[list[str]]:
    """A row per dataset and algorithm with every seed's score."""
    table = [["dataset", "algorithm", "mean", "standard error", "each seed"]]
    for (dataset, algorithm), cell in section.cells.items():
        shown = digits_of(section)
        each = ", ".join(f"{seed}: {shown(score)}" for seed, score in cell.seeds.items())
        error = rest if math.isnan(cell.error) else shown(cell.error)
        table.append([dataset, algorithm, shown(cell.mean), error, each])
    return table


def cost_table(costs: Mapping[tuple[str, ...], Sequence[Mapping[str, Any]]], *names: str) -> list[list[str]]:
    """A row per key, which has these names, with what a run of it took, the mean over seeds."""
    table = [[*names, "minutes", "updates per second", "parameters", "device"]]
    for key, runs in costs.items():
        minutes = np.mean([run["minutes"] for run in runs])
        speeds = [run["updates_per_second"] for run in runs if run["updates_per_second"]]  # a short run noted none
        devices = ", ".join(sorted({str(run["device"]) for run in runs}))
        size, speed = str(runs[0]["parameters"]), f"{np.mean(speeds):.0f}" if speeds else ""
        table.append([*key, f"{minutes:.1f}", speed, size, devices])
    return table


def number(value: float) -> str:
    """One digit after the point, none for thousands: what evaluations of a few episodes can tell apart."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}"


def significant(value: float) -> str:
    """Three digits: of an estimate, which may be of any size."""
    return f"{value:.3g}"


def digits_of(section: Section) -> Callable[[float], str]:
    return significant if section.measure is ESTIMATE else number


def spread(cell: Cell, shown: Callable[[float], str] = number) -> str:
    """Mean and standard error."""
    return shown(cell.mean) if math.isnan(cell.error) else f"{shown(cell.mean)} ± {shown(cell.error)}"


def _interval(estimate: Interval, name: str) -> str:
    digits = 2 if name.startswith("P(") else 1
    bounds = "" if math.isnan(estimate.low) else f" [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
    return f"{estimate.value:.{digits}f}{bounds}"


def sources(section: Section) -> list[str]:
    """The sources of the published scores, a line each."""
    names = {SOURCES[algorithm] for (_, algorithm), cell in section.cells.items() if cell.published is not None}
    return [f"published: {name}" for name in sorted(names)]


def caption(section: Section, *, bold: bool = True) -> str:
    """A line on the numbers of the main table; where it is shown, something can be bold or not."""
    estimated = section.measure is ESTIMATE
    what = "Discounted return as estimated from the data" if estimated else "Last evaluation"
    parts = [f"{what}, mean ± standard error over seeds"]
    parts += [f"{DATA}: mean of the recorded episodes{', discounted' * estimated}"] if section.data else []
    parts += ["not normalised"] if section.measure is RETURN else []
    best = "bold: the highest mean, and whatever Welch's 95 % t-interval of the difference does not part from it"
    best += ", or whose 90 % interval and its own overlap" * estimated
    parts += [best] if bold else []
    return f"{'; '.join(parts)}.{FEW.get(min((len(cell.seeds) for cell in section.cells.values()), default=0), '')}"


def numbers(sections: Iterable[Section]) -> dict[str, Table]:
    """Everything as plain numbers: tables of runs, of datasets and of statistics over datasets, each with a header.

    What is not known, such as the error of a single seed, is None: JSON has no NaN.
    """
    runs: Table = [("protocol", "dataset", "algorithm", "seed", "score")]
    datasets: Table = [("protocol", "dataset", "algorithm", "num_seeds", "mean", "standard_error", "published", DATA)]
    aggregates: Table = [("protocol", "algorithm", "statistic", "value", "low", "high")]
    for section in sections:
        protocol = section.measure.name
        for (dataset, algorithm), cell in section.cells.items():
            runs += [(protocol, dataset, algorithm, seed, score) for seed, score in cell.seeds.items()]
            row = (len(cell.seeds), cell.mean, _known(cell.error), cell.published, section.data.get(dataset))
            datasets.append((protocol, dataset, algorithm, *row))
        for algorithm, estimates in section.aggregates.items():
            for name, estimate in estimates.items():
                interval = (_known(float(value)) for value in (estimate.value, estimate.low, estimate.high))
                aggregates.append((protocol, algorithm, name, *interval))
    return {"runs": runs, "datasets": datasets, "aggregates": aggregates}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def to_csv(table: Iterable[Iterable[Any]]) -> str:
    """Rows of numbers and texts; a text that a spreadsheet would take for a formula begins with an apostrophe."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(_no_formula, row) for row in table)
    return text.getvalue()


def _no_formula(cell: Any) -> Any:
    return (
        f"'{cell}"
        if isinstance(cell, str) and (cell.startswith(FORMULA) or cell.lstrip().startswith(FORMULA))
        else cell
    )
