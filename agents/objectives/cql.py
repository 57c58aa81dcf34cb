"""Conservative Q-learning (Kumar, Zhou, Tucker, Levine 2020, arXiv 2006.04779) on TorchRL's CQLLoss.

Shapes: ``B`` batch, ``A`` action, ``N`` critics (two), ``R`` sampled actions of each of three kinds.
"""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDictBase
from tensordict.nn import dispatch
from torch import Tensor
from torchrl.data import Composite, TensorSpec
from torchrl.modules.distributions.utils import rsample_and_log_prob
from torchrl.objectives import CQLLoss as TorchRLCQLLoss

from agents.errors import ConfigError
from agents.networks.bounds import divisor, register_limits
from agents.objectives.common import NetworkModes, distribution


class CQLLoss(NetworkModes, TorchRLCQLLoss):
    r"""TorchRL's CQLLoss with the conservative term of the paper.

    .. math::
        L_{cql} &= \alpha' \sum_i (w \, E[\, \log \sum_a \exp(Q_i(s, a) - \log \mu(a)) - Q_i(s, a_{data}) \,]
                   - \tau) \\
        L_{\alpha'} &= -\tfrac{1}{2} L_{cql}    \qquad \text{(by alpha' alone; with Lagrange)}

    The sum over a is over ``R`` actions each of the uniform distribution in the action bounds, of the policy at s and
    of the policy at s', and mu is the density that an action was drawn from: CQL(H) in the paper. Without Lagrange,
    alpha' is 1 and tau is 0.

    In ``cql_loss`` of TorchRL 0.14.1, which is replaced, the logarithm is taken before the mean, so that the sum is
    over one action of each kind; actions of the policy at s' are valued at s'; random actions lie in +-1 whatever the
    bounds; alpha' does not reach the critics' loss; and the critics learn from the loss of alpha', with the wrong sign.
    ``loss_actor_bc``, made for the start of a run in the place of ``loss_actor``, would be added to it: it is left out.

    Args:
        action_spec: bounds of the actions, or a Composite that has them under the key of actions.
        others: as TorchRL's.

    Returns (forward): TensorDict of scalars ``loss_actor``, ``loss_qvalue``, ``loss_cql``, ``loss_alpha``, with
    Lagrange ``loss_alpha_prime``, and, detached, ``alpha``, ``entropy``, ``qvalue``, with Lagrange ``alpha_prime``.
    """

    action_low: Tensor  # [A]
    action_high: Tensor  # [A]
    log_alpha_prime: Tensor  # []

    def __init__(self, *args: Any, action_spec: TensorSpec, **kwargs: Any) -> None:
        super().__init__(*args, action_spec=action_spec, **kwargs)
        is_composite = isinstance(action_spec, Composite)
        register_limits(self, action_spec[self.tensor_keys.action] if is_composite else action_spec)
        losses = [key for key in self.out_keys if key != "loss_actor_bc"]
        self.out_keys = [*losses, "qvalue", *(["alpha_prime"] if self.with_lagrange else [])]

    @dispatch()
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        if self.reduction == "none":
            raise ConfigError("CQLLoss has no losses of single transitions: reduction must be mean or sum, got 'none'")
        rows = tensordict.reshape(-1) if tensordict.batch_dims > 1 else tensordict
        losses = super().forward(rows)
        if rows is not tensordict:
            priority = self.tensor_keys.priority
            tensordict.set(priority, rows.get(priority).reshape(tensordict.batch_size))
        del losses["loss_actor_bc"]
        losses["qvalue"] = self._data_qvalues(rows).detach().mean()
        if self.with_lagrange:
            losses["alpha_prime"] = self._alpha_prime
        return losses

    def cql_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, dict]:
        action, log_prob = self._policy_actions(tensordict)  # [B * R, A], [B * R]
        next_action, next_log_prob = self._policy_actions(tensordict.get("next"))
        uniform, uniform_log_prob = self._uniform_actions(action)
        actions = torch.cat([uniform, action, next_action])
        log_probs = torch.cat([uniform_log_prob, log_prob, next_log_prob])
        qvalues = self._qvalues_at_the_same_states(tensordict, actions)  # [N, 3 * B * R]
        sampled = (qvalues - log_probs) / self.temperature
        sampled = sampled.unflatten(-1, (3, -1, self.num_random))  # [N, 3, B, R]
        largest = self.temperature * sampled.logsumexp((1, 3))  # [N, B]
        gaps = self.min_q_weight * (largest - self._data_qvalues(tensordict))

        # what TorchRL's alpha_prime_loss reads; detached, so that the critics do not learn from it
        tensordict.set(self.tensor_keys.cql_q1_loss, gaps[0].detach())
        tensordict.set(self.tensor_keys.cql_q2_loss, gaps[1].detach())
        if self.with_lagrange:
            gaps = self._alpha_prime * (gaps - self.target_action_gap)
        return self._reduce_loss(gaps.sum(0), tensordict=tensordict), {}

    @property
    def _alpha_prime(self) -> Tensor:
        return self.log_alpha_prime.detach().exp().clamp_max(1e6)  # the limit is that of TorchRL's alpha_prime_loss

    @torch.no_grad()
    def _policy_actions(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        """``R`` per state, one after the other, and their log-likelihoods; TorchRL evaluates the actor for each."""
        states = tensordict.select(*self.actor_network.in_keys)
        return rsample_and_log_prob(distribution(self, states, repeats=self.num_random))

    def _uniform_actions(self, like: Tensor) -> tuple[Tensor, Tensor]:
        span = self.action_high - self.action_low
        log_density = -(2.0 * divisor(span / 2.0)).log().sum()
        return self.action_low + span * torch.rand_like(like), log_density.expand(like.shape[:-1])

    def _qvalues_at_the_same_states(self, tensordict: TensorDictBase, actions: Tensor) -> Tensor:
        """Of three times ``R`` actions per state, ``[3 * B * R, A] -> [N, 3 * B * R]``."""
        pairs = tensordict.select(*self.qvalue_network.in_keys).apply(
            lambda x: torch.cat([x.repeat_interleave(self.num_random, 0)] * 3), batch_size=actions.shape[:1]
        )
        pairs.set(self.tensor_keys.action, actions)
        critics: Any = self._vmap_qvalue_networkN0
        qvalues = critics(pairs, self.qvalue_network_params)
        return qvalues.get(self.tensor_keys.state_action_value).squeeze(-1)

    def _data_qvalues(self, tensordict: TensorDictBase) -> Tensor:
        """Of the data's actions, ``[N, B]``, as ``q_loss`` left them in the batch."""
        keys = self.tensor_keys
        return torch.stack([tensordict.get(keys.pred_q1), tensordict.get(keys.pred_q2)]).squeeze(-1)
