"""Double DQN (van Hasselt et al. 2015, arXiv 1509.06461) and conservative Q-learning (Kumar et al. 2020, arXiv
2006.04779) for discrete actions.

Shapes: ``B`` batch, ``N`` critics, ``A`` actions; of actions with parts, ``K`` parts and ``M`` values of the part with
the most. Values are in units of (scaled) discounted return.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from tensordict.utils import NestedKey
from torch import Tensor
from torchrl.objectives.utils import distance_loss

from agents.networks.critics import chosen_action_value
from agents.networks.factored import sum_over_parts
from agents.objectives.common import (
    CriticLoss,
    TransitionKeys,
    bellman_target,
    output,
    target_per_critic,
    transition_keys,
)
from agents.objectives.settings import check_dqn


def conservative_gap(action_value: Tensor, qvalues: Tensor) -> Tensor:
    r"""The soft maximum over all actions above the action of the data.

    .. math:: \log \sum_a \exp Q(s, a) - Q(s, a_{data})        (CQL, eq. 4)

    Args:
        action_value: of all actions, ``[B, N, A]``, or of the values of their parts, ``[B, N, K, M]``.
        qvalues: of the data's actions, ``[B, N]``, as the gap, > 0.
    """
    return sum_over_parts(action_value.logsumexp(-1)) - qvalues


class DQNLoss(CriticLoss):
    r"""Double Q-learning on discrete actions, conservative or not, from one evaluation of each network per state.

    With :math:`\bar Q` the target critics and :math:`a^* = \arg\max_a Q(s', a)`,

    .. math::
        L_Q &= E[\, (r + \gamma (1 - \mathrm{terminated}) \bar Q(s', a^*) - Q(s, a))^2 \,] \\
        L_C &= E[\, \log \sum_a \exp Q(s, a) - Q(s, a_{data}) \,]

    DQN minimises :math:`L_Q`, CQL :math:`\tfrac{1}{2} L_Q + \alpha L_C`. Of several critics the losses are summed, the
    mean chooses :math:`a^*` and the smallest gives its value (d3rlpy's reading of clipped double Q-learning).

    Where actions have parts, a value is the sum of theirs, of which :mod:`agents.networks.factored` says what it cannot
    represent; the equations hold as they stand, with all combinations of the parts for the actions.

    Other than in :class:`torchrl.objectives.DQNLoss` and DiscreteCQLLoss, the losses' names begin with ``loss_``,
    critics come as one ensemble module, statistics are returned, and the batch is left as it was. The latter also has
    no :math:`\alpha`, and never reads the target network that it holds (TorchRL 0.14.1).

    Args:
        qvalue_network: ``observation -> action_value [B, N, A]``, or ``[B, N, K, M]`` for actions ``[B, K]``.
        loss_function: distance in :math:`L_Q`: ``l2``, ``l1`` or ``smooth_l1``.
        gamma: discount in [0, 1].
        cql_alpha: alpha >= 0, weight of :math:`L_C`; None is DQN.

    Returns (forward): TensorDict of scalars ``loss_qvalue``, with ``cql_alpha`` also ``loss_cql`` (weights included),
    and, detached, ``qvalue`` (of the data's actions), ``qvalue_greedy`` (of the best ones), ``greedy_share`` (of the
    data's actions that are the best ones).
    """

    @dataclass
    class _AcceptedKeys(TransitionKeys):
        action_value: NestedKey = "action_value"

    tensor_keys: _AcceptedKeys
    default_keys = _AcceptedKeys

    def __init__(
        self,
        qvalue_network: TensorDictModule,
        *,
        loss_function: str = "l2",
        gamma: float = 0.99,
        cql_alpha: float | None = None,
        reduction: str = "mean",
    ) -> None:
        check_dqn(loss_function=loss_function, gamma=gamma, cql_alpha=cql_alpha)
        super().__init__()
        self.reduction = reduction
        self.loss_function, self.gamma, self.cql_alpha = loss_function, gamma, cql_alpha
        self.convert_to_functional(qvalue_network, "qvalue_network", create_target_params=True)
        losses = ["loss_qvalue"] if cql_alpha is None else ["loss_qvalue", "loss_cql"]
        self.out_keys = [*losses, "qvalue", "qvalue_greedy", "greedy_share"]

    @property
    def in_keys(self) -> list[NestedKey]:  # pyright: ignore[reportIncompatibleMethodOverride]  # follows tensor_keys
        return transition_keys(self.tensor_keys, [self.qvalue_network], [self.qvalue_network])

    def _evaluate(self, rows: TensorDictBase) -> TensorDict:
        action = rows.get(self.tensor_keys.action)  # [B], or [B, K] of K parts
        action_value = self._action_value(rows, self.qvalue_network_params)  # [B, N, A], or [B, N, K, M]
        qvalues = chosen_action_value(action_value, action)  # [B, N]
        target = target_per_critic(self._bellman_target(rows), qvalues)  # [B] -> [B, N]
        bellman_error = self._mean(distance_loss(qvalues, target, self.loss_function).sum(-1), rows)

        losses = {"loss_qvalue": bellman_error}
        if self.cql_alpha is not None:
            gap = self._mean(conservative_gap(action_value, qvalues).sum(-1), rows)
            losses = {"loss_qvalue": 0.5 * bellman_error, "loss_cql": self.cql_alpha * gap}
        best_value, best_action = action_value.detach().mean(1, keepdim=True).max(-1)  # [B, 1] each, or [B, 1, K]
        statistics = {
            "qvalue": qvalues.detach().mean(),
            "qvalue_greedy": sum_over_parts(best_value).mean(),
            "greedy_share": (best_action == action[:, None]).flatten(1).all(-1).float().mean(),
        }
        return TensorDict({**losses, **statistics})

    def _action_value(self, tensordict: TensorDictBase, params: TensorDictBase) -> Tensor:
        with params.to_module(self.qvalue_network, preserve_module_state=False):
            return output(self.qvalue_network, tensordict, self.tensor_keys.action_value)

    @torch.no_grad()
    def _bellman_target(self, tensordict: TensorDictBase) -> Tensor:
        following = tensordict.get("next")
        best = self._action_value(following, self.qvalue_network_params).mean(1).argmax(-1)  # [B, N, A] -> [B]
        values = self._action_value(following, self.target_qvalue_network_params.data)  # [B, N, A]
        next_value = chosen_action_value(values, best).amin(-1)  # [B, N, A] -> [B]
        return bellman_target(self, tensordict, next_value)
