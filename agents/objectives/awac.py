"""Advantage-weighted actor-critic (Nair, Gupta, Dalal, Levine 2020, arXiv 2006.09359).

Shapes: ``B`` batch, ``A`` action, ``N`` critics. Values are in units of (scaled) discounted return.
"""

from __future__ import annotations

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModule
from torch import Tensor
from torch.distributions import Distribution
from torchrl.data import TensorSpec

from agents.networks.bounds import register_limits
from agents.objectives.common import ActorCriticLoss, bellman_target, critic_values, distribution, target_per_critic
from agents.objectives.settings import check_awac
from agents.objectives.weighting import AdvantageScale, weight_statistics, weighted_regression


class AWACLoss(ActorCriticLoss):
    r"""AWAC's two losses from one evaluation of each network at each action.

    With :math:`\tilde a \sim \pi(s)`, :math:`\tilde a' \sim \pi(s')`, clipped to the action bounds, and :math:`\bar Q`
    the target critics,

    .. math::
        y     &= r + \gamma (1 - \mathrm{terminated}) \min_j \bar Q_j(s', \tilde a') \\
        L_Q   &= \sum_i E[\, (y - Q_i(s, a))^2 \,] \\
        A     &= \min_j Q_j(s, a) - \min_j Q_j(s, \tilde a) \\
        L_\pi &= -E[\, \min(\exp(\beta A), c) \log \pi(a|s) \,]

    (AWAC, eqs. 5 and 13, where beta is 1 / lambda.) No gradient flows through y or A.

    Args:
        actor_network: ``observation -> action`` with ``get_dist``.
        qvalue_network: ``observation, action -> state_action_value [B, N]``.
        action_spec: bounds of the actions.
        temperature: beta, an inverse temperature, >= 0.
        gamma: discount in [0, 1].
        advantage_clip: c, the largest weight, or None.
        advantage_scale: what the advantages are divided by in the weights; None: 1.

    Returns (forward): TensorDict of scalars ``loss_actor``, ``loss_qvalue`` and, detached, ``log_prob``, ``qvalue``,
    ``state_value`` (the smallest Q of the policy's action), ``advantage``, ``weight``, ``clip_fraction``,
    ``effective_sample_size`` and, where that changes, ``advantage_scale``.
    """

    action_low: Tensor  # [A]
    action_high: Tensor  # [A]

    def __init__(
        self,
        actor_network: ProbabilisticTensorDictSequential,
        qvalue_network: TensorDictModule,
        *,
        action_spec: TensorSpec,
        temperature: float = 1.0,
        gamma: float = 0.99,
        advantage_clip: float | None = 100.0,
        advantage_scale: AdvantageScale | None = None,
        reduction: str = "mean",
    ) -> None:
        check_awac(temperature=temperature, gamma=gamma, advantage_clip=advantage_clip)
        super().__init__()
        self.reduction = reduction
        self.temperature, self.gamma, self.advantage_clip = temperature, gamma, advantage_clip
        self.advantage_scale = advantage_scale
        self.convert_to_functional(actor_network, "actor_network")
        self.convert_to_functional(qvalue_network, "qvalue_network", create_target_params=True)
        register_limits(self, action_spec)
        statistics = ["log_prob", "qvalue", "state_value", "advantage", *weight_statistics(advantage_scale)]
        self.out_keys = ["loss_actor", "loss_qvalue", *statistics]

    def _evaluate(self, rows: TensorDictBase) -> TensorDict:
        policy = distribution(self, rows)
        qvalues = critic_values(self, self.qvalue_network_params, rows)  # [B, N]
        with torch.no_grad():
            action = self._sample(policy)
            value = critic_values(self, self.qvalue_network_params, rows, action).amin(-1)  # [B]
            following = rows.get("next")
            next_action = self._sample(distribution(self, following))
            next_qvalues = critic_values(self, self.target_qvalue_network_params.data, following, next_action)  # [B, N]
            target = bellman_target(self, rows, next_qvalues.amin(-1))  # [B]
        advantage = qvalues.detach().amin(-1) - value
        log_prob = policy.log_prob(rows.get(self.tensor_keys.action))  # [B]
        loss_actor, weights = weighted_regression(
            log_prob, advantage, self.temperature, self.advantage_clip, scale=self.advantage_scale
        )
        return TensorDict(
            {
                "loss_actor": self._mean(loss_actor, rows),
                "loss_qvalue": self._mean((target_per_critic(target, qvalues) - qvalues).square().sum(-1), rows),
                "log_prob": log_prob.detach().mean(),
                "qvalue": qvalues.detach().mean(),
                "state_value": value.mean(),
                "advantage": advantage.mean(),
                **weights,
            }
        )

    def _sample(self, policy: Distribution) -> Tensor:
        # an unsquashed Normal knows no bounds, and the critics know nothing beyond them
        return policy.rsample().clamp(self.action_low, self.action_high)
