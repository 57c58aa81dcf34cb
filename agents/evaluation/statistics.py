"""Statistics of few runs: aggregates over tasks and their intervals, as in Agarwal et al. 2021, arXiv 2108.13264.

An algorithm's scores are ``runs``, an array of one score per seed for each task; tasks may have different numbers of
seeds. All functions take scores of one protocol, usually 0-100.

Shapes: ``T`` tasks, ``S`` seeds of a task, ``R`` resamples, ``K`` thresholds; ``...`` any leading dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agents.errors import ConfigError, require

Runs = Sequence[ArrayLike]  # T arrays of shape [..., S]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A statistic and its confidence interval; the bounds are NaN where no task has a second run to resample."""

    value: Any
    low: Any
    high: Any


def standard_error(values: ArrayLike) -> float:
    """Of the mean of independent values ``[S]``; NaN for a single one."""
    values = np.asarray(values, dtype=np.float64)
    return float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else float("nan")


def mean(runs: Runs) -> Array:
    """Mean over tasks of their seeds' mean, ``[...]``."""
    return np.mean([task.mean(-1) for task in _arrays(runs)], axis=0)


def iqm(runs: Runs) -> Array:
    """Interquartile mean, ``[...]``: of all runs of all tasks together, the mean of the middle half.

    Of ``n`` runs the ``floor(n / 4)`` lowest and as many of the highest are left out: less sensitive to a single
    outlying task than the mean, and with a smaller standard error than the median.
    """
    scores = np.sort(np.concatenate(_arrays(runs), axis=-1), axis=-1)  # T of [..., S] -> [..., N]
    cut = scores.shape[-1] // 4
    return scores[..., cut : scores.shape[-1] - cut].mean(-1)


def optimality_gap(runs: Runs, target: float = 100.0) -> Array:
    """How far runs fall short of ``target`` on average, ``[...]``; what is above it makes up for nothing."""
    return target - mean([np.minimum(task, target) for task in _arrays(runs)])


def probability_of_improvement(runs: Runs, baseline: Runs) -> Array:
    """Mean over tasks of the probability that a run has a higher score than one of the baseline, ``[...]``.

    .. math:: P(X > Y) + P(X = Y) / 2        (Mann-Whitney's U, scaled to 0-1)
    """
    tasks, others = _arrays(runs), _arrays(baseline)
    if len(tasks) != len(others):
        raise ConfigError(f"algorithms must be compared on the same tasks, got {len(tasks)} and {len(others)}")
    pairs = ((task[..., :, None], other[..., None, :]) for task, other in zip(tasks, others))  # -> [..., S, S']
    return np.mean([((x > y) + 0.5 * (x == y)).mean((-2, -1)) for x, y in pairs], axis=0)


def performance_profile(runs: Runs, thresholds: ArrayLike) -> Array:
    """Share of runs with a score above each threshold, mean over tasks: ``[K] -> [..., K]``."""
    tasks = _arrays(runs)  # compared with one threshold at a time: of all pairs, an array would be large
    return np.stack([mean([task > threshold for task in tasks]) for threshold in np.asarray(thresholds)], axis=-1)


def estimate(
    statistic: Callable[..., Array], *runs: Runs, num_resamples: int = 2_000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """A statistic of one or more algorithms' runs with its stratified bootstrap interval.

    Seeds are drawn with replacement within each task and for each algorithm on its own, since tasks are not a sample
    of anything; the interval is between percentiles of the resamples' statistics.

    Args:
        statistic: any of those above, of as many ``runs`` as it takes.
        confidence: share of intervals that would hold the true value, in (0, 1).
    """
    require(0.0 < confidence < 1.0, "confidence", "lie in (0, 1)", confidence)
    require(num_resamples >= 1, "num_resamples", "be at least 1", num_resamples)
    arrays = [_arrays(each) for each in runs]
    value = statistic(*arrays)
    if all(task.shape[-1] == 1 for tasks in arrays for task in tasks):
        return Interval(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    rng = np.random.default_rng(seed)

    def resample(task: Array) -> Array:  # [S] -> [R, S]
        return task[rng.integers(task.shape[-1], size=(num_resamples, task.shape[-1]))]

    resamples = statistic(*([resample(task) for task in tasks] for tasks in arrays))  # [R, ...]
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(resamples, [tail, 100.0 - tail], axis=0)
    return Interval(value, low, high)


def _arrays(runs: Runs) -> list[Array]:
    tasks = [np.asarray(task, dtype=np.float64) for task in runs]
    if not tasks or any(task.ndim == 0 or task.shape[-1] == 0 for task in tasks):
        raise ConfigError("statistics need at least one task, and at least one run of every task")
    return tasks
