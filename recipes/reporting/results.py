"""The results of a comparison: the last evaluation of every run, in one section per score protocol.

Scores of different protocols are never mixed. Datasets without any score are in a section of returns, which has no
statistics over datasets, since returns of different tasks have nothing in common.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from agents.environments.protocols import PROTOCOLS
from agents.evaluation import statistics
from agents.evaluation.statistics import Interval
from recipes.reporting.published_scores import published

Rows = Sequence[Mapping[str, float]]
Curves = Mapping[tuple[str, str, int], Rows]
"""Rows of evaluations.csv of every finished run, by dataset, algorithm and seed; ``minutes`` until then, if known."""
Data = Mapping[str, Mapping[str, float]]
"""Means over the recorded episodes by dataset, as :func:`agents.metrics.data` gives them."""


@dataclass(frozen=True)
class Measure:
    """A column of evaluations.csv by which policies are compared: the score of a protocol, or the return."""

    name: str
    title: str
    key: str
    meaning: str  # for the reader of a report
    details: tuple[str, ...]  # further columns: the returns behind it, of an estimate the bounds of its interval


RETURNS = ("eval/return", "eval/return_std")
WITHOUT_SCORE = "These datasets have no normalised score. Returns of different tasks have nothing in common."
RETURN = Measure("return", "Return", "eval/return", WITHOUT_SCORE, RETURNS)
ESTIMATE = Measure(
    "estimate",
    "Estimate (fqe)",
    "estimate/fqe",
    "These data name no environment: values are discounted returns, estimated from the data, and no scores. The ± is "
    "over seeds; what the data leave open is in each one's 90 % interval. `offline-agents select` says which to take.",
    ("estimate/fqe_low", "estimate/fqe_high"),
)
STATISTICS: dict[str, Callable[..., Any]] = {
    "mean": statistics.mean,
    "IQM": statistics.iqm,
    "optimality gap": statistics.optimality_gap,
}


def measures() -> list[Measure]:
    """The scores of all protocols, then the return; where one number stands for a run, it is the first known."""
    own = {each.name: (f"eval/{each.return_key}",) if each.return_key else RETURNS for each in PROTOCOLS}
    scores = (Measure(p.name, p.title, f"eval/{p.score_key}", p.meaning, own[p.name]) for p in PROTOCOLS)
    return [*scores, RETURN]


def default_baseline(algorithms: Sequence[str]) -> str:
    return "bc" if "bc" in algorithms else algorithms[0]


T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)  # 97.5 %, of 1 to 10 degrees


def t_quantile(degrees: float) -> float:
    """97.5 % of Student's t: of the degrees of freedom below; above ten an expansion, to a part in a thousand."""
    below = max(1, math.floor(degrees))
    return T_QUANTILES[below - 1] if below <= len(T_QUANTILES) else 1.96 + 2.372 / below + 2.82 / below**2


@dataclass(frozen=True)
class Cell:
    """An algorithm on a dataset."""

    seeds: Mapping[int, float]  # score of the last evaluation by seed
    published: float | None = None
    steps: np.ndarray = field(default_factory=lambda: np.empty(0))  # [P] at which all seeds were evaluated
    scores: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))  # [S, P] there
    minutes: np.ndarray | None = None  # [P] until there, mean over seeds, where all noted them
    interval: tuple[float, float] | None = None  # of an estimate, by the data: the mean over seeds of low and high

    @property
    def mean(self) -> float:
        return float(np.mean([*self.seeds.values()]))

    @property
    def error(self) -> float:
        """Standard error of the mean; NaN for one seed."""
        return statistics.standard_error([*self.seeds.values()])

    def parted_from(self, other: Cell) -> bool:
        """Whether the 95 % interval of the difference of means, by Welch's t, leaves out 0; never with one seed.

        Estimates are not parted either where their intervals overlap: more seeds make the data no larger.
        """
        if math.isnan(self.error) or math.isnan(other.error):
            return False
        if self.interval and other.interval:
            (low, high), (others_low, others_high) = self.interval, other.interval
            if not (high < others_low or others_high < low):
                return False
        variances = np.square([self.error, other.error])
        if not variances.any():
            return self.mean != other.mean
        degrees = variances.sum() ** 2 / (variances**2 / [len(self.seeds) - 1, len(other.seeds) - 1]).sum()
        return abs(self.mean - other.mean) > t_quantile(degrees) * math.sqrt(variances.sum())


@dataclass(frozen=True)
class Section:
    """The results by one measure."""

    measure: Measure
    algorithms: Sequence[str]
    datasets: Sequence[str]
    baseline: str
    cells: Mapping[tuple[str, str], Cell]  # by dataset and algorithm
    data: Mapping[str, float]  # mean over the recorded episodes, by dataset, where it is known
    # statistics over all of the section's datasets, by algorithm and name of the statistic
    aggregates: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    notes: Sequence[str] = ()  # for the reader, a line each

    @property
    def improvement(self) -> str:
        """Name of the statistic that compares with the baseline."""
        return f"P(better than {self.baseline})"

    def on_all(self, algorithm: str) -> bool:
        return all((dataset, algorithm) in self.cells for dataset in self.datasets)

    def runs(self, algorithm: str) -> list[list[float]]:
        """Scores by dataset and seed, as :mod:`agents.evaluation.statistics` takes them."""
        return [[*self.cells[dataset, algorithm].seeds.values()] for dataset in self.datasets]


def sections(
    curves: Curves,
    data: Data,
    *,
    algorithms: Sequence[str],
    datasets: Sequence[str],
    seeds: Sequence[int],
    baseline: str,
    num_resamples: int,
) -> list[Section]:
    """A section for each protocol that any dataset has."""
    own = {measure: _datasets_with(measure, curves, datasets) for measure in measures()}
    with_score = {dataset for measure, names in own.items() for dataset in names if measure is not RETURN}
    own[RETURN] = [dataset for dataset in own[RETURN] if dataset not in with_score]
    own[ESTIMATE] = _datasets_with(ESTIMATE, curves, datasets)
    finished = [dataset for dataset in datasets if any(dataset == name for name, _, _ in curves)]
    sections = []
    for measure in (measure for measure, names in own.items() if names):
        cells = {}
        for names in itertools.product(own[measure], algorithms):
            if runs := {seed: rows for (*of_run, seed), rows in curves.items() if of_run == [*names]}:
                cells[names] = _cell(measure, *names, runs)
        data_key = measure.key.replace("eval/", "data/")
        means = {name: data[name][data_key] for name in own[measure] if data_key in data.get(name, {})}
        section = Section(measure, algorithms, own[measure], baseline, cells, means)
        if measure not in (RETURN, ESTIMATE):
            section = replace(section, aggregates=_aggregates(section, num_resamples))
        sections.append(replace(section, notes=_notes(section, datasets, finished, len(seeds))))
    return sections


def _datasets_with(measure: Measure, curves: Curves, datasets: Sequence[str]) -> list[str]:
    """Datasets of which every finished run has the measure."""
    last = {dataset: [rows[-1] for (name, _, _), rows in curves.items() if name == dataset] for dataset in datasets}
    return [dataset for dataset, rows in last.items() if rows and all(measure.key in row for row in rows)]


def _cell(measure: Measure, dataset: str, algorithm: str, runs: Mapping[int, Rows]) -> Cell:
    seeds = {seed: rows[-1][measure.key] for seed, rows in sorted(runs.items())}
    lines = [{row["step"]: row[measure.key] for row in rows if measure.key in row} for rows in runs.values()]
    steps = sorted(set.intersection(*map(set, lines)))
    scores = np.array([[line[step] for step in steps] for line in lines])
    clocks = [{row["step"]: row.get("minutes") for row in rows} for rows in runs.values()]
    minutes = np.array([[clock[step] for step in steps] for clock in clocks], float)  # NaN where there are none
    minutes = None if np.isnan(minutes).any() else minutes.mean(0)
    cell = Cell(seeds, published(measure.name, dataset, algorithm), np.array(steps), scores, minutes)
    return replace(cell, interval=_interval([rows[-1] for rows in runs.values()])) if measure is ESTIMATE else cell


def _interval(rows: Rows) -> tuple[float, float] | None:
    """The mean bounds of estimates; None where one has none."""
    low, high = (np.mean([row.get(key, math.nan) for row in rows]).item() for key in ESTIMATE.details)
    return None if math.isnan(low + high) else (low, high)


def _notes(section: Section, datasets: Sequence[str], finished: Sequence[str], num_seeds: int) -> list[str]:
    returns, estimated = section.measure is RETURN, section.measure is ESTIMATE
    notes = [ESTIMATE.meaning] if estimated else []
    if missing := [dataset for dataset in datasets if dataset not in finished]:
        notes.append(f"No run has finished on {', '.join(missing)}.")
    others = [dataset for dataset in finished if dataset not in section.datasets]
    if others and returns:
        notes.append("These datasets have no normalised score: they are in no statistic over datasets.")
    elif others and not estimated:
        notes.append(f"Without a {section.measure.title}, and so left out of this section: {', '.join(others)}.")
    elif returns:
        notes.append("No dataset has a normalised score: there are no statistics over datasets.")
    for dataset, algorithm in itertools.product(section.datasets, section.algorithms):
        cell = section.cells.get((dataset, algorithm), Cell({}))
        if len(cell.seeds) < num_seeds:
            notes.append(f"{algorithm} on {dataset}: {len(cell.seeds)} of {num_seeds} seeds.")
    absent = [name for name in section.algorithms if not section.on_all(name)]
    if absent and not returns and not estimated:
        notes.append(f"Not on every dataset, and so in no statistic over datasets: {', '.join(absent)}.")
    return notes


def _aggregates(section: Section, num_resamples: int) -> dict[str, dict[str, Interval]]:
    estimate = functools.partial(statistics.estimate, num_resamples=num_resamples)
    runs = {name: section.runs(name) for name in section.algorithms if section.on_all(name)}
    aggregates = {}
    for name, own in runs.items():
        aggregates[name] = {title: estimate(statistic, own) for title, statistic in STATISTICS.items()}
        if name != section.baseline and (baseline := runs.get(section.baseline)):
            improvement = estimate(statistics.probability_of_improvement, own, baseline)
            aggregates[name][section.improvement] = improvement
    return aggregates
