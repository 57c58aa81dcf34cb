"""Rewards as a learner gets them: scaled, shifted, and summed over several steps.

Legend: ``N`` steps of the dataset, ``E`` episodes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.data.dataset_statistics import DatasetStatistics
from agents.data.settings import RewardsConfig
from agents.errors import ConfigError, require

RETURN_RANGE = 1000.0  # between the largest and the smallest return, in IQL's official code


@dataclass(frozen=True, eq=False)
class LearnerRewards:
    """The rewards of every step of a dataset as a learner gets them."""

    values: Tensor  # [N] float32
    of_single_steps: Tensor  # [N] float32; the values, unless those are sums over several steps
    scale: float  # what the data's were multiplied by: values in units of return are so much too large
    num_steps_ahead: Tensor | None  # [N] int64, from an observation to the next one of the batch; None: one everywhere


def learner_rewards(
    recorded: Tensor,
    terminated: Tensor,
    statistics: DatasetStatistics,
    config: RewardsConfig,
    *,
    n_step: int = 1,
    gamma: float = 1.0,
) -> LearnerRewards:
    r"""What the learner gets for the rewards of the data, :math:`r' = \text{scale} \cdot r + \text{shift}`.

    .. math:: \sum_{k=0}^{m-1} \gamma^k r'_{t+k}, \quad m \le n \text{ the steps that are left of the episode}

    Args:
        recorded: rewards, ``[N]``.
        terminated: after which steps nothing more can be earned, ``[N]`` bool: sums end there, as at an episode's end.
        statistics: of the same data.
        n_step: n >= 1, steps of which the rewards are summed.
        gamma: discount in [0, 1] of these sums, which is the learner's.

    Raises:
        ConfigError: the rewards or returns are all equal, so that they have no such scale; or float32 cannot hold what
            becomes of them.
    """
    require(n_step >= 1, "n_step", "be at least 1", n_step)
    require(0.0 <= gamma <= 1.0, "gamma", "lie in [0, 1]", gamma)
    scale = reward_scale(config, statistics)
    rewards, num_steps_ahead = scale * recorded.double() + config.shift, None
    of_single_steps = values = rewards.float()
    if n_step > 1:
        lengths = torch.from_numpy(statistics.lengths).to(recorded.device)
        num_steps_ahead = steps_ahead(terminated, lengths, n_step)
        values = discounted_sums(rewards, num_steps_ahead, gamma).float()
    if not values.isfinite().all():
        raise ConfigError(
            f"rewards.scale={config.scale} and rewards.shift={config.shift} give rewards that float32 cannot hold; "
            "choose smaller ones"
        )
    return LearnerRewards(values, of_single_steps, scale, num_steps_ahead)


def reward_scale(config: RewardsConfig, statistics: DatasetStatistics) -> float:
    """The number that ``config.scale`` is for these data; a ConfigError where there is none."""
    if config.scale == "return_range":
        extent, what = statistics.returns.max() - statistics.returns.min(), "episodes return"
    elif config.scale == "std":
        extent, what = statistics.reward_std * (statistics.reward_max > statistics.reward_min), "rewards are"
    else:
        return float(config.scale)
    if not extent > 0.0:
        way_out = "give a number: rewards.scale=1 takes the rewards as they are"
        raise ConfigError(f"rewards.scale={config.scale} needs different values, and all {what} the same; {way_out}")
    return float((RETURN_RANGE if config.scale == "return_range" else 1.0) / extent)


def steps_ahead(terminated: Tensor, lengths: Tensor, n_step: int) -> Tensor:
    """Steps from each observation to the one ``n_step`` later, ``[N]`` int64: fewer at the end of its episode."""
    rows = torch.arange(len(terminated), device=terminated.device)
    ends = terminated.clone()
    ends[lengths.cumsum(0) - 1] = True
    next_end = torch.where(ends, rows, len(rows)).flip(0).cummin(0).values.flip(0)  # at or after each row
    return (next_end - rows + 1).clamp_max(n_step)


def discounted_sums(rewards: Tensor, num_steps: Tensor, gamma: float) -> Tensor:
    """The discounted sum of the rewards of ``num_steps`` steps from each on, ``[N], [N] -> [N]``."""
    sums, rows = rewards.clone(), torch.arange(len(rewards), device=rewards.device)
    for ahead in range(1, int(num_steps.max())):
        rows = rows[num_steps[rows] > ahead]
        sums[rows] += gamma**ahead * rewards[rows + ahead]
    return sums


def discounted_returns(rewards: Tensor, terminated: Tensor, lengths: Tensor, gamma: float) -> Tensor:
    r"""What is earned from each step to the end of its episode, ``[N] -> [N]`` float32.

    .. math:: \sum_{k=t}^{T} \gamma^{k-t} r_k

    A truncated episode ends there too: nothing is added for what it would have earned, as in the code of Cal-QL and
    CORL's.

    Args:
        rewards, terminated: of every step, ``[N]``, episode after episode; sums end where it terminated.
        lengths: of the episodes, ``[E]`` int64.
    """
    left = steps_ahead(terminated, lengths, len(rewards))  # [N], of the episode, this one included
    returns, span = rewards.double(), 1  # of so many steps
    while span < int(left.max()):
        rows = (left > span).nonzero().squeeze(-1)
        returns = returns.index_add(0, rows, gamma**span * returns[rows + span])
        span *= 2
    return returns.float()
