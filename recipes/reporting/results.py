"""What a comparison found: the last evaluation of every run, in one table per score protocol.

A dataset can have two scores, D4RL's and Minari's, which are never mixed: each has a section with its own table and
its own statistics over datasets. Datasets without any score are in a section of returns, which has no statistics, since
returns of different tasks have nothing in common.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.evaluation import statistics
from agents.evaluation.statistics import Estimate
from recipes.reporting.published_scores import published

Curves = Mapping[tuple[str, str, int], Sequence[Mapping[str, float]]]
"""Rows of evaluations.csv of every finished run, by dataset, algorithm and seed."""
Data = Mapping[str, Mapping[str, float]]
"""What is known of the recorded episodes by dataset: means as :func:`agents.metrics.data` gives them."""


@dataclass(frozen=True)
class Protocol:
    """A way to score an episode."""

    name: str
    title: str
    key: str  # column of evaluations.csv

    @property
    def data_key(self) -> str:
        """The same of the recorded episodes."""
        return self.key.replace("eval/", "data/")


D4RL = Protocol("d4rl", "D4RL score", "eval/d4rl_score")
MINARI = Protocol("minari", "Minari score", "eval/minari_score")
RETURN = Protocol("return", "Return", "eval/return")
STATISTICS: dict[str, Callable[..., Any]] = {
    "mean": statistics.mean,
    "IQM": statistics.iqm,
    "optimality gap": statistics.optimality_gap,
}


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
    """All about one protocol.

    Attributes:
        curves: steps ``[P]`` and scores ``[S, P]`` of the evaluations, by dataset and algorithm.
        data: mean over the recorded episodes, by dataset, where it is known.
        aggregates: statistics over all of the section's datasets, by algorithm and name of the statistic.
        notes: what a reader has to know, a line each.
    """

    protocol: Protocol
    algorithms: Sequence[str]
    datasets: Sequence[str]
    baseline: str
    cells: Mapping[tuple[str, str], Cell]
    curves: Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]]
    data: Mapping[str, float]
    aggregates: Mapping[str, Mapping[str, Estimate]]
    notes: Sequence[str]

    @property
    def improvement(self) -> str:
        """Name of the statistic that compares with the baseline."""
        return f"P(better than {self.baseline})"

    def runs(self, algorithm: str) -> list[list[float]]:
        """Scores by dataset and seed, as :mod:`agents.statistics` takes them."""
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
    known = {protocol: _datasets_with(protocol, curves, datasets) for protocol in (D4RL, MINARI)}
    scored = {dataset for own in known.values() for dataset in own}
    known[RETURN] = [dataset for dataset in _datasets_with(RETURN, curves, datasets) if dataset not in scored]
    made = []
    for protocol, own in known.items():
        if own:
            cells, lines = _cells(protocol, curves, algorithms, own), {}
            for dataset, algorithm in cells:
                lines[dataset, algorithm] = _curve(protocol, curves, dataset, algorithm)
            notes = _notes(protocol, curves, cells, algorithms, own, datasets, len(seeds))
            means = {name: data[name][protocol.data_key] for name in own if protocol.data_key in data.get(name, {})}
            section = Section(protocol, algorithms, own, baseline, cells, lines, means, {}, notes)
            made.append(section if protocol is RETURN else _with_aggregates(section, num_resamples))
    return made


def _datasets_with(protocol: Protocol, curves: Curves, datasets: Sequence[str]) -> list[str]:
    """Datasets of which every finished run has the score."""
    found = []
    for dataset in datasets:
        rows = [rows[-1] for (name, _, _), rows in curves.items() if name == dataset]
        if rows and all(protocol.key in row for row in rows):
            found.append(dataset)
    return found


def _cells(
    protocol: Protocol, curves: Curves, algorithms: Sequence[str], datasets: Sequence[str]
) -> dict[tuple[str, str], Cell]:
    cells = {}
    for dataset in datasets:
        for algorithm in algorithms:
            runs = {key[2]: rows for key, rows in curves.items() if key[:2] == (dataset, algorithm)}
            if runs:
                scores = {seed: rows[-1][protocol.key] for seed, rows in sorted(runs.items())}
                other = published(dataset, algorithm) if protocol is D4RL else None
                cells[dataset, algorithm] = Cell(scores, other)
    return cells


def _curve(protocol: Protocol, curves: Curves, dataset: str, algorithm: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps at which all seeds were evaluated, ``[P]``, and the scores there, ``[S, P]``."""
    runs = [
        {row["step"]: row[protocol.key] for row in rows if protocol.key in row}
        for key, rows in curves.items()
        if key[:2] == (dataset, algorithm)
    ]
    steps = sorted(set.intersection(*map(set, runs)))
    return np.array(steps), np.array([[run[step] for step in steps] for run in runs])


def _notes(
    protocol: Protocol,
    curves: Curves,
    cells: Mapping[tuple[str, str], Cell],
    algorithms: Sequence[str],
    datasets: Sequence[str],
    wanted: Sequence[str],
    num_seeds: int,
) -> list[str]:
    notes = []
    finished = {dataset for dataset, _, _ in curves}
    if missing := [dataset for dataset in wanted if dataset not in finished]:
        notes.append(f"No run has finished on {', '.join(missing)}.")
    if others := [dataset for dataset in wanted if dataset in finished and dataset not in datasets]:
        if protocol is RETURN:
            notes.append("These datasets have no normalised score: they are in no statistic over datasets.")
        else:
            notes.append(f"Without a {protocol.title}, and so left out of this section: {', '.join(others)}.")
    elif protocol is RETURN:
        notes.append("No dataset has a normalised score: there are no statistics over datasets.")
    for dataset in datasets:
        for algorithm in algorithms:
            found = len(cells[dataset, algorithm].seeds) if (dataset, algorithm) in cells else 0
            if found < num_seeds:
                notes.append(f"{algorithm} on {dataset}: {found} of {num_seeds} seeds.")
    if protocol is not RETURN:
        absent = [name for name in algorithms if any((dataset, name) not in cells for dataset in datasets)]
        if absent:
            notes.append(f"Not on every dataset, and so in no statistic over datasets: {', '.join(absent)}.")
    return notes


def _with_aggregates(section: Section, num_resamples: int) -> Section:
    def estimate(statistic: Callable[..., Any], *runs: Any) -> Estimate:
        return statistics.estimate(statistic, *runs, num_resamples=num_resamples)

    complete = [
        name for name in section.algorithms if all((dataset, name) in section.cells for dataset in section.datasets)
    ]
    aggregates = {}
    for name in complete:
        runs = section.runs(name)
        aggregates[name] = {title: estimate(statistic, runs) for title, statistic in STATISTICS.items()}
        if section.baseline in complete and name != section.baseline:
            baseline = section.runs(section.baseline)
            aggregates[name][section.improvement] = estimate(statistics.probability_of_improvement, runs, baseline)
    return Section(**{**vars(section), "aggregates": aggregates})
