r"""Doubly robust estimation: fitted critics, corrected by the weighted errors that they make on the data's episodes.

.. math::
    V_{DR} = \frac 1 n \sum_i \sum_t \gamma^t [ w_{i,t} (r_{i,t} - Q(s_{i,t}, a_{i,t})) + w_{i,t-1} V(s_{i,t}) ]

(Jiang, Li 2016, arXiv 1511.03722), right if either the propensities or the critics are. Behind an episode that was cut
off stands what the critics expect of the rest, weighted too. The critics that judge an episode have not learned from
it: of each policy's members, those that do not have it.

Shapes: ``N`` steps, ``E`` episodes, ``T`` steps of the longest.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agents.evaluation.offline.behavior import Behavior
from agents.evaluation.offline.estimate import Estimate, Trust
from agents.evaluation.offline.fit import Fit
from agents.evaluation.offline.fqe import reaches_beyond
from agents.evaluation.offline.importance import effective_sample_size, episode_log_weights
from agents.evaluation.offline.resampling import estimate_of, resample_means


def doubly_robust_evaluation(fit: Fit, behavior: Behavior, *, index: int = 0, seed: int = 0) -> Estimate:
    """The estimate of the policy of this index among those that the critics were fitted for.

    Raises:
        ConfigError: the policy has no density.
        DataError: no episode of the data is one that the policy could have made.
    """
    policy, steps = fit.policies[index], fit.steps
    log_weights = episode_log_weights(policy, steps, behavior)  # [E, T]
    values = episode_values(fit, log_weights.exp(), index)
    unseen, seen = (error[index].item() for error in fit.bellman_errors(seed))
    trust = Trust(effective_sample_size(log_weights), bellman_error=unseen, bellman_error_seen=seen)
    draws = resample_means(values, seed=seed)
    known: dict[str, Any] = {"trust": trust, "behavior": behavior.source}
    if reaches_beyond(fit):
        known |= {"beyond_log": True, "own_value": fit.initial_values()[:, -1].mean().item()}
    return estimate_of("dr", policy, steps, fit.gamma, values.mean(), draws, **known)


def episode_values(fit: Fit, weights: Tensor, index: int) -> Tensor:
    """What the sum is of each episode, ``[E]``, by weights ``[E, T]``."""
    steps = fit.steps
    qvalue = steps.by_episode(fit.unseen(fit.qvalues(), steps.episode)[:, index])  # [E, T]
    initial = fit.unseen(fit.initial_values(), torch.arange(steps.num_episodes))[:, index]  # [E]
    after = fit.unseen(fit.next_values(), steps.episode)[:, index]  # [N]
    after = steps.by_episode(torch.where(steps.terminated, 0.0, after))  # [E, T], of a cut-off end too
    return doubly_robust_sum(steps.by_episode(steps.reward), qvalue, initial, after, weights, fit.gamma)


def doubly_robust_sum(
    reward: Tensor, qvalue: Tensor, initial: Tensor, after: Tensor, weights: Tensor, gamma: float
) -> Tensor:
    """The sum over an episode's steps ``[E, T]``, all 0 behind its end, ``[E]``; ``after`` is V behind each step."""
    discount = gamma ** torch.arange(reward.shape[1], dtype=torch.float64)
    return initial + (discount * weights * (reward - qvalue + gamma * after)).sum(1)
