"""SAC with an ensemble of critics of which a few, drawn anew at each update, make the target.

Shapes: ``B`` batch, ``A`` action, ``N`` critics. Values are in units of (scaled) discounted return.
"""

from __future__ import annotations

import math

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModule
from torch import Tensor, nn
from torchrl.data import TensorSpec

from agents.networks.bounds import register_limits
from agents.objectives.common import ActorCriticLoss, bellman_target, critic_values, drawn_actions, target_per_critic
from agents.objectives.settings import check_redq


class REDQLoss(ActorCriticLoss):
    r"""The losses of randomised ensembled double Q-learning (Chen, Wang, Zhou, Ross 2021, arXiv 2101.05982).

    With :math:`a \sim \pi(s)`, :math:`a' \sim \pi(s')`, :math:`\bar Q` the target critics and a set M of them, which is
    drawn without replacement at each update,

    .. math::
        y     &= r + \gamma (1 - \mathrm{terminated}) (\min_{j \in M} \bar Q_j(s', a') - \alpha \log \pi(a'|s')) \\
        L_Q   &= \sum_i E[\, (y - Q_i(s, a_{data}))^2 \,] \\
        L_\pi &= E[\, \alpha \log \pi(a|s) - \tfrac{1}{N} \sum_j Q_j(s, a) \,] \\
        L_\alpha &= -\log \alpha \, E[\, \log \pi(a|s) + \bar H \,]

    The entropy in y, and the mean in the policy's loss instead of the minimum, are choices: RLPD (arXiv 2302.02948)
    takes the mean, WSRL (arXiv 2412.07762) the minimum, and neither has an entropy in y on Adroit. Actions of an actor
    that knows no bounds are clipped to them.

    Args:
        actor_network: ``observation -> action`` with ``get_dist``, which can be sampled with a gradient.
        qvalue_network: ``observation, action -> state_action_value [B, N]``.
        action_spec: bounds of the actions.
        target_entropy: H, in nats.
        num_target_nets: size of M, >= 1; of fewer critics, all of them.
        entropy_backup: whether y has an entropy.
        actor_qvalue: ``mean`` or ``min`` over the critics.
        gamma: discount in [0, 1].
        alpha_init: alpha at the start, > 0.

    Returns (forward): TensorDict of scalars ``loss_actor``, ``loss_qvalue``, ``loss_alpha`` and, detached, ``alpha``,
    ``entropy``, ``qvalue`` and ``qvalue_std``, over the critics.
    """

    action_low: Tensor  # [A]
    action_high: Tensor  # [A]

    def __init__(
        self,
        actor_network: ProbabilisticTensorDictSequential,
        qvalue_network: TensorDictModule,
        *,
        action_spec: TensorSpec,
        target_entropy: float,
        num_target_nets: int = 2,
        entropy_backup: bool = True,
        actor_qvalue: str = "mean",
        gamma: float = 0.99,
        alpha_init: float = 1.0,
        reduction: str = "mean",
    ) -> None:
        check_redq(num_target_nets=num_target_nets, actor_qvalue=actor_qvalue, gamma=gamma, alpha_init=alpha_init)
        super().__init__()
        self.reduction, self.target_entropy, self.gamma = reduction, target_entropy, gamma
        self.num_target_nets, self.entropy_backup, self.actor_qvalue = num_target_nets, entropy_backup, actor_qvalue
        self.convert_to_functional(actor_network, "actor_network")
        self.convert_to_functional(qvalue_network, "qvalue_network", create_target_params=True)
        register_limits(self, action_spec)
        self.log_alpha = nn.Parameter(torch.tensor(math.log(alpha_init), device=self.action_low.device))
        losses = ["loss_actor", "loss_qvalue", "loss_alpha"]
        self.out_keys = [*losses, "alpha", "entropy", "qvalue", "qvalue_std"]

    def _evaluate(self, rows: TensorDictBase) -> TensorDict:
        alpha = self.log_alpha.detach().exp()
        target = self._target(rows, alpha)  # [B]
        qvalues = critic_values(self, self.qvalue_network_params, rows)  # [B, N]
        action, log_prob = drawn_actions(self, rows)  # [B, A], [B]
        frozen = self.qvalue_network_params.detach()  # no gradient for the critics through the policy's action
        of_policy = critic_values(self, frozen, rows, action)  # [B, N]
        value = of_policy.mean(-1) if self.actor_qvalue == "mean" else of_policy.amin(-1)
        excess = self._mean(log_prob.detach(), rows) + self.target_entropy
        return TensorDict(
            {
                "loss_actor": self._mean(alpha * log_prob - value, rows),
                "loss_qvalue": self._mean((target_per_critic(target, qvalues) - qvalues).square().sum(-1), rows),
                "loss_alpha": -self.log_alpha * excess,
                "alpha": alpha,
                "entropy": -log_prob.detach().mean(),
                "qvalue": qvalues.detach().mean(),
                "qvalue_std": qvalues.detach().std(-1, correction=0).mean(),
            }
        )

    @torch.no_grad()
    def _target(self, tensordict: TensorDictBase, alpha: Tensor) -> Tensor:
        following = tensordict.get("next")
        action, log_prob = drawn_actions(self, following)
        qvalues = critic_values(self, self.target_qvalue_network_params.data, following, action)
        next_value = self._smallest_of_some(qvalues)
        return bellman_target(self, tensordict, next_value - alpha * log_prob if self.entropy_backup else next_value)

    def _smallest_of_some(self, qvalues: Tensor) -> Tensor:
        """Of as many critics as the target has, drawn for the whole batch, ``[B, N] -> [B]``."""
        num_nets = qvalues.shape[-1]
        if self.num_target_nets >= num_nets:
            return qvalues.amin(-1)
        order = torch.rand(num_nets, device=qvalues.device)
        chosen = order >= order.topk(self.num_target_nets).values[-1]
        return qvalues.masked_fill(~chosen, math.inf).amin(-1)
