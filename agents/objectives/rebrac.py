"""ReBRAC: TD3+BC with a penalty in the critics too (Tarasov, Kurenkov, Nikulin, Kolesnikov 2023, arXiv 2305.09836).

Shapes: ``B`` batch, ``A`` action, ``N`` critics. Values are in units of (scaled) discounted return.
"""

from __future__ import annotations

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from tensordict.utils import NestedKey
from torch import Tensor
from torchrl.data import TensorSpec

from agents.errors import ConfigError
from agents.networks.bounds import center_and_half_range, divisor, register_limits
from agents.objectives.common import (
    ActorCriticLoss,
    bellman_target,
    critic_values,
    output,
    target_per_critic,
    transition_keys,
)
from agents.objectives.schedules import Decay
from agents.objectives.settings import check_rebrac


class ReBRACLoss(ActorCriticLoss):
    r"""ReBRAC's two losses.

    With :math:`a'` the data's next action, :math:`\bar\pi` and :math:`\bar Q` the target actor and critics, and
    :math:`\epsilon` normal with standard deviation ``policy_noise``,

    .. math::
        \tilde a &= \mathrm{clip}(\bar\pi(s') + \mathrm{clip}(\epsilon, -c, c), a_{low}, a_{high}) \\
        y     &= r + \gamma (1 - \mathrm{terminated})
                 (\min_j \bar Q_j(s', \tilde a) - \beta_2 \, |\tilde a - a'|^2) \\
        L_Q   &= \sum_i E[\, (y - Q_i(s, a))^2 \,] \\
        L_\pi &= E[\, \beta_1 \, |\pi(s) - a|^2 - \lambda \min_j Q_j(s, \pi(s)) \,],
                 \quad \lambda = 1 / E[\, |\min_j Q_j(s, \pi(s))| \,]

    (ReBRAC, eqs. 4 and 5, and its code.) Noise and distances are measured in halves of the action range, which is what
    they are in the paper, where actions lie in +-1. No gradient flows through y, lambda, or to the critics through
    :math:`L_\pi`.

    Args:
        actor_network: ``observation -> action``.
        qvalue_network: ``observation, action -> state_action_value [B, N]``.
        action_spec: bounds of the actions.
        actor_penalty: beta_1 >= 0.
        critic_penalty: beta_2 >= 0, in units of return.
        policy_noise: standard deviation of the noise on the target action, >= 0.
        noise_clip: c >= 0, the largest such noise.
        gamma: discount in [0, 1].
        penalty_decay: the factor of beta_1; None: 1.

    Returns (forward): TensorDict of scalars ``loss_actor``, ``loss_qvalue`` and, detached, ``qvalue``,
    ``action_distance`` (squared, of the policy to the data), ``next_action_distance`` (of the target action) and, where
    it changes, ``penalty_factor``.

    Raises:
        ConfigError: at a call, if the batch has no next action.
    """

    action_low: Tensor  # [A], as the two after it
    action_high: Tensor
    action_half_range: Tensor

    def __init__(
        self,
        actor_network: TensorDictModule,
        qvalue_network: TensorDictModule,
        *,
        action_spec: TensorSpec,
        actor_penalty: float = 1.0,
        critic_penalty: float = 1.0,
        policy_noise: float = 0.2,
        noise_clip: float = 0.5,
        gamma: float = 0.99,
        penalty_decay: Decay | None = None,
        reduction: str = "mean",
    ) -> None:
        penalties = {"actor_penalty": actor_penalty, "critic_penalty": critic_penalty}
        check_rebrac(gamma=gamma, policy_noise=policy_noise, noise_clip=noise_clip, **penalties)
        super().__init__()
        self.reduction = reduction
        self.actor_penalty, self.critic_penalty, self.gamma = actor_penalty, critic_penalty, gamma
        self.policy_noise, self.noise_clip, self.penalty_decay = policy_noise, noise_clip, penalty_decay
        self.convert_to_functional(actor_network, "actor_network", create_target_params=True)
        self.convert_to_functional(qvalue_network, "qvalue_network", create_target_params=True)
        register_limits(self, action_spec)
        self.register_buffer("action_half_range", center_and_half_range(self.action_low, self.action_high)[1])
        statistics = ["qvalue", "action_distance", "next_action_distance"]
        self.out_keys = ["loss_actor", "loss_qvalue", *statistics, *["penalty_factor"] * (penalty_decay is not None)]

    @property
    def in_keys(self) -> list[NestedKey]:  # pyright: ignore[reportIncompatibleMethodOverride]  # follows tensor_keys
        networks = (self.actor_network, self.qvalue_network)
        return transition_keys(self.tensor_keys, networks, networks, self.tensor_keys.action)

    def _evaluate(self, rows: TensorDictBase) -> TensorDict:
        data_action = rows.get(self.tensor_keys.action)
        target, next_distance = self._target(rows)  # [B], [B]
        qvalues = critic_values(self, self.qvalue_network_params, rows)  # [B, N]
        action = self._act(rows, self.actor_network_params)
        # no gradient for the critics here
        value = critic_values(self, self.qvalue_network_params.detach(), rows, action).amin(-1)  # [B]
        distance = self._distance(action, data_action)  # [B]
        scale = 1.0 / value.detach().abs().mean()
        decay = {} if self.penalty_decay is None else {"penalty_factor": self.penalty_decay()}
        penalty = self.actor_penalty * decay.get("penalty_factor", 1.0)
        return TensorDict(
            {
                "loss_actor": self._mean(penalty * distance - scale * value, rows),
                "loss_qvalue": self._mean((target_per_critic(target, qvalues) - qvalues).square().sum(-1), rows),
                "qvalue": qvalues.detach().mean(),
                "action_distance": distance.detach().mean(),
                "next_action_distance": next_distance.mean(),
                **decay,
            }
        )

    def _target(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        keys, following = self.tensor_keys, tensordict.get("next")
        data_action = following.get(keys.action, None)
        if data_action is None:
            raise ConfigError(
                f"this algorithm needs {('next', keys.action)} in a batch: draw it from "
                "dataset.replay_buffer(batch_size, **agent.sampling)"
            )
        action = self._act(following, self.target_actor_network_params.data)
        noise = (self.policy_noise * torch.randn_like(action)).clamp(-self.noise_clip, self.noise_clip)
        action = (action + self.action_half_range * noise).clamp(self.action_low, self.action_high)
        distance = self._distance(action, data_action)
        next_value = critic_values(self, self.target_qvalue_network_params.data, following, action).amin(-1)
        return bellman_target(self, tensordict, next_value - self.critic_penalty * distance), distance

    def _distance(self, action: Tensor, data_action: Tensor) -> Tensor:
        return ((action - data_action) / divisor(self.action_half_range)).square().sum(-1)

    def _act(self, tensordict: TensorDictBase, params: TensorDictBase) -> Tensor:
        with params.to_module(self.actor_network, preserve_module_state=False):
            return output(self.actor_network, tensordict, self.tensor_keys.action)
