"""Implicit Q-learning (Kostrikov, Nair, Levine 2021, arXiv 2110.06169).

Shapes: ``B`` batch, ``N`` critics. Values are in units of (scaled) discounted return.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase, TensorDictParams
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModule
from tensordict.utils import NestedKey
from torch import Tensor, nn
from torch.distributions import Normal
from torchrl.objectives.utils import distance_loss

from agents.errors import require
from agents.objectives.common import (
    ActorCriticLoss,
    CriticKeys,
    bellman_target,
    critic_values,
    distribution,
    output,
    target_per_critic,
    transition_keys,
)
from agents.objectives.settings import check_iql
from agents.objectives.weighting import AdvantageScale, weight_statistics, weighted_regression


def expectile_loss(residual: Tensor, expectile: float | Tensor) -> Tensor:
    r"""Asymmetric squared error whose minimiser is an expectile of the target.

    .. math:: L(u) = |\tau - 1(u < 0)| \, u^2        (IQL, section 4.1)

    Args:
        residual: target minus prediction, in units of (scaled) return, of any shape, which the loss has too.
        expectile: tau in (0, 1); 0.5 is half the squared error.

    Raises:
        ConfigError: if ``expectile`` is a number outside (0, 1).
    """
    if not isinstance(expectile, Tensor):  # which is not to be read back
        require(0.0 < expectile < 1.0, "expectile", "lie in (0, 1)", expectile)
    return torch.where(residual < 0, 1.0 - expectile, expectile) * residual.square()


def ddpg_bc_loss(qvalue: Tensor, log_prob: Tensor, bc_weight: float) -> Tensor:
    r"""Policy extraction by ascending Q, held near the data by behaviour cloning, ``[B]``.

    .. math::
        L_\pi = -(\lambda Q(s, \mu(s)) + \alpha \log \pi(a|s)), \quad \lambda = 1 / E[\, |Q(s, \mu(s))| \,]

    (DDPG+BC of Park, Frans, Levine, Kumar 2024, arXiv 2406.09329, with Q scaled as in TD3+BC, arXiv 2106.06860.)

    Args:
        qvalue: of the policy's mean action mu(s), ``[B]``, with a gradient by that action.
        log_prob: of the data's actions, ``[B]``; in the source with a standard deviation of 1.
        bc_weight: alpha >= 0.
    """
    scale = 1.0 / qvalue.detach().abs().mean()
    return -(scale * qvalue + bc_weight * log_prob)


class IQLLoss(ActorCriticLoss):
    r"""IQL's three losses from one evaluation of each network.

    With :math:`u = \min_i \bar Q_i(s, a) - V(s)` and :math:`\bar Q` the target critics,

    .. math::
        L_V   &= E[\, |\tau - 1(u < 0)| \, u^2 \,] \\
        L_Q   &= \sum_i E[\, (r + \gamma (1 - \mathrm{terminated}) V(s') - Q_i(s, a))^2 \,] \\
        L_\pi &= -E[\, \min(\exp(\beta u), c) \log \pi(a|s) \,]

    No gradient flows through :math:`\bar Q`, through :math:`V(s')` in :math:`L_Q`, or through :math:`u` in
    :math:`L_\pi`.

    Differs from :class:`torchrl.objectives.IQLLoss`: the defaults are the paper's, critics come as one ensemble module,
    statistics are returned, and the batch is left as it was.

    Args:
        actor_network: ``observation -> action`` with ``get_dist``.
        qvalue_network: ``observation, action -> state_action_value [B, N]``.
        value_network: ``observation -> state_value [B, 1]``.
        loss_function: distance in :math:`L_Q`: ``l2`` (the paper's), ``l1`` or ``smooth_l1``.
        temperature: beta, an inverse temperature, >= 0.
        expectile: tau in (0, 1), or a module that gives the tau of an update from the advantages ``[B]``.
        gamma: discount in [0, 1].
        advantage_clip: c, the largest weight, or None.
        advantage_scale: what the advantages are divided by in the weights; None: 1.
        bc_weight: alpha >= 0, to take ``ddpg_bc_loss`` with the critics for :math:`L_\pi`, where the actor's standard
            deviation counts as 1; None: as above.

    Returns (forward): TensorDict of scalars ``loss_actor``, ``loss_qvalue``, ``loss_value`` and, detached, ``entropy``
    (TorchRL's key: the negative log-likelihood of the data), ``log_prob``, ``qvalue``, ``state_value``, ``advantage``,
    unless ``bc_weight`` is given ``weight``, ``clip_fraction`` and ``effective_sample_size``, and ``expectile`` and
    ``advantage_scale`` where these change.
    """

    @dataclass
    class _AcceptedKeys(CriticKeys):
        value: NestedKey = "state_value"

    tensor_keys: _AcceptedKeys  # pyright: ignore[reportIncompatibleVariableOverride]  # the critics' keys, and one more
    default_keys = _AcceptedKeys

    value_network: TensorDictModule
    value_network_params: TensorDictParams
    target_value_network_params: TensorDictParams

    def __init__(
        self,
        actor_network: ProbabilisticTensorDictSequential,
        qvalue_network: TensorDictModule,
        value_network: TensorDictModule,
        *,
        loss_function: str = "l2",
        temperature: float = 3.0,
        expectile: float | nn.Module = 0.7,
        gamma: float = 0.99,
        advantage_clip: float | None = 100.0,
        advantage_scale: AdvantageScale | None = None,
        bc_weight: float | None = None,
        reduction: str = "mean",
    ) -> None:
        check_iql(
            loss_function=loss_function,
            temperature=temperature,
            expectile=0.5 if isinstance(expectile, nn.Module) else expectile,  # which has checked its own
            gamma=gamma,
            advantage_clip=advantage_clip,
            bc_weight=bc_weight,
        )
        super().__init__()
        self.reduction = reduction
        self.loss_function, self.expectile, self.gamma = loss_function, expectile, gamma
        self.temperature, self.advantage_clip, self.bc_weight = temperature, advantage_clip, bc_weight
        self.advantage_scale = advantage_scale if bc_weight is None else None
        self.convert_to_functional(actor_network, "actor_network")
        self.convert_to_functional(value_network, "value_network")
        self.convert_to_functional(qvalue_network, "qvalue_network", create_target_params=True)
        losses = ["loss_actor", "loss_qvalue", "loss_value"]
        weights = weight_statistics(advantage_scale) if bc_weight is None else []
        schedule = ["expectile"] if isinstance(expectile, nn.Module) else []
        self.out_keys = [*losses, "entropy", "log_prob", "qvalue", "state_value", "advantage", *weights, *schedule]

    @property
    def in_keys(self) -> list[NestedKey]:  # pyright: ignore[reportIncompatibleMethodOverride]  # follows tensor_keys
        networks = (self.actor_network, self.value_network)
        return transition_keys(self.tensor_keys, networks, [self.value_network])

    def _evaluate(self, rows: TensorDictBase) -> TensorDict:
        with torch.no_grad():
            target_qvalue = critic_values(self, self.target_qvalue_network_params.data, rows).amin(-1)  # [B]
        value, next_value = self._values(rows)  # [B], [B]
        advantage = (target_qvalue - value).detach()
        policy = distribution(self, rows)
        log_prob = policy.log_prob(rows.get(self.tensor_keys.action))  # [B]
        loss_actor, actor_statistics = self._extract_policy(rows, policy, log_prob, advantage)
        qvalues = critic_values(self, self.qvalue_network_params, rows)  # [B, N]
        target = target_per_critic(bellman_target(self, rows, next_value), qvalues)  # [B, N]
        expectile, schedule = self._expectile(advantage)
        return TensorDict(
            {
                "loss_actor": self._mean(loss_actor, rows),
                "loss_qvalue": self._mean(distance_loss(qvalues, target, self.loss_function).sum(-1), rows),
                "loss_value": self._mean(expectile_loss(target_qvalue - value, expectile), rows),
                "entropy": -log_prob.detach().mean(),
                "log_prob": log_prob.detach().mean(),
                "qvalue": qvalues.detach().mean(),
                "state_value": value.detach().mean(),
                "advantage": advantage.mean(),
                **actor_statistics,
                **schedule,
            }
        )

    def _extract_policy(
        self, tensordict: TensorDictBase, policy: Any, log_prob: Tensor, advantage: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if self.bc_weight is None:
            return weighted_regression(
                log_prob, advantage, self.temperature, self.advantage_clip, scale=self.advantage_scale
            )
        action, params = policy.deterministic_sample, self.qvalue_network_params.detach()  # no gradient for the critics
        qvalue = critic_values(self, params, tensordict, action).amin(-1)
        return ddpg_bc_loss(qvalue, self._unit_log_prob(tensordict, action), self.bc_weight), {}

    def _unit_log_prob(self, tensordict: TensorDictBase, mean: Tensor) -> Tensor:
        """Of the data's actions, ``[B]``, under Normals of standard deviation 1: a learnt one would scale its pull."""
        return Normal(mean, 1.0, validate_args=False).log_prob(tensordict.get(self.tensor_keys.action)).sum(-1)

    def _expectile(self, advantage: Tensor) -> tuple[float | Tensor, dict[str, Tensor]]:
        if not isinstance(self.expectile, nn.Module):
            return self.expectile, {}
        expectile = self.expectile(advantage)
        return expectile, {"expectile": expectile}

    def _values(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        with self.value_network_params.to_module(self.value_network, preserve_module_state=False):
            value = self._read_value(tensordict)
            with torch.no_grad():
                return value, self._read_value(tensordict.get("next"))

    def _read_value(self, tensordict: TensorDictBase) -> Tensor:
        return output(self.value_network, tensordict, self.tensor_keys.value).squeeze(-1)
