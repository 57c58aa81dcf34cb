r"""Importance sampling: the data's own episodes, weighted by how much likelier the policy would have made them.

With :math:`w_{i,t} = \prod_{k \le t} \pi(a_{i,k}|s_{i,k}) / \mu(a_{i,k}|s_{i,k})`, the per-decision estimate and the
weighted one, which is biased and varies far less (Precup, Sutton, Singh 2000):

.. math::
    V_{IS}  &= \frac 1 n \sum_i \sum_t \gamma^t w_{i,t} r_{i,t} \\
    V_{WIS} &= \sum_t \gamma^t \frac{\sum_i w_{i,t} r_{i,t}}{\sum_i w_{i,t}}

Nothing is bootstrapped: the value is of as many steps as the episodes have.

Shapes: ``N`` steps, ``E`` episodes, ``T`` steps of the longest, ``R`` resamples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents.errors import DataError
from agents.evaluation.offline.behavior import Behavior
from agents.evaluation.offline.estimate import Estimate, Trust
from agents.evaluation.offline.policy import Policy, check_fit
from agents.evaluation.offline.resampling import estimate_of, resample, resample_means
from agents.evaluation.offline.transitions import Transitions


def importance_sampling(
    policy: Policy, steps: Transitions, behavior: Behavior, *, gamma: float = 0.99, seed: int = 0
) -> Estimate:
    """The per-decision estimate, ``is``: without bias where propensities are right, and of a large variance.

    Raises:
        ConfigError: the policy has no density, or is of other observations or actions.
        DataError: no episode of the data is one that the policy could have made.
    """
    log_weights = episode_log_weights(policy, steps, behavior)  # [E, T]
    returns = (log_weights.exp() * discounted_rewards(steps, gamma)).sum(1)  # [E]
    trust = Trust(effective_sample_size=effective_sample_size(log_weights))
    draws = resample_means(returns, seed=seed)
    return estimate_of("is", policy, steps, gamma, returns.mean(), draws, trust=trust, behavior=behavior.source)


def weighted_importance_sampling(
    policy: Policy, steps: Transitions, behavior: Behavior, *, gamma: float = 0.99, seed: int = 0
) -> Estimate:
    """The weighted one, ``wis``; as of :func:`importance_sampling` else."""
    log_weights = episode_log_weights(policy, steps, behavior)  # [E, T]
    weights = (log_weights - log_weights.amax(0)).exp()  # those of a step have a common factor: none is too large
    earned = weights * discounted_rewards(steps, gamma)

    def value(counts: Tensor) -> Tensor:  # [R, E] -> [R]
        return ((counts @ earned) / (counts @ weights).clamp_min(torch.finfo(torch.float64).tiny)).sum(1)

    once, draws = value(torch.ones(1, steps.num_episodes).double())[0], resample(value, steps.num_episodes, seed=seed)
    trust = Trust(effective_sample_size=effective_sample_size(log_weights))
    return estimate_of("wis", policy, steps, gamma, once, draws, trust=trust, behavior=behavior.source)


def episode_log_weights(policy: Policy, steps: Transitions, behavior: Behavior) -> Tensor:
    """log w up to each step, ``[E, T]`` float64; behind the end of an episode that of its last step.

    Raises:
        ConfigError, DataError: see :func:`importance_sampling`.
    """
    check_fit(policy, steps.specs, steps.dataset)
    ratio = policy.log_prob(steps.observation, steps.action) - behavior.log_propensity
    log_weights = steps.by_episode(ratio).cumsum(1)
    if log_weights[:, -1].isneginf().all():
        raise DataError(
            f"dataset {steps.dataset!r} has no episode that {policy.name} could have made: in each there is an action "
            "that it never takes, so importance sampling has nothing to weigh; value it by fitted Q evaluation"
        )
    return log_weights


def effective_sample_size(log_weights: Tensor) -> float:
    """Of how many episodes the weighted ones are worth, (sum w)^2 / sum w^2 (Kish 1965), by log w ``[E, T]``."""
    last = (log_weights[:, -1] - log_weights[:, -1].max()).exp()
    return (last.sum().square() / last.square().sum()).item()


def discounted_rewards(steps: Transitions, gamma: float) -> Tensor:
    """``[E, T]``, 0 behind the end of an episode."""
    return steps.by_episode(gamma ** steps.step.double() * steps.reward)
