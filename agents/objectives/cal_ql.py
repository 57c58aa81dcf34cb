"""Calibrated Q-learning (Nakamoto et al. 2023, arXiv 2303.05479).

Shapes: ``B`` batch, ``A`` action, ``N`` critics, ``R`` sampled actions of each kind. Values are in units of (scaled)
discounted return.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModule
from tensordict.utils import NestedKey
from torch import Tensor, nn
from torchrl.data import TensorSpec

from agents.errors import ConfigError
from agents.networks.bounds import divisor, register_limits
from agents.objectives.common import (
    ActorCriticLoss,
    CriticKeys,
    bellman_target,
    critic_values,
    drawn_actions,
    target_per_critic,
    transition_keys,
)
from agents.objectives.settings import check_cal_ql


class CalQLLoss(ActorCriticLoss):
    r"""CQL(H) whose critics are not pushed below what the data show to be earned.

    With G the discounted rewards from a step to the end of its episode, an estimate of the value of the policy that
    took the data, :math:`a \sim \pi(s)` and :math:`a'_k \sim \pi(s')`,

    .. math::
        y &= r + \gamma (1 - \mathrm{terminated}) \max_{k \le R} \min_j \bar Q_j(s', a'_k) \\
        L_Q &= \sum_i E[\, (y - Q_i(s, a_{data}))^2 \,] \\
        L_{cql} &= \alpha' w \sum_i (E[\, \log \sum_a \exp(\tilde Q_i(s, a) - \log \mu(a)) - Q_i(s, a_{data}) \,]
                   - \tau) \\
        L_\pi &= E[\, \alpha \log \pi(a|s) - \min_j Q_j(s, a) \,] \\
        L_\alpha &= -\log \alpha \, E[\, \log \pi(a|s) + \bar H \,], \qquad
        L_{\alpha'} = -\tfrac{1}{2} L_{cql} \text{ by alpha' alone}

    The sum over a is over ``R`` actions each of the uniform distribution in the action bounds, of the policy at s and
    of the policy at s'; mu is the density that an action was drawn from; and :math:`\tilde Q_i = \max(Q_i, G)` for the
    policy's actions, :math:`Q_i` for the uniform ones (Cal-QL, eq. 6, and the authors' code). Without Lagrange,
    alpha' is 1 and tau is 0.

    Args:
        actor_network: ``observation -> action`` with ``get_dist``, which can be sampled with a gradient.
        qvalue_network: ``observation, action -> state_action_value [B, N]``.
        action_spec: bounds of the actions.
        target_entropy: H, in nats.
        min_q_weight: w >= 0.
        lagrange_threshold: tau, in units of return; None: without Lagrange.
        num_random: R >= 1.
        max_target_backup: whether y is of the best of R actions, as above, or of a single one.
        gamma: discount in [0, 1].
        alpha_init: alpha at the start, > 0.

    Returns (forward): TensorDict of scalars ``loss_actor``, ``loss_qvalue``, ``loss_cql``, ``loss_alpha``, with
    Lagrange ``loss_alpha_prime``, and, detached, ``alpha``, ``entropy``, ``qvalue``, ``calibrated_share`` (of the
    policy's sampled actions, those that a critic values below G) and, with Lagrange, ``alpha_prime``.

    Raises:
        ConfigError: at a call, if the batch has no G.
    """

    @dataclass
    class _AcceptedKeys(CriticKeys):
        discounted_return: NestedKey = "discounted_return"

    tensor_keys: _AcceptedKeys  # pyright: ignore[reportIncompatibleVariableOverride]  # the critics' keys, and one more
    default_keys = _AcceptedKeys

    action_low: Tensor  # [A]
    action_high: Tensor  # [A]

    def __init__(
        self,
        actor_network: ProbabilisticTensorDictSequential,
        qvalue_network: TensorDictModule,
        *,
        action_spec: TensorSpec,
        target_entropy: float,
        min_q_weight: float = 1.0,
        lagrange_threshold: float | None = None,
        num_random: int = 10,
        max_target_backup: bool = True,
        gamma: float = 0.99,
        alpha_init: float = 1.0,
        reduction: str = "mean",
    ) -> None:
        conservatism = {"min_q_weight": min_q_weight, "lagrange_threshold": lagrange_threshold}
        check_cal_ql(**conservatism, num_random=num_random, gamma=gamma, alpha_init=alpha_init)
        super().__init__()
        self.reduction, self.target_entropy, self.gamma = reduction, target_entropy, gamma
        self.min_q_weight, self.lagrange_threshold = min_q_weight, lagrange_threshold
        self.num_random, self.max_target_backup = num_random, max_target_backup
        self.convert_to_functional(actor_network, "actor_network")
        self.convert_to_functional(qvalue_network, "qvalue_network", create_target_params=True)
        register_limits(self, action_spec)
        device, with_lagrange = self.action_low.device, lagrange_threshold is not None
        self.log_alpha = nn.Parameter(torch.tensor(math.log(alpha_init), device=device))
        if with_lagrange:
            self.log_alpha_prime = nn.Parameter(torch.zeros((), device=device))
        losses = ["loss_actor", "loss_qvalue", "loss_cql", "loss_alpha", *["loss_alpha_prime"] * with_lagrange]
        statistics = ["alpha", "entropy", "qvalue", "calibrated_share", *["alpha_prime"] * with_lagrange]
        self.out_keys = [*losses, *statistics]

    @property
    def in_keys(self) -> list[NestedKey]:  # pyright: ignore[reportIncompatibleMethodOverride]  # follows tensor_keys
        networks = (self.actor_network, self.qvalue_network)
        return [*transition_keys(self.tensor_keys, networks, networks), self.tensor_keys.discounted_return]

    def _evaluate(self, rows: TensorDictBase) -> TensorDict:
        alpha = self.log_alpha.detach().exp()
        action, log_prob = drawn_actions(self, rows)  # [B, A], [B]
        frozen = self.qvalue_network_params.detach()  # no gradient for the critics through the policy's action
        value = critic_values(self, frozen, rows, action).amin(-1)  # [B]
        qvalues = critic_values(self, self.qvalue_network_params, rows)  # [B, N]
        error = target_per_critic(self._target(rows), qvalues) - qvalues
        gap, calibrated_share = self._gap(rows, qvalues)  # [B, N], []
        excess = self._mean(log_prob.detach(), rows) + self.target_entropy
        return TensorDict(
            {
                "loss_actor": self._mean(alpha * log_prob - value, rows),
                "loss_qvalue": self._mean(error.square().sum(-1), rows),
                **self._conservative_losses(gap, rows),
                "loss_alpha": -self.log_alpha * excess,
                "alpha": alpha,
                "entropy": -log_prob.detach().mean(),
                "qvalue": qvalues.detach().mean(),
                "calibrated_share": calibrated_share,
            }
        )

    def _conservative_losses(self, gap: Tensor, rows: TensorDictBase) -> dict[str, Tensor]:
        if self.lagrange_threshold is None:
            return {"loss_cql": self._mean(self.min_q_weight * gap.sum(-1), rows)}
        above = self.min_q_weight * self._mean((gap - self.lagrange_threshold).sum(-1), rows)
        alpha_prime = self.log_alpha_prime.exp().clamp_max(1e6)
        return {
            "loss_cql": alpha_prime.detach() * above,
            "loss_alpha_prime": -0.5 * alpha_prime * above.detach(),
            "alpha_prime": alpha_prime.detach(),
        }

    def _gap(self, rows: TensorDictBase, qvalues: Tensor) -> tuple[Tensor, Tensor]:
        """By how much sampled actions are valued above the data's, ``[B, N]``, and the share of those held up by G."""
        uniform, uniform_log_density = self._uniform_actions(rows)  # [R, B, A], [R, B]
        with torch.no_grad():
            draws = [drawn_actions(self, states, (self.num_random,)) for states in (rows, rows.get("next"))]
        actions = torch.cat([uniform, *(action for action, _ in draws)])  # [3 R, B, A]
        log_density = torch.cat([uniform_log_density, *(log_prob for _, log_prob in draws)])  # [3 R, B]
        sampled = self._values_at_the_same_states(self.qvalue_network_params, rows, actions)  # [3 R, B, N]
        of_uniform, of_policy = sampled.split([self.num_random, 2 * self.num_random])
        floor = self._discounted_return(rows)[:, None].expand_as(of_policy)
        sampled = torch.cat([of_uniform, torch.maximum(of_policy, floor)]) - log_density[..., None]
        return sampled.logsumexp(0) - qvalues, (of_policy < floor).to(sampled.dtype).mean()

    def _discounted_return(self, rows: TensorDictBase) -> Tensor:
        key = self.tensor_keys.discounted_return
        discounted_return = rows.get(key, None)
        if discounted_return is None:
            raise ConfigError(
                f"this algorithm needs {key!r} in a batch: draw it from "
                "dataset.replay_buffer(batch_size, **agent.sampling)"
            )
        return discounted_return.squeeze(-1)

    def _uniform_actions(self, rows: TensorDictBase) -> tuple[Tensor, Tensor]:
        span = self.action_high - self.action_low
        like = rows.get(self.tensor_keys.action)
        actions = self.action_low + span * torch.rand_like(like.expand(self.num_random, *like.shape))
        log_density = -(2.0 * divisor(span / 2.0)).log().sum()
        return actions, log_density.expand(actions.shape[:-1])

    @torch.no_grad()
    def _target(self, tensordict: TensorDictBase) -> Tensor:
        following, targets = tensordict.get("next"), self.target_qvalue_network_params.data
        action, _ = drawn_actions(self, following, (self.num_random if self.max_target_backup else 1,))
        qvalues = self._values_at_the_same_states(targets, following, action)  # [R, B, N]
        return bellman_target(self, tensordict, qvalues.amin(-1).amax(0))

    def _values_at_the_same_states(self, params: TensorDictBase, rows: TensorDictBase, actions: Tensor) -> Tensor:
        """Of several actions per state, ``[K, B, A] -> [K, B, N]``."""
        network, key = self.qvalue_network, self.tensor_keys.action
        states = rows.select(*(name for name in network.in_keys if name != key))
        states = states.expand(len(actions), *states.shape).reshape(-1)
        return critic_values(self, params, states, actions.flatten(0, 1)).unflatten(0, actions.shape[:2])
