"""Advantage-weighted actor-critic (Nair, Gupta, Dalal, Levine 2020, arXiv 2006.09359).

Shapes: ``B`` batch, ``A`` action, ``N`` critics. Values are in units of (scaled) discounted return.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tensordict import TensorDict, TensorDictBase, TensorDictParams
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModule, dispatch
from tensordict.utils import NestedKey
from torch import Tensor
from torch.distributions import Distribution
from torchrl.data import Bounded
from torchrl.objectives import LossModule

from agents.objectives.calls import bellman_target, distribution, output
from agents.objectives.iql import advantage_weight
from agents.objectives.settings import check_awac


class AWACLoss(LossModule):
    r"""AWAC's two losses from one evaluation of each network at each action.

    With :math:`\tilde a \sim \pi(s)`, :math:`\tilde a' \sim \pi(s')`, clipped to the action bounds, and :math:`\bar Q`
    the target critics,

    .. math::
        y     &= r + \gamma (1 - \mathrm{terminated}) \min_j \bar Q_j(s', \tilde a') \\
        L_Q   &= \sum_i E[\, (y - Q_i(s, a))^2 \,] \\
        A     &= \min_j Q_j(s, a) - \min_j Q_j(s, \tilde a) \\
        L_\pi &= -E[\, \min(\exp(\beta A), c) \log \pi(a|s) \,]

    (AWAC, eqs. 5 and 13, where beta is 1 / lambda.) No gradient flows through y or A. Both losses use the parameters
    from before the update.

    Args:
        actor_network: ``observation -> action`` with ``get_dist``.
        qvalue_network: ``observation, action -> state_action_value [B, N]``.
        action_spec: bounds of the actions.
        temperature: beta, an inverse temperature, >= 0.
        gamma: discount in [0, 1].
        advantage_clip: c, the largest weight, or None.

    Returns (forward): TensorDict of scalars ``loss_actor``, ``loss_qvalue`` and, detached, ``log_prob``, ``qvalue``,
    ``state_value`` (the smallest Q of the policy's action), ``advantage``, ``weight``, ``clip_fraction``.

    Raises:
        ConfigError: if a setting is out of range.
    """

    @dataclass
    class _AcceptedKeys:
        action: NestedKey = "action"
        state_action_value: NestedKey = "state_action_value"
        reward: NestedKey = "reward"
        terminated: NestedKey = "terminated"

    tensor_keys: _AcceptedKeys
    default_keys = _AcceptedKeys
    out_keys = [
        "loss_actor",
        "loss_qvalue",
        "log_prob",
        "qvalue",
        "state_value",
        "advantage",
        "weight",
        "clip_fraction",
    ]

    actor_network: ProbabilisticTensorDictSequential
    actor_network_params: TensorDictParams
    target_actor_network_params: TensorDictParams
    qvalue_network: TensorDictModule
    qvalue_network_params: TensorDictParams
    target_qvalue_network_params: TensorDictParams

    def __init__(
        self,
        actor_network: ProbabilisticTensorDictSequential,
        qvalue_network: TensorDictModule,
        *,
        action_spec: Bounded,
        temperature: float = 1.0,
        gamma: float = 0.99,
        advantage_clip: float | None = 100.0,
    ) -> None:
        check_awac(temperature=temperature, gamma=gamma, advantage_clip=advantage_clip)
        super().__init__()
        self.temperature = temperature
        self.gamma = gamma
        self.advantage_clip = advantage_clip
        self.convert_to_functional(actor_network, "actor_network")
        self.convert_to_functional(qvalue_network, "qvalue_network", create_target_params=True)
        device = next(self.parameters()).device
        self.register_buffer("action_low", action_spec.space.low.to(device))
        self.register_buffer("action_high", action_spec.space.high.to(device))

    @property
    def in_keys(self) -> list[NestedKey]:
        keys = self.tensor_keys
        networks = (*self.actor_network.in_keys, *self.qvalue_network.in_keys)
        observations = [key for key in dict.fromkeys(networks) if key != keys.action]
        following = [("next", key) for key in (*observations, keys.reward, keys.terminated)]
        return [*observations, keys.action, *following]

    @dispatch
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        keys = self.tensor_keys
        policy = self._policy(tensordict)
        qvalues = self._qvalues(tensordict, tensordict.get(keys.action), self.qvalue_network_params)  # [B, N]
        with torch.no_grad():
            value = self._qvalues(tensordict, self._sample(policy), self.qvalue_network_params).amin(-1)  # [B]
            target = bellman_target(
                tensordict, self._next_value(tensordict), self.gamma, reward=keys.reward, terminated=keys.terminated
            )  # [B]
        advantage = qvalues.detach().amin(-1) - value
        weight = advantage_weight(advantage, self.temperature, self.advantage_clip)
        log_prob = policy.log_prob(tensordict.get(keys.action))  # [B]
        clipped = torch.zeros_like(weight) if self.advantage_clip is None else weight >= self.advantage_clip
        return TensorDict(
            {
                "loss_actor": -(weight * log_prob).mean(),
                "loss_qvalue": (target[:, None] - qvalues).square().sum(-1).mean(),
                "log_prob": log_prob.detach().mean(),
                "qvalue": qvalues.detach().mean(),
                "state_value": value.mean(),
                "advantage": advantage.mean(),
                "weight": weight.mean(),
                "clip_fraction": clipped.float().mean(),
            }
        )

    def _policy(self, tensordict: TensorDictBase) -> Distribution:
        with self.actor_network_params.to_module(self.actor_network):
            return distribution(self.actor_network, tensordict)

    def _sample(self, policy: Distribution) -> Tensor:
        # an unsquashed Normal knows no bounds, and the critics know nothing beyond them
        return policy.rsample().clamp(self.action_low, self.action_high)

    def _next_value(self, tensordict: TensorDictBase) -> Tensor:
        following = tensordict.get("next")
        action = self._sample(self._policy(following))
        return self._qvalues(following, action, self.target_qvalue_network_params).amin(-1)

    def _qvalues(self, tensordict: TensorDictBase, action: Tensor, params: TensorDictParams) -> Tensor:
        keys = self.tensor_keys
        with params.to_module(self.qvalue_network):
            return output(self.qvalue_network, tensordict, keys.state_action_value, {keys.action: action})
