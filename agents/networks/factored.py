r"""Discrete actions of several parts, MultiDiscrete or MultiBinary, whose scores are sums of the parts' own.

.. math:: Q(s, a) = \sum_k Q_k(s, a_k), \qquad \log \pi(a|s) = \sum_k \log \pi_k(a_k|s)

For values that is the linear decomposition of Tang, Makar, Sjoding, Doshi-Velez, Wiens 2022 (arXiv 2305.01738, section
3): a network has one output for each value of each part, however many combinations there are, and the maximum, the
soft maximum and the arg max over all combinations are exactly those of the parts, one by one.

What it cannot represent: a part whose worth depends on another part in the same state, such as two buttons that pay
only if pressed together, of which it learns the nearest sum; and a policy that ties its parts together, such as "left
and slow, or right and fast", of which it learns how often each value comes. Where that matters and combinations are
few, one Discrete action for each of them represents all.

A table of scores is ``[..., A]`` where an action is one index, and ``[..., K, M]`` where it has parts: -inf where a
part has fewer than M values. Shapes: ``B`` batch, ``A`` actions, ``N`` critics, ``K`` parts, ``M`` values of the part
with the most, ``S`` values of all parts together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent
from torchrl.data import MultiCategorical

from agents.data.specs import Specs


class PartScores(nn.Module):
    """A network's outputs as a table: ``[..., S] -> [..., K, M]``, the parts one after the other.

    Args:
        num_values: of each part.
    """

    def __init__(self, num_values: Sequence[int]) -> None:
        super().__init__()
        self.num_values = [*num_values]

    def forward(self, scores: Tensor) -> Tensor:
        longest = max(self.num_values)
        if min(self.num_values) == longest:
            return scores.unflatten(-1, (len(self.num_values), longest))
        parts = scores.split(self.num_values, -1)
        return torch.stack(
            [nn.functional.pad(part, (0, longest - part.shape[-1]), value=-math.inf) for part in parts], -2
        )


def part_scores(specs: Specs) -> list[nn.Module]:
    """The layer after a network's last one, where actions have parts."""
    return [PartScores(specs.action.nvec.tolist())] if isinstance(specs.action, MultiCategorical) else []


def sum_over_parts(scores: Tensor) -> Tensor:
    """Scores of actions from those of their parts: ``[B, N, K] -> [B, N]``, or ``[B, N]`` as it is."""
    return scores.sum(-1) if scores.ndim == 3 else scores


class FactoredCategorical(Independent):
    """A distribution of actions ``[..., K]`` whose parts are independent, given the observation.

    Args:
        logits: of each part's values, ``[..., K, M]``.
    """

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        super().__init__(Categorical(logits=logits, validate_args=validate_args), 1, validate_args=validate_args)


def negative_log_likelihood(logits: Tensor, action: Tensor) -> Tensor:
    """Of actions ``[B]`` under logits ``[B, A]``, or of ``[B, K]`` under ``[B, K, M]``; ``[B]``."""
    distribution = Categorical if action.ndim == 1 else FactoredCategorical
    return -distribution(logits=logits, validate_args=False).log_prob(action)
