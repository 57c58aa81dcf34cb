"""Fitted Q evaluation: the value of policies that are given, from transitions of others.

Shapes: ``B`` batch, ``O`` observation, ``A`` action (where actions are discrete: how many there are), ``P`` policies,
``N`` critics, as many of each policy, those of the first one first; of a discrete action with parts, ``K`` parts and
``M`` values of the part with the most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from tensordict.utils import NestedKey
from torch import Tensor

from agents.networks.critics import chosen_action_value
from agents.objectives.common import CriticKeys, CriticLoss, TransitionKeys, bellman_target, output, transition_keys
from agents.objectives.settings import check_gamma


class EvaluationLoss(CriticLoss):
    r"""The Bellman error of critics that value given policies, one or many at once.

    .. math::
        y_i &= r + \gamma (1 - \mathrm{terminated}) \bar V_i(s') \\
        L_Q &= \sum_i E[\, w_i (y_i - Q_i(s, a))^2 \,]

    (Le, Voloshin, Yue 2019, arXiv 1903.08738, with target networks for the rounds of regressions.) Every critic learns
    from its own target: no minimum is taken, which would value the policy too low.

    Args:
        gamma: discount in [0, 1].
        bounds: smallest and largest value that there can be, to which V keeps; None: any.

    Returns (forward): TensorDict of scalars ``loss_qvalue`` and, detached, ``qvalue`` (of the data's actions),
    ``target_value`` and ``bellman_error`` (root mean square over batch and critics).
    """

    choice: str  # what a batch has of the policies under next, among tensor_keys

    def __init__(
        self,
        qvalue_network: TensorDictModule,
        *,
        gamma: float = 0.99,
        bounds: tuple[float, float] | None = None,
        reduction: str = "mean",
    ) -> None:
        check_gamma(gamma)
        super().__init__()
        self.reduction, self.gamma, self.bounds = reduction, gamma, bounds
        self.convert_to_functional(qvalue_network, "qvalue_network", create_target_params=True)
        self.out_keys = ["loss_qvalue", "qvalue", "target_value", "bellman_error"]

    @property
    def in_keys(self) -> list[NestedKey]:  # pyright: ignore[reportIncompatibleMethodOverride]  # follows tensor_keys
        networks = [self.qvalue_network]
        return transition_keys(self.tensor_keys, networks, networks, getattr(self.tensor_keys, self.choice))

    def qvalues(self, params: TensorDictBase, rows: TensorDictBase) -> Tensor:
        """Q of the batch's actions by these parameters, ``[B, N]``."""
        raise NotImplementedError

    def state_values(self, params: TensorDictBase, rows: TensorDictBase) -> Tensor:
        """V of the batch's observations: Q of what the policies do there, ``[B, N]``."""
        raise NotImplementedError

    def targets(self, params: TensorDictBase, rows: TensorDictBase) -> Tensor:
        """y, ``[B, N]``."""
        next_value = self.state_values(params, rows.get("next"))
        if self.bounds is not None:
            next_value = next_value.clamp(*self.bounds)
        return bellman_target(self, rows, next_value.T).T  # [N, B] -> [B, N]

    def _evaluate(self, rows: TensorDictBase) -> TensorDict:
        with torch.no_grad():
            target = self.targets(self.target_qvalue_network_params.data, rows)
        qvalues = self.qvalues(self.qvalue_network_params, rows)
        squares = (target - qvalues).square()
        weight = rows.get(self.tensor_keys.critic_weight, None)  # [B, N]
        loss = squares if weight is None else weight * squares
        return TensorDict(
            {
                "loss_qvalue": self._mean(loss.sum(-1), rows),
                "qvalue": qvalues.detach().mean(),
                "target_value": target.mean(),
                "bellman_error": squares.detach().mean().sqrt(),
            }
        )

    def _output(self, params: TensorDictBase, rows: TensorDictBase, key: NestedKey) -> Tensor:
        with params.to_module(self.qvalue_network, preserve_module_state=False):
            return output(self.qvalue_network, rows, key)


class FQELoss(EvaluationLoss):
    """:class:`EvaluationLoss` of continuous actions: a batch has those of the policies under ``next``.

    They are its ``action``, ``[B, A]`` for all critics or ``[B, P, A]``.

    Args:
        qvalue_network: ``observation, action -> state_action_value [B, N]``, with inputs of each critic's own too, as
            :class:`agents.networks.QValueEnsemble`.
    """

    @dataclass
    class _AcceptedKeys(CriticKeys):
        critic_weight: NestedKey = "critic_weight"  # w of a transition, [B, N]; a batch may lack it

    tensor_keys: _AcceptedKeys
    default_keys = _AcceptedKeys
    choice = "action"

    def qvalues(self, params: TensorDictBase, rows: TensorDictBase) -> Tensor:
        return self._output(params, rows, self.tensor_keys.state_action_value)

    def state_values(self, params: TensorDictBase, rows: TensorDictBase) -> Tensor:
        action = rows.get(self.tensor_keys.action)
        if action.ndim == 3:
            network: Any = self.qvalue_network.module
            num_nets = network.num_nets
            action = action.transpose(0, 1).repeat_interleave(num_nets // action.shape[1], 0)  # [B, P, A] -> [N, B, A]
            rest = [key for key in self.qvalue_network.in_keys if key != self.tensor_keys.action]
            each = {key: rows.get(key).expand(num_nets, *rows.get(key).shape) for key in rest}
            rows = TensorDict({**each, self.tensor_keys.action: action})
        return self._output(params, rows, self.tensor_keys.state_action_value)


class DiscreteFQELoss(EvaluationLoss):
    r""":class:`EvaluationLoss` of discrete actions: a batch has the policies' probabilities of all of them.

    .. math:: V(s') = \sum_a \pi(a|s') Q(s', a)

    They are its ``action_probability`` under ``next``, ``[B, A]`` for all critics or ``[B, P, A]``; of actions with
    parts, which the policy chooses independently, ``[B, K, M]`` or ``[B, P, K, M]``: see
    :mod:`agents.networks.factored`.

    Args:
        qvalue_network: ``observation -> action_value [B, N, A]``, or ``[B, N, K, M]``.
    """

    @dataclass
    class _AcceptedKeys(TransitionKeys):
        action_value: NestedKey = "action_value"
        action_probability: NestedKey = "action_probability"
        critic_weight: NestedKey = "critic_weight"  # w of a transition, [B, N]; a batch may lack it

    tensor_keys: _AcceptedKeys
    default_keys = _AcceptedKeys
    choice = "action_probability"

    def qvalues(self, params: TensorDictBase, rows: TensorDictBase) -> Tensor:
        values = self._output(params, rows, self.tensor_keys.action_value)
        return chosen_action_value(values, rows.get(self.tensor_keys.action))

    def state_values(self, params: TensorDictBase, rows: TensorDictBase) -> Tensor:
        values = self._output(params, rows, self.tensor_keys.action_value)  # [B, N, A] or [B, N, K, M]
        probability = rows.get(self.tensor_keys.action_probability)
        if probability.ndim == values.ndim - 1:
            probability = probability[:, None]
        each = probability.repeat_interleave(values.shape[1] // probability.shape[1], 1)  # [B, P, ..] -> [B, N, ..]
        # a part with fewer values than another has -inf there, and no probability
        return torch.where(each > 0.0, each * values, 0.0).flatten(2).sum(-1)
