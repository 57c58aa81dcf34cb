"""The bootstrap over episodes: how much an estimate would be another with other episodes of the same kind.

Shapes: ``E`` episodes, ``R`` resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from agents.evaluation.offline.estimate import Estimate, Trust, interval
from agents.evaluation.offline.policy import Policy
from agents.evaluation.offline.transitions import Transitions

NUM_RESAMPLES = 2_000
AT_ONCE = 2**22  # numbers


def resample(value: Callable[[Tensor], Tensor], num_episodes: int, *, seed: int) -> Tensor:
    """A function of how often each episode was drawn, ``[r, E] float64 -> [r, ...]``, of new draws, ``[R, ...]``."""
    generator = torch.Generator().manual_seed(seed)
    draws = []
    for few in torch.arange(NUM_RESAMPLES).split(max(1, AT_ONCE // num_episodes)):
        drawn = torch.randint(num_episodes, (len(few), num_episodes), generator=generator)
        ones = torch.ones(drawn.shape, dtype=torch.float64)
        draws.append(value(torch.zeros_like(ones).scatter_add_(1, drawn, ones)))
    return torch.cat(draws)


def resample_means(values: Tensor, *, seed: int) -> Tensor:
    """Means of values of the episodes that were drawn, ``[E] -> [R]``."""
    return resample(lambda counts: counts @ values / len(values), len(values), seed=seed)


def estimate_of(
    estimator: str,
    policy: Policy,
    steps: Transitions,
    gamma: float,
    value: Tensor,
    draws: Tensor,
    *,
    trust: Trust,
    beyond_log: bool = False,
    **others: Any,
) -> Estimate:
    """An estimate with its interval and the data's own returns beside it."""
    returns = steps.steady_returns(gamma) if beyond_log else steps.returns(gamma)
    low, high = trust.widened(*interval(value.item(), draws.numpy()))
    return Estimate(
        estimator=estimator,
        policy=policy.name,
        dataset=steps.dataset,
        gamma=gamma,
        value=value.item(),
        low=low,
        high=high,
        draws=draws.numpy(),
        data_return=steps.returns(gamma).mean().item(),
        data_range=(returns.min().item(), returns.max().item()),
        trust=trust,
        beyond_log=beyond_log,
        **others,
    )
