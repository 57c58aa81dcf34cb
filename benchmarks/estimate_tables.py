"""The tables and the figure of ``estimates.py``.

Shapes: ``L`` logs, ``P`` policies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

matplotlib.use("Agg")
import matplotlib.pyplot as plt

NUM_RESAMPLES = 1_000
FEWEST = 4  # policies, below which a rank correlation says nothing
Array = NDArray[np.float64]


def ranks(values: Array) -> Array:
    """Of the last axis, equal ones in the middle of theirs."""
    below = (values[..., None, :] < values[..., :, None]).sum(-1)
    return below + 0.5 * (values[..., None, :] == values[..., :, None]).sum(-1)


def spearman(value: Array, truth: Array) -> Array:
    """``[L, P] -> [L]``; NaN where all are the same."""
    first, second = (each - each.mean(-1, keepdims=True) for each in (ranks(value), ranks(truth)))
    with np.errstate(invalid="ignore"):
        return (first * second).sum(-1) / np.sqrt((first**2).sum(-1) * (second**2).sum(-1))


def regret(value: Array, truth: Array, k: int) -> Array:
    """How far the best of the k that are estimated highest is below the best, over the range of truths, ``[L]``."""
    chosen = np.take_along_axis(truth, (-value).argsort(-1)[:, :k], -1).max(-1)
    return (truth.max(-1) - chosen) / np.maximum(np.ptp(truth, axis=-1), 1e-12)


def better_half(value: Array, truth: Array) -> Array:
    best = (-truth).argsort(-1)[:, : -(-truth.shape[1] // 2)]
    return spearman(*(np.take_along_axis(each, best, -1) for each in (value, truth)))


def with_interval(statistic: Callable[..., Array], *arrays: Array) -> str:
    """The mean over logs, and 95 % of what it is with policies drawn again."""
    rng, number = np.random.default_rng(0), arrays[0].shape[1]
    value = np.nanmean(statistic(*arrays))
    draws = []
    for _ in range(NUM_RESAMPLES if number >= FEWEST else 0):
        drawn = rng.integers(number, size=number)
        if len({*drawn.tolist()}) >= FEWEST:
            found = statistic(*(each[:, drawn] for each in arrays))
            draws += [found[np.isfinite(found)].mean()] if np.isfinite(found).any() else []
    if not draws:
        return f"{value:.3g}"
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def arrays(results: dict[str, Any], estimator: str) -> dict[str, Array]:
    """``[L, P]`` each, of the policies that the estimator values on all logs."""
    logs = [[row for row in log["rows"] if row["estimator"] == estimator] for log in results.values()]
    logs = [log for log in logs if log]
    if not logs:
        return {}
    names = [row["policy"] for row in logs[0] if all(row["policy"] in {r["policy"] for r in log} for log in logs)]
    by_name = [{row["policy"]: row for row in log} for log in logs]
    numbers = {
        key: np.array([[log[name][key] for name in names] for log in by_name])
        for key in ("value", "low", "high", "truth")
    }
    return {
        **numbers,
        "trusted": np.array([[log[name]["verdict"] != "means nothing" for name in names] for log in by_name]),
    }


def row(task: str, results: dict[str, Any], estimator: str) -> list[str] | None:
    found = arrays(results, estimator)
    if not found:
        return None
    value, truth, low, high = (found[key] for key in ("value", "truth", "low", "high"))
    num_logs, number = value.shape
    extent = np.ptp(truth, axis=-1).mean()
    many = number >= FEWEST
    held = (low <= truth) & (truth <= high)
    seconds = np.mean([log["seconds"][estimator] for log in results.values() if estimator in log["seconds"]])
    return [
        task,
        estimator,
        f"{num_logs} x {number}",
        with_interval(spearman, value, truth) if many else "-",
        with_interval(better_half, value, truth) if many else "-",
        with_interval(lambda v, t: regret(v, t, 1), value, truth) if many else "-",
        with_interval(lambda v, t: regret(v, t, 5), value, truth) if number > 5 else "-",
        with_interval(lambda v, t: np.abs(v - t).mean(-1) / extent, value, truth),
        f"{held.mean():.0%}",
        f"{(high - low).mean() / extent:.2f}",
        of_believed(value, truth, held, (high - low) / extent, found["trusted"].astype(bool)),
        f"{seconds:.1f}",
    ]


def of_believed(value: Array, truth: Array, held: NDArray[np.bool_], width: Array, trusted: NDArray[np.bool_]) -> str:
    """How many the verdict does not refute, and of these rank correlation, intervals that hold the truth and width."""
    if not trusted.any():
        return "none"
    logs = [(v[t][None], true[t][None]) for v, true, t in zip(value, truth, trusted) if t.sum() >= FEWEST]
    correlation = f", {np.nanmean([spearman(*log) for log in logs]):.2f}" if logs else ""
    return f"{trusted.mean():.0%}{correlation}, {held[trusted].mean():.0%}, {width[trusted].mean():.2f}"


HEAD = ("task", "estimator", "logs x policies", "rank correlation", "in the better half", "regret@1", "regret@5",
        "error", "90 % intervals that hold the truth", "width",
        "not refuted: share, rank correlation, intervals, width", "seconds")  # fmt: skip


def write(folder: Path, tasks: Sequence[str]) -> None:
    files = {task: folder / f"{task}.json" for task in tasks}
    results = {task: json.loads(file.read_text()) for task, file in files.items() if file.exists()}
    rows = [
        cells
        for task, own in results.items()
        for estimator in ("fqe", "wis", "is", "dr")
        if (cells := row(task, own, estimator)) is not None
    ]
    lines = [f"| {' | '.join(cells)} |" for cells in (HEAD, ["---"] * len(HEAD), *rows)]
    (folder / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    figure, axes = plt.subplots(1, len(results), figsize=(3.4 * len(results), 3.4), squeeze=False, layout="constrained")
    for axis, (task, own) in zip(axes[0], results.items()):
        found = arrays(own, "fqe")
        value, truth, low, high = (found[key][:3] for key in ("value", "truth", "low", "high"))
        axis.errorbar(truth.ravel(), value.ravel(), [(value - low).ravel(), (high - value).ravel()], fmt=".", alpha=0.6)
        ends = [min(truth.min(), np.percentile(value, 2)), max(truth.max(), np.percentile(value, 98))]
        axis.plot(ends, ends, "k-", linewidth=0.8)
        axis.set(title=task, xlabel="true value", ylabel="estimate (fqe), 90 % interval")
    figure.savefig(folder / "scatter.png", dpi=110)
