"""Policy extraction by weighting the data with exponentiated advantages, as IQL and AWAC do.

Shapes: ``B`` batch. Advantages are in units of (scaled) discounted return.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from agents.objectives.schedules import updating

SCALE_RATE = 0.01  # of the running scale: it looks back over some hundred updates
SMALLEST_SCALE = 1e-30  # to divide by, where all advantages are 0; far below any advantage in float32


class AdvantageScale(nn.Module):
    r"""Running mean size of the advantages, to divide them by: the temperature is then a number without a unit.

    .. math:: m \leftarrow m + \eta \, (E[\, |A| \,] - m), \quad \text{scale} = m / (1 - (1 - \eta)^k)

    after k updates, this one included: in the beginning a mean over all of them, as Adam has it. Not in the paper of
    IQL or AWAC. The mean size and not the standard deviation, as in the lambda of TD3+BC: where all advantages are off
    by a common amount, as early in training, the standard deviation is next to nothing, and weights would be
    exponentiated noise; and a rare large reward moves it less. Rewards ``c`` times as large change no weight.
    """

    mean: Tensor  # [], m
    num_updates: Tensor  # [] int64, k

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))

    def forward(self, advantage: Tensor) -> Tensor:
        """The scale with these advantages included, ``[B] -> []``; of a held-out loss it is not kept."""
        mean = self.mean + SCALE_RATE * (advantage.abs().mean() - self.mean)
        num_updates = self.num_updates + 1
        if updating(self):
            self.mean.copy_(mean)
            self.num_updates.copy_(num_updates)
        return (mean / (1.0 - (1.0 - SCALE_RATE) ** num_updates)).clamp_min(SMALLEST_SCALE)


def advantage_weight(advantage: Tensor, temperature: float, advantage_clip: float | None) -> Tensor:
    r"""Weight of a transition in the policy extraction.

    .. math:: w = \min(\exp(\beta A), c)        (IQL, eq. 7; the clip c is 100 in the official code)

    Args:
        advantage: in units of (scaled) return, ``[B]``, as the weight.
        temperature: beta >= 0, an inverse temperature; 0 is behaviour cloning.
        advantage_clip: c > 0, or None for no clip.
    """
    weight = torch.exp(temperature * advantage)
    # clipped as the official code does: one outlier would own the batch
    return weight if advantage_clip is None else weight.clamp_max(advantage_clip)


def effective_sample_size(advantage: Tensor, temperature: float, advantage_clip: float | None) -> Tensor:
    r"""Share of a batch that would say as much if it were weighted equally, ``[B] -> []``, in [1 / B, 1] (Kish 1965).

    .. math:: (\sum w)^2 / (B \sum w^2) = 1 / (1 + v^2), \quad v \text{ the weights' coefficient of variation}
    """
    log_weight = temperature * advantage
    log_weight = log_weight if advantage_clip is None else log_weight.clamp_max(math.log(advantage_clip))
    relative = torch.exp(log_weight - log_weight.amax())  # the squares of the weights themselves may overflow, or be 0
    return relative.mean().square() / relative.square().mean()


def weighted_regression(
    log_prob: Tensor,
    advantage: Tensor,
    temperature: float,
    advantage_clip: float | None,
    *,
    scale: AdvantageScale | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    r"""Policy extraction by weighting the data, ``[B], [B] -> [B]``; with statistics of the weights and of ``scale``.

    .. math:: L_\pi = -w \log \pi(a|s)
    """
    statistics = {}
    if scale is not None:
        statistics["advantage_scale"] = scale(advantage)
        advantage = advantage / statistics["advantage_scale"]
    weight = advantage_weight(advantage, temperature, advantage_clip)
    clipped = torch.zeros_like(weight) if advantage_clip is None else weight >= advantage_clip
    statistics["weight"], statistics["clip_fraction"] = weight.mean(), clipped.float().mean()
    statistics["effective_sample_size"] = effective_sample_size(advantage, temperature, advantage_clip)
    return -(weight * log_prob), statistics


def weight_statistics(scale: AdvantageScale | None) -> list[str]:
    """The names of the statistics of :func:`weighted_regression`."""
    return ["weight", "clip_fraction", "effective_sample_size", *([] if scale is None else ["advantage_scale"])]
