"""The figures of a comparison or a sweep, as a paper would print them."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from agents.evaluation import statistics
from agents.evaluation.statistics import Interval
from agents.files import write_atomically
from recipes.reporting import styles
from recipes.reporting.images import INK, plt, to_image
from recipes.reporting.results import ESTIMATE, STATISTICS, Section
from recipes.reporting.tables import DATA

ROUND = (1, 2, 2.5, 5, 10)  # steps between the numbers of an axis
WIDTH = 6.75  # inches: the text of a page with two columns
NARROW = 3.9  # inches: a telephone
FORMATS = ("png", "pdf", "svg")
STYLE: dict[Any, Any] = {
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "savefig.dpi": 200,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    "lines.markersize": 3.2,
    "svg.hashsalt": "figures",  # the same figure is the same file
    "pdf.fonttype": 42,  # letters stay letters: many a venue refuses the default
}


def draw(section: Section, folder: Path, *, num_resamples: int, each_seed: bool = False) -> list[str]:
    """Write all figures of a section, and as SVG also those for a narrow screen; returns the names of the images."""
    options = {"each_seed": each_seed}
    with plt.rc_context(STYLE):
        drawings: dict[str, Figure] = {}
        if section.measure is not ESTIMATE:  # of which a run has one, after its last update
            drawings |= {"curves": curves(section, **options), "curves_narrow": curves(section, narrow=True, **options)}
            if any(cell.minutes is not None for cell in section.cells.values()):
                drawings |= {"clock": curves(section, clock=True, **options)}
                drawings |= {"clock_narrow": curves(section, clock=True, narrow=True, **options)}
        if section.aggregates:
            drawings |= {"intervals": intervals(section), "intervals_narrow": intervals(section, narrow=True)}
            drawings |= {"profiles": profiles(section, num_resamples=num_resamples)}
            drawings |= {"profiles_narrow": profiles(section, num_resamples=num_resamples, narrow=True)}
        for name, figure in drawings.items():
            for kind in ("svg",) if name.endswith("_narrow") else FORMATS:
                file = f"{name.removesuffix('_narrow')}_{section.measure.name}{'_narrow' * name.endswith('_narrow')}"
                write_atomically(folder / f"{file}.{kind}", to_image(figure, kind, close=False))
            plt.close(figure)
    return [f"{name}_{section.measure.name}.png" for name in drawings if not name.endswith("_narrow")]


def curves(section: Section, *, narrow: bool = False, clock: bool = False, each_seed: bool = False) -> Figure:
    """Score over gradient steps, a panel per dataset: mean over seeds, a band of one standard error, and the data's.

    Args:
        clock: over minutes instead, of the runs that know them.
        each_seed: a thin line per seed instead of the band.
    """
    number = len(section.datasets)
    columns = 1 if narrow else 2 if number == 4 else min(4 if number > 6 else 3, number)
    rows = math.ceil(number / columns)
    size = (NARROW if columns == 1 else WIDTH, 0.45 + rows * (1.55 if columns > 2 else 1.9))
    figure, grid = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, sharex=not clock)
    for axes, dataset in zip(grid.flat, section.datasets):
        for algorithm in section.algorithms:
            if (cell := section.cells.get((dataset, algorithm))) is None:
                continue
            if (x := cell.minutes if clock else cell.steps) is None:
                continue
            mean, style, every = cell.scores.mean(0), styles.line(algorithm), max(1, len(x) // 8)
            axes.plot(x, mean, label=algorithm, markevery=every, **style)
            if each_seed:
                axes.plot(x, cell.scores.T, color=style["color"], linewidth=0.5, alpha=0.6)
            elif len(cell.scores) > 1:
                error = cell.scores.std(0, ddof=1) / np.sqrt(len(cell.scores))
                band = {"color": style["color"], "alpha": 0.15, "linewidth": 0}
                axes.fill_between(x, mean - error, mean + error, **band)
        if dataset in section.data:
            axes.axhline(section.data[dataset], label=DATA, color="0.35", linestyle="--", linewidth=0.9, zorder=1)
        axes.set_title(dataset)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=ROUND, integer=not clock))
        if not clock:  # where 50m would not be milliminutes to a reader
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 10k, 1M
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
        axes.grid(alpha=0.25, linewidth=0.5)
    for index, axes in enumerate(grid.flat):
        axes.set_visible(index < number)
        if index + columns >= number:  # the lowest of its column
            axes.set_xlabel("minutes" if clock else "gradient steps")
            axes.tick_params(labelbottom=True)
        if index % columns == 0:
            axes.set_ylabel(section.measure.title)
    _legend(figure, section, figure.axes)
    return figure


def intervals(section: Section, *, narrow: bool = False) -> Figure:
    """Every statistic over datasets, a panel each: the estimate as a line across its 95 % interval."""
    known = {name for estimates in section.aggregates.values() for name in estimates}
    names = [name for name in (*STATISTICS, section.improvement) if name in known]
    algorithms = [*section.aggregates]
    height = 0.65 + 0.21 * len(algorithms)
    size, shape = ((NARROW, height * len(names)), (len(names), 1)) if narrow else ((WIDTH, height), (1, len(names)))
    figure, grid = plt.subplots(*shape, figsize=size, layout="constrained", squeeze=False, sharey=True)
    for axes, name in zip(grid.flat, names):
        for place, algorithm in enumerate(algorithms):
            if name in section.aggregates[algorithm]:
                _interval(axes, place, section.aggregates[algorithm][name], styles.color(algorithm))
        axes.set(title=name, xlabel=section.measure.title)
        axes.margins(x=0.08)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=ROUND))
        if name == section.improvement:
            axes.axvline(0.5, color="0.3", linestyle="--", linewidth=0.8)
            axes.set(xlabel="probability", xlim=(-0.04, 1.04), xticks=(0.0, 0.5, 1.0))
        axes.grid(axis="x", alpha=0.25, linewidth=0.5)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    for axes in grid[:, 0]:
        axes.set_yticks(range(len(algorithms)), algorithms)
    grid.flat[0].set_ylim(len(algorithms) - 0.5, -0.5)
    return figure


def profiles(section: Section, *, num_resamples: int, narrow: bool = False) -> Figure:
    """Share of runs above a score, over all scores, with pointwise 95 % bands."""
    scores = np.concatenate([np.concatenate(section.runs(algorithm)) for algorithm in section.aggregates])
    thresholds = np.linspace(min(0.0, scores.min()), max(100.0, scores.max()), 201)
    profile = functools.partial(statistics.performance_profile, thresholds=thresholds)
    size = (NARROW if narrow else 0.6 * WIDTH, 2.6)
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    for algorithm in section.aggregates:
        shares = statistics.estimate(profile, section.runs(algorithm), num_resamples=num_resamples)
        style = styles.line(algorithm)
        axes.plot(thresholds, shares.value, drawstyle="steps-post", label=algorithm, markevery=25, **style)
        band = {"step": "post", "color": style["color"], "alpha": 0.12, "linewidth": 0}
        axes.fill_between(thresholds, shares.low, shares.high, **band)
    axes.set(xlabel=f"{section.measure.title} τ", ylabel="share of runs above τ")
    axes.set(xlim=(thresholds[0], thresholds[-1]), ylim=(-0.02, 1.02))
    axes.grid(alpha=0.25, linewidth=0.5)
    _legend(figure, section, [axes])
    return figure


def draw_trials(path: Path, settings: Mapping[str, Sequence[Any]], scores: Sequence[float], **options: Any) -> None:
    """Write :func:`trials` as PNG and SVG, and as SVG also for a narrow screen."""
    with plt.rc_context(STYLE):
        wide, narrow = (trials(settings, scores, narrow=narrow, **options) for narrow in (False, True))
        write_atomically(path, to_image(wide, close=False))
        write_atomically(path.with_suffix(".svg"), to_image(wide, "svg"))
        write_atomically(path.with_name(f"{path.stem}_narrow.svg"), to_image(narrow, "svg"))


def trials(
    settings: Mapping[str, Sequence[Any]],
    scores: Sequence[float],
    *,
    log: Collection[str],
    ylabel: str,
    narrow: bool = False,
) -> Figure:
    """Scores of a sweep's trials over each of its settings, a panel each, with means where values are few.

    ``settings`` has each trial's value by the setting's name; the first trial, which is the best, stands out; the
    settings named in ``log`` have a logarithmic axis.
    """
    columns = 1 if narrow else min(3, len(settings))
    rows = math.ceil(len(settings) / columns)
    size = (NARROW if narrow else WIDTH * max(columns, 1.8) / 3, 0.2 + 1.9 * rows)
    figure, grid = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, sharey=True)
    for index, axes in enumerate(grid.flat):
        axes.set_visible(index < len(settings))
        axes.set_ylabel(ylabel if index % columns == 0 else "")
    for axes, (name, values) in zip(grid.flat, settings.items()):
        _scatter(axes, values, np.asarray(scores))
        axes.set_xlabel(name)
        if name in log:
            axes.set_xscale("log")
    return figure


def _scatter(axes: Axes, values: Sequence[Any], scores: np.ndarray) -> None:
    places, labels = _places(values)
    axes.scatter(places, scores, s=14, color=styles.COLORS[0], alpha=0.7, linewidth=0)
    axes.scatter(places[0], scores[0], s=50, facecolor="none", edgecolor=styles.COLORS[1], linewidth=1.3)
    if labels:
        shared = sorted({*places})
        axes.plot(shared, [scores[places == place].mean() for place in shared], color="0.6", zorder=0)
        axes.set_xticks(range(len(labels)), labels)
        axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.grid(alpha=0.25, linewidth=0.5)


def _places(values: Sequence[Any]) -> tuple[np.ndarray, list[str]]:
    """Where values stand on an axis: numbers of a range at themselves, a few values side by side with their names."""
    known = list(dict.fromkeys(map(str, values)))
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    if numbers and len(known) > 8:
        return np.array(values, float), []
    known = sorted(known, key=float) if numbers else sorted(known)
    return np.array([known.index(str(value)) for value in values]), known


def _interval(axes: Axes, place: int, estimate: Interval, color: str) -> None:
    if not math.isnan(estimate.low):
        (bar,) = axes.barh(place, estimate.high - estimate.low, left=estimate.low, height=0.6, color=color, alpha=0.6)
        bar.sticky_edges.x.clear()  # else the axis ends where the bar does
    axes.plot([estimate.value] * 2, [place - 0.3, place + 0.3], color=INK, linewidth=1.5, solid_capstyle="butt")


def _legend(figure: Figure, section: Section, all_axes: list[Axes]) -> None:
    """One for all panels, below them, in the order of the table."""
    lines = {line.get_label(): line for axes in all_axes for line in axes.lines}
    names = [name for name in (*section.algorithms, DATA) if name in lines]
    ncols = min(len(names), int(figure.get_figwidth() / 1.3))  # inches for a name
    figure.legend([lines[name] for name in names], names, loc="outside lower center", ncols=ncols, handlelength=3.2)
