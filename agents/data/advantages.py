"""The size of the advantages that a learner of values is to expect, estimated from some steps of the data.

Legend: ``N`` steps of the dataset, ``M`` sampled ones, ``E`` episodes, ``S`` numbers of an observation, ``A`` action,
``F`` features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GAMMA = 0.99  # the discount of every algorithm's defaults
LONGEST = 500  # steps that are summed; what comes later counts less than 1 % of it
RIDGE = 1e-3  # of the features' variance
MOST = 500  # categories of a number that is looked at

Categories = Sequence[int | None]  # of columns: how many one has, None where it is a number


def estimate(
    observations: NDArray[Any],
    actions: NDArray[Any],
    next_observations: NDArray[Any],
    terminated: NDArray[np.bool_],
    steps: NDArray[np.int64],
    rewards: Array,
    lengths: NDArray[np.int64],
    *,
    categories: tuple[Categories, Categories],
) -> Array:
    r"""About the advantages of the sampled steps' actions under the policy that took them, ``[K]`` with K <= M.

    .. math:: \delta = r + \gamma (1 - \mathrm{terminated}) V(s') - V(s), \quad A \approx f(s, a) - g(s)

    V is a ridge regression of the discounted rewards until the end of the episode, and f and g are such regressions of
    the one-step residual :math:`\delta`, all on numbers and their squares, or on one-hots: what of it the action
    explains beyond the state. It finds the size, not more: what an action is worth in some states alone is not seen,
    and where a coarse V errs with the action it is too large. Steps with a value that is not finite are left out.

    Args:
        observations: before the sampled steps, ``[M, S]``; ``next_observations``: after them.
        actions: ``[M, A]``.
        terminated: of the sampled steps, ``[M]``.
        steps: places of these among all steps, ``[M]``.
        rewards: of all steps, ``[N]``.
        lengths: of the episodes, ``[E]``.
        categories: of observations and actions.
    """
    now, acted, following = (np.asarray(values, np.float64) for values in (observations, actions, next_observations))
    to_go, own = rewards_to_go(rewards, lengths, steps), rewards[steps]
    finite = np.isfinite(to_go) & np.isfinite(np.concatenate([now, acted, following], axis=1)).all(1)
    now, acted, following, to_go, own = (values[finite] for values in (now, acted, following, to_go, own))
    if not len(own):
        return own
    of_states, of_actions = categories
    states, next_states = _features(now, now, of_states), _features(following, now, of_states)
    slope = _ridge(states, to_go)
    residual = own + GAMMA * np.where(terminated[finite], 0.0, next_states @ slope + to_go.mean()) - states @ slope
    residual -= residual.mean()
    both = np.concatenate([states, _features(acted, acted, of_actions)], axis=1)
    return both @ _ridge(both, residual) - states @ _ridge(states, residual)


def _features(values: Array, sample: Array, categories: Categories) -> Array:
    """Numbers and their squares in units of a sample, and one-hots, with a mean of 0 in it, ``[K, S] -> [K, F]``."""
    numbers = [column for column, count in enumerate(categories) if count is None]
    mean, std = sample[:, numbers].mean(0), sample[:, numbers].std(0)
    std[std == 0.0] = 1.0

    def raw(of: Array) -> Array:
        scaled = np.clip((of[:, numbers] - mean) / std, -5.0, 5.0)  # beyond which a square would own the fit
        hot = [of[:, [k]] == np.arange(count) for k, count in enumerate(categories) if count and count <= MOST]
        return np.concatenate([scaled, scaled**2, *hot], axis=1)

    return raw(values) - raw(sample).mean(0)


def _ridge(features: Array, targets: Array) -> Array:
    """The slope of the targets' deviations from their mean on features with a mean of 0, ``[F]``."""
    penalty = RIDGE * len(targets) * np.eye(features.shape[1])
    return np.linalg.solve(features.T @ features + penalty, features.T @ (targets - targets.mean()))


def rewards_to_go(rewards: Array, lengths: NDArray[np.int64], steps: NDArray[np.int64]) -> Array:
    """The discounted sum of the rewards from each of the steps to the end of its episode, ``[M]``."""
    ends = lengths.cumsum()
    left = ends[np.searchsorted(ends, steps, side="right")] - steps
    total = np.zeros(len(steps))
    for ahead in range(min(int(left.max()), LONGEST)):
        among = left > ahead
        total[among] += GAMMA**ahead * rewards[steps[among] + ahead]
    return total
