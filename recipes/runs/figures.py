"""Figures of a run: its evaluations, its training, and the episodes of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray

from agents.evaluation.rollouts import EvalResult
from agents.files import write_atomically
from recipes.reporting.images import literal, plt, to_image, whole_numbers
from recipes.runs.console import spread


def returns_page(
    rows: Sequence[Mapping[str, str]],
    random: NDArray[np.float64],
    data_mean: float | None,
    *,
    algorithm: str,
    title: str,
) -> bytes:
    """Average episode reward of evaluations.csv over gradient steps, beside a random policy and the dataset's mean.

    Of a run that went online, the steps in the environment follow those until the switch, which is marked.
    """
    steps, switch = _axis(rows)
    mean, std = (np.array([float(row[key]) for row in rows]) for key in ("eval/return", "eval/return_std"))
    error = std / np.sqrt(len(random))
    figure, axes = plt.subplots(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes.plot(steps, mean, marker="o", markersize=3.5, color="C0", label=algorithm)
    axes.fill_between(steps, mean - error, mean + error, color="C0", alpha=0.2, linewidth=0)
    if data_mean is not None:
        axes.axhline(data_mean, color="C2", linestyle="--", linewidth=1.2, label="mean of the dataset")
    axes.axhline(random.mean(), color="C3", linestyle=":", linewidth=1.5, label="random policy")
    if switch is not None:
        axes.axvline(switch, color="0.4", linewidth=1.0, label="from here on online")
    ylabel = f"average episode reward ({len(random)} episodes)"
    xlabel = "gradient steps" if switch is None else "gradient steps, then steps in the environment"
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    columns = 3 if switch is None else 2
    figure.legend(frameon=False, loc="outside lower center", ncols=columns)  # on the axes it would hide a line
    return to_image(figure)


def estimates_page(rows: Sequence[Mapping[str, str]], own_return: float, *, algorithm: str, title: str) -> bytes:
    """``estimate/fqe`` of evaluations.csv over gradient steps with its interval, beside the data's own return."""
    steps = [int(row["step"]) for row in rows]
    ends = ("estimate/fqe", "estimate/fqe_low", "estimate/fqe_high")
    value, low, high = (np.array([float(row.get(key) or "nan") for row in rows]) for key in ends)
    nothing = np.array([float(row["estimate/means_nothing"]) > 0.0 for row in rows])
    figure, axes = plt.subplots(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes.plot(steps, value, color="C0", label=f"{algorithm}, fitted Q evaluation")
    axes.fill_between(steps, low, high, color="C0", alpha=0.2, linewidth=0, label="90 % interval")
    for chosen, face in ((~nothing, "C0"), (nothing, "white")):
        label = "means nothing" if face == "white" and chosen.any() else None
        points = np.array(steps)[chosen], value[chosen]
        axes.plot(*points, "o", markersize=4, color="C0", markerfacecolor=face, label=label)
    axes.axhline(own_return, color="C2", linestyle="--", linewidth=1.2, label="the data's own return")
    axes.set(title=title, xlabel="gradient steps", ylabel="discounted return, estimated: no score")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    return to_image(figure)


def _axis(rows: Sequence[Mapping[str, str]]) -> tuple[NDArray[np.int64], int | None]:
    """Where each row of evaluations.csv stands, and the switch to the environment, if there was one."""
    steps = np.array([int(row["step"]) for row in rows])
    if "phase" not in rows[-1]:
        return steps, None
    online = np.array([float(row["phase"]) > 0.0 for row in rows])
    if online.all():
        return np.array([int(float(row["env_step"])) for row in rows]), 0
    switch = steps[~online].max()
    return np.where(online, switch + np.array([float(row["env_step"]) for row in rows]), steps), int(switch)


def training_page(rows: Sequence[Mapping[str, str]], title: str) -> bytes:
    """Every ``train/*`` and ``validation/*`` column of metrics.csv and the speed over gradient steps, as a PNG.

    A panel each, but what both prefixes have is drawn in one: how far they are apart is what one looks for. Of a run
    that went online there is the return of the collected episodes too, and the switch is marked.
    """
    learned = [key for key in rows[0] if key.startswith("train/")]
    held_out = {key.replace("validation/", "train/"): key for key in rows[0] if key.startswith("validation/")}
    keys = [*learned, *(key for twin, key in held_out.items() if twin not in learned)]
    keys += [key for key in rows[0] if key in ("online/episode_return", "time/updates_per_second")]
    offline = [int(row["step"]) for row in rows if not row.get("online/env_step")]
    switch = offline[-1] if offline and "online/env_step" in rows[0] else None
    columns = min(4, len(keys))
    lines = math.ceil(len(keys) / columns)
    width, height = 2.75 * columns, 0.8 + 1.9 * lines  # inches
    # not by a layout engine, which takes longer than the drawing: this is done while a run waits
    edges = {"left": 0.6 / width, "right": 1 - 0.2 / width, "top": 1 - 0.65 / height, "bottom": 0.55 / height}
    spaces = {**edges, "wspace": 0.3, "hspace": 0.4}
    figure, grid = plt.subplots(lines, columns, figsize=(width, height), dpi=100, squeeze=False, gridspec_kw=spaces)
    for axes, key in zip(grid.flat, keys):
        for own, label in ((key, None), (held_out.get(key, ""), "held out")):
            # a column may begin later than the others, or have fewer points
            points = [(int(row["step"]), float(row[own])) for row in rows if row.get(own)]
            if points:
                marker = "." if len(points) < 30 else ""
                axes.plot(*zip(*points), linewidth=1.0, marker=marker, label=label)
        if key in held_out:
            axes.legend(frameon=False, fontsize=7)
        if switch is not None:
            axes.axvline(switch, color="0.4", linewidth=1.0)
        axes.set_title(key, fontsize=9)
        axes.set_xlim(0, int(rows[-1]["step"]))
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid.flat[len(keys) :]:
        axes.set_visible(False)
    figure.suptitle(title if switch is None else f"{title}, online behind the grey line", fontsize=11)
    figure.supxlabel("gradient steps", fontsize=9)
    return to_image(figure)


def plot_episodes(path: Path, evaluations: Mapping[str, EvalResult], *, title: str) -> None:
    """Distribution of the episodes' returns, one histogram per policy on the same bins; written atomically."""
    returns = [result.returns for result in evaluations.values()]
    bins = np.histogram_bin_edges(np.concatenate(returns), bins=30).tolist()
    figure, axes = plt.subplots(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    for color, (name, values) in zip(("C0", "C3"), zip(evaluations, returns)):
        axes.hist(values, bins, alpha=0.6, color=color, label=f"{literal(name)}: {spread(values)}")
    whole_numbers(axes.yaxis)
    axes.set(title=literal(title), xlabel="episode reward", ylabel=f"episodes (of {len(returns[0])})")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    write_atomically(path, to_image(figure))
