"""The page of plots that goes with a dataset's card."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from agents.data.contents import Inspection
from recipes.dataset_card.finding import counted
from recipes.dataset_card.verdict import Quality
from recipes.reporting.images import plt, to_image, whole_numbers

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#D55E00", "#009E73", "#B2182B", "0.55"
STYLE: dict[Any, Any] = {
    "font.size": 8.0,
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "axes.titlepad": 17.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "savefig.dpi": 140,
}


def page(inspection: Inspection, quality: Quality | None) -> bytes:
    """All panels as a PNG."""
    with plt.rc_context(STYLE), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of panels that have nothing finite to draw
        engine = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08, wspace=0.04, hspace=0.06)
        figure, grid = plt.subplots(3, 3, figsize=(11.0, 9.2), layout=engine)
        first, *others = grid.flat
        _returns(first, quality)
        for axes, panel in zip(others, PANELS):
            panel(axes, inspection)
        for axes in others[-3:]:  # over dimensions or actions
            whole_numbers(axes.xaxis)
        counts = f"{counted(inspection.num_episodes, 'episode')}, {counted(inspection.num_steps, 'step')}"
        figure.suptitle(f"{inspection.source.id}: {counts}", x=0.012, ha="left", fontsize=11, fontweight="bold")
        return to_image(figure)


def _returns(axes: Axes, quality: Quality | None) -> None:
    axes.set(title="Returns", xlabel="return of an episode", ylabel="episodes")
    if quality is None:
        return
    good, bins = quality.good, np.histogram_bin_edges(quality.returns, bins=40).tolist()
    parts = [quality.returns[good], quality.returns[~good]]
    labels = [f"good: {good.sum()}", f"other: {(~good).sum()}"]
    axes.hist(parts, bins, stacked=True, color=[GREEN, GREY], label=labels)
    axes.axvline(quality.returns.mean(), color=BLUE, linestyle="--", linewidth=1.2, label="mean")
    axes.axvline(quality.threshold, color=ORANGE, linestyle=":", linewidth=1.4, label="threshold")
    _legend_above(axes)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(5))  # more would touch one another


def _order(axes: Axes, inspection: Inspection) -> None:
    axes.set(title="In the order of the dataset", xlabel="episode", ylabel="return")
    index, returns, success = np.arange(inspection.num_episodes), inspection.returns, inspection.success
    if success is None:
        axes.plot(index, returns, ".", markersize=3, color=BLUE)
        return
    for label, members, color in (("success", success, GREEN), ("no success", ~success, GREY)):
        axes.plot(index[members], returns[members], ".", markersize=3, color=color, label=label)
    _legend_above(axes)


def _lengths(axes: Axes, inspection: Inspection) -> None:
    axes.set(title="Lengths", xlabel="steps of an episode", ylabel="episodes")
    lengths = inspection.lengths
    equal = bool(np.ptp(lengths) == 0)
    axes.hist(lengths, bins=[0.98 * lengths[0], 1.02 * lengths[0]] if equal else 40, color=BLUE)
    if equal:
        axes.set_xlim(0, 1.25 * lengths[0])
    if inspection.horizon is not None:
        axes.axvline(inspection.horizon, color=ORANGE, linestyle=":", linewidth=1.4, label="end of an evaluation")
        _legend_above(axes)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))


def _rewards(axes: Axes, inspection: Inspection) -> None:
    axes.set(title="Rewards", xlabel="reward of a step", ylabel="steps (logarithmic)")
    axes.hist(inspection.rewards[np.isfinite(inspection.rewards)], bins=60, color=BLUE)
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.8)  # a single step is to be seen


def _over_time(axes: Axes, inspection: Inspection) -> None:
    """Mean and tenths of the rewards at each step, or few steps, over the episodes that last so long."""
    axes.set(title="Reward along an episode", xlabel="step", ylabel="reward")
    width = -(-inspection.lengths.max() // 200)  # in steps: every reward is in some piece
    piece = np.concatenate([np.arange(length) // width for length in inspection.lengths])
    pieces = np.split(inspection.rewards[np.argsort(piece, kind="stable")], np.cumsum(np.bincount(piece))[:-1])
    starts = width * np.arange(len(pieces))
    low, high = (np.array([np.nanquantile(values, share) for values in pieces]) for share in (0.1, 0.9))
    axes.fill_between(starts, low, high, color=BLUE, alpha=0.2, linewidth=0, label="middle 80 %")
    axes.plot(starts, [np.nanmean(values) for values in pieces], color=BLUE, linewidth=1.3, label="mean")
    _legend_above(axes)


def _map(axes: Axes, inspection: Inspection) -> None:
    """Sampled observations in their two directions of largest spread, by the return of their episode."""
    axes.set(title="Observations, two main directions", xlabel="first", ylabel="second")
    values = np.asarray(inspection.sample.observations, dtype=np.float64)
    finite = np.isfinite(values).all(1) & np.isfinite(inspection.returns[inspection.sample.episodes])
    values, returns = values[finite], inspection.returns[inspection.sample.episodes[finite]]
    std = values.std(0)
    if len(values) < 3 or (std > 0).sum() < 2:
        axes.text(0.5, 0.5, "too little to draw", ha="center", transform=axes.transAxes)
        return
    deviations = (values - values.mean(0))[:, std > 0] / std[std > 0]
    _, spread, directions = np.linalg.svd(deviations[:: max(1, len(deviations) // 5000)], full_matrices=False)
    places = deviations @ directions[:2].T
    order = np.argsort(returns, kind="stable")  # good ones on top
    dots = axes.scatter(*places[order].T, c=returns[order], s=1.5, cmap="viridis", linewidths=0, rasterized=True)
    axes.figure.colorbar(dots, ax=axes, label="return", pad=0.02)
    share = (spread[:2] ** 2).sum() / (spread**2).sum()
    axes.set_title(f"Observations: two directions, {100 * share:.0f} % of the variance")
    axes.set(xlabel="first, in standard deviations", ylabel="second")


def _action_values(axes: Axes, inspection: Inspection) -> None:
    actions = inspection.actions
    if actions.counts is not None:
        axes.set(title="Actions", xlabel="action", ylabel="share of the steps")
        shares = np.array([*actions.counts.values()]) / inspection.num_steps
        axes.bar(range(len(shares)), shares, color=BLUE)
        _name_bars(axes, [*actions.counts])
        return
    axes.set(title="Actions: middle half and 98 % by dimension", xlabel="dimension", ylabel="action")
    least, low, median, high, most = np.nanquantile(inspection.sample.actions, (0.01, 0.25, 0.5, 0.75, 0.99), axis=0)
    index = np.arange(len(median))
    axes.vlines(index, least, most, color=BLUE, linewidth=0.8)
    axes.bar(index, high - low, bottom=low, width=0.6, color=BLUE, alpha=0.5)
    axes.plot(index, median, "_", color="black", markersize=4)
    for bound in filter(np.isfinite, actions.common_bounds or ()):
        axes.axhline(bound, color=ORANGE, linestyle=":", linewidth=1.2)


def _name_bars(axes: Axes, names: list[str]) -> None:
    """At most a dozen names below the bars."""
    places = range(0, len(names), -(-len(names) // 12))
    axes.set_xticks(places, [names[place] for place in places])


def _action_bounds(axes: Axes, inspection: Inspection) -> None:
    actions = inspection.actions
    if actions.counts is not None:
        sample, categories = inspection.sample, inspection.source.actions.categories
        places = [(part, index) for part, count in enumerate(categories) for index in range(count)]
        returns = [inspection.returns[sample.episodes[sample.actions[:, part] == index]] for part, index in places]
        axes.set(title="Return of the episodes where it was taken", xlabel="action", ylabel="mean return")
        axes.bar(range(len(returns)), [float(np.nanmean(r)) if len(r) else 0.0 for r in returns], color=BLUE)
        _name_bars(axes, [*actions.counts])
        return
    index = np.arange(len(actions.low))
    axes.set(title="Actions at a bound", xlabel="dimension", ylabel="share of the steps, %")
    axes.bar(index, 100 * actions.at_high, color=ORANGE, label="upper")
    axes.bar(index, 100 * actions.at_low, bottom=100 * actions.at_high, color=BLUE, label="lower")
    if not (actions.at_high + actions.at_low).any():
        axes.set_ylim(0, 1)
    _legend_above(axes)


def _observation_spread(axes: Axes, inspection: Inspection) -> None:
    std, constant = inspection.observations.std, inspection.observations.constant
    index = np.arange(len(std))
    axes.set(title="Observations: spread by dimension", xlabel="dimension", ylabel="standard deviation")
    axes.plot(index[~constant], std[~constant], "o", markersize=3, color=BLUE)
    if (std[~constant] > 0).any():
        axes.set_yscale("log")
        subs = (1.0, 2.0, 5.0) if std.max() < 100 * std[~constant].min() else (1.0,)
        axes.yaxis.set_major_locator(LogLocator(subs=subs))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    if constant.any():
        levels = np.full(constant.sum(), 0.02)  # at the lower edge: zero has no place on a logarithmic axis
        axes.plot(index[constant], levels, "x", transform=axes.get_xaxis_transform(), color=RED, label="constant")
        _legend_above(axes)


PANELS: tuple[Callable[[Axes, Inspection], None], ...] = (  # all but the first, in the order of the page
    _order, _lengths, _rewards, _over_time, _map, _action_values, _action_bounds, _observation_spread
)  # fmt: skip


def _legend_above(axes: Axes) -> None:
    """A legend between the title and the axes, where it hides no data."""
    spaces = {"handlelength": 1.1, "handletextpad": 0.5, "columnspacing": 0.9}
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 0.985), ncols=4, **spaces)
