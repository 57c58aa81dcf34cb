"""Critics: ensembles of Q(s, a) evaluated as one batched product.

Shapes: ``B`` batch, ``O`` observation, ``A`` action (where actions are discrete: how many there are), ``N`` critics;
of a discrete action with parts, ``K`` parts and ``M`` values of the part with the most, see :mod:`.factored`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from agents.networks.factored import sum_over_parts
from agents.networks.layers import stack_layers


class Ensemble(nn.Module):
    """``N`` independent perceptrons evaluated as one batched product, behind one scaling of observations."""

    def __init__(self, critics: Sequence[nn.Sequential], normalizer: Sequence[nn.Module]) -> None:
        super().__init__()
        self.num_nets = len(critics)
        self.normalizer = nn.Sequential(*normalizer)
        self.layers = nn.Sequential(*map(stack_layers, zip(*critics)))


class QValueEnsemble(Ensemble):
    """``[B, O], [B, A] -> [B, N]``, or with inputs of each critic's own, ``[N, B, O], [N, B, A] -> [B, N]``."""

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        joint = torch.cat([self.normalizer(observation), action], dim=-1)
        qvalues = self.layers(joint.expand(self.num_nets, *joint.shape[-2:]))  # [N, B, 1]
        return qvalues.squeeze(-1).transpose(0, 1)  # [B, N]


class ActionValueEnsemble(Ensemble):
    """An output per discrete action, ``[B, O] -> [B, N, A]``, or per value of each of its parts, ``[B, N, K, M]``."""

    def __init__(
        self, critics: Sequence[nn.Sequential], normalizer: Sequence[nn.Module], parts: Sequence[nn.Module] = ()
    ) -> None:
        super().__init__(critics, normalizer)
        self.parts = nn.Sequential(*parts)

    def forward(self, observation: Tensor) -> Tensor:
        observation = self.normalizer(observation)
        scores = self.layers(observation.expand(self.num_nets, *observation.shape))  # [N, B, A]
        return self.parts(scores).transpose(0, 1)  # [B, N, A] or [B, N, K, M]


class ChosenActionValue(nn.Module):
    """The values of one discrete action per state: ``[B, O], [B] or [B, K] -> [B, N]``."""

    def __init__(self, action_values: ActionValueEnsemble) -> None:
        super().__init__()
        self.action_values = action_values

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        return chosen_action_value(self.action_values(observation), action)


def chosen_action_value(action_value: Tensor, action: Tensor) -> Tensor:
    """The values of one action per state: ``[B, N, A], [B] -> [B, N]``, or ``[B, N, K, M], [B, K] -> [B, N]``."""
    index = action[:, None, ..., None].expand(*action_value.shape[:-1], 1)  # [B] -> [B, N, 1], [B, K] -> [B, N, K, 1]
    return sum_over_parts(action_value.gather(-1, index).squeeze(-1))
