"""The results of a comparison: the last evaluation of every run, in one section per score protocol.

Scores of different protocols are never mixed: each has a section with its own table and its own statistics over
datasets. Datasets without any score are in a section of returns, which has no statistics, since returns of different
tasks have nothing in common.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from agents.environments.protocols import PROTOCOLS
from agents.evaluation import statistics
from agents.evaluation.statistics import Estimate
from recipes.reporting.published_scores import published

Rows = Sequence[Mapping[str, float]]
Curves = Mapping[tuple[str, str, int], Rows]
"""Rows of evaluations.csv of every finished run, by dataset, algorithm and seed."""
Data = Mapping[str, Mapping[str, float]]
"""What is known of the recorded episodes by dataset: means as :func:`agents.metrics.data` gives them."""


@dataclass(frozen=True)
class Measure:
    """A column of evaluations.csv by which policies are compared: the score of a protocol, or the return.

    Attributes:
        meaning: for the reader of a report.
        details: further columns on the same scale, or on that of its returns.
    """

    name: str
    title: str
    key: str
    meaning: str
    details: tuple[str, ...]

    @property
    def data_key(self) -> str:
        """The same of the recorded episodes."""
        return self.key.replace("eval/", "data/")


RETURNS = ("eval/return", "eval/return_std")
WITHOUT_SCORE = "These datasets have no normalised score. Returns of different tasks have nothing in common."
RETURN = Measure("return", "Return", "eval/return", WITHOUT_SCORE, RETURNS)
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


@dataclass(frozen=True)
class Cell:
    """An algorithm on a dataset: the score of the last evaluation by seed."""

    seeds: Mapping[int, float]
    published: float | None

    @property
    def mean(self) -> float:
        return float(np.mean([*self.seeds.values()]))

    @property
    def error(self) -> float:
        """Standard error of the mean; NaN for one seed."""
        return statistics.standard_error([*self.seeds.values()])


@dataclass(frozen=True)
class Section:
    """The results by one measure.

    Attributes:
        curves: steps ``[P]`` and scores ``[S, P]`` of the evaluations, by dataset and algorithm.
        data: mean over the recorded episodes, by dataset, where it is known.
        notes: what a reader has to know, a line each.
        aggregates: statistics over all of the section's datasets, by algorithm and name of the statistic.
    """

    measure: Measure
    algorithms: Sequence[str]
    datasets: Sequence[str]
    baseline: str
    cells: Mapping[tuple[str, str], Cell]
    curves: Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]]
    data: Mapping[str, float]
    notes: Sequence[str]
    aggregates: Mapping[str, Mapping[str, Estimate]]

    @property
    def improvement(self) -> str:
        """Name of the statistic that compares with the baseline."""
        return f"P(better than {self.baseline})"

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
    scored = {dataset for measure, names in own.items() for dataset in names if measure is not RETURN}
    own[RETURN] = [dataset for dataset in own[RETURN] if dataset not in scored]
    finished = {dataset for dataset, _, _ in curves}
    sections = []
    for measure in (measure for measure, names in own.items() if names):
        runs = {
            (dataset, algorithm): rows
            for dataset in own[measure]
            for algorithm in algorithms
            if (rows := {seed: rows for (*names, seed), rows in curves.items() if names == [dataset, algorithm]})
        }
        cells = {names: _cell(measure, *names, rows) for names, rows in runs.items()}
        lines = {names: _curve(measure, [*rows.values()]) for names, rows in runs.items()}
        key, known = measure.data_key, (name for name in own[measure] if measure.data_key in data.get(name, {}))
        means = {name: data[name][key] for name in known}
        section = Section(measure, algorithms, own[measure], baseline, cells, lines, means, [], {})
        section = replace(section, notes=_notes(section, finished, datasets, len(seeds)))
        sections.append(section if measure is RETURN else _with_aggregates(section, num_resamples))
    return sections


def _datasets_with(measure: Measure, curves: Curves, datasets: Sequence[str]) -> list[str]:
    """Datasets of which every finished run has the measure."""
    last = {dataset: [rows[-1] for (name, _, _), rows in curves.items() if name == dataset] for dataset in datasets}
    return [dataset for dataset, rows in last.items() if rows and all(measure.key in row for row in rows)]


def _cell(measure: Measure, dataset: str, algorithm: str, runs: Mapping[int, Rows]) -> Cell:
    scores = {seed: rows[-1][measure.key] for seed, rows in sorted(runs.items())}
    return Cell(scores, published(measure.name, dataset, algorithm))


def _curve(measure: Measure, runs: Sequence[Rows]) -> tuple[np.ndarray, np.ndarray]:
    """Steps at which all seeds were evaluated, ``[P]``, and the scores there, ``[S, P]``."""
    scores = [{row["step"]: row[measure.key] for row in rows if measure.key in row} for rows in runs]
    steps = sorted(set.intersection(*map(set, scores)))
    return np.array(steps), np.array([[run[step] for step in steps] for run in scores])


def _notes(section: Section, finished: set[str], datasets: Sequence[str], num_seeds: int) -> list[str]:
    notes = []
    if missing := [dataset for dataset in datasets if dataset not in finished]:
        notes.append(f"No run has finished on {', '.join(missing)}.")
    others = [dataset for dataset in datasets if dataset in finished and dataset not in section.datasets]
    if others and section.measure is RETURN:
        notes.append("These datasets have no normalised score: they are in no statistic over datasets.")
    elif others:
        notes.append(f"Without a {section.measure.title}, and so left out of this section: {', '.join(others)}.")
    elif section.measure is RETURN:
        notes.append("No dataset has a normalised score: there are no statistics over datasets.")
    for dataset in section.datasets:
        for algorithm in section.algorithms:
            number = len(section.cells[dataset, algorithm].seeds) if (dataset, algorithm) in section.cells else 0
            if number < num_seeds:
                notes.append(f"{algorithm} on {dataset}: {number} of {num_seeds} seeds.")
    absent = [name for name in section.algorithms if not _on_all(section, name)]
    if absent and section.measure is not RETURN:
        notes.append(f"Not on every dataset, and so in no statistic over datasets: {', '.join(absent)}.")
    return notes


def _on_all(section: Section, algorithm: str) -> bool:
    return all((dataset, algorithm) in section.cells for dataset in section.datasets)


def _with_aggregates(section: Section, num_resamples: int) -> Section:
    estimate = partial(statistics.estimate, num_resamples=num_resamples)
    runs = {name: section.runs(name) for name in section.algorithms if _on_all(section, name)}
    aggregates = {
        name: {title: estimate(statistic, own) for title, statistic in STATISTICS.items()} for name, own in runs.items()
    }
    for name in runs.keys() - {section.baseline} if section.baseline in runs else ():
        improvement = estimate(statistics.probability_of_improvement, runs[name], runs[section.baseline])
        aggregates[name][section.improvement] = improvement
    return replace(section, aggregates=aggregates)
