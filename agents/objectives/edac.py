"""Ensemble-diversified actor-critic and SAC-N (An, Moon, Kim, Song 2021, arXiv 2110.01548).

Shapes: ``B`` batch, ``O`` observation, ``A`` action, ``N`` critics. Values are in units of (scaled) discounted return.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModule
from torch import Tensor, nn
from torchrl.modules.distributions.utils import rsample_and_log_prob

from agents.errors import ConfigError
from agents.objectives.common import ActorCriticLoss, bellman_target, distribution, target_per_critic
from agents.objectives.settings import check_edac

NUM_BACKUP_ACTIONS = 10  # of max_q_backup, as in the authors' code


def gradient_similarity(gradients: Tensor) -> Tensor:
    r"""Agreement of critics on the direction in which an action is to be changed, ``[B]``, in [-N / (N - 1), N].

    .. math:: ES = \frac{1}{N - 1} \sum_{i \ne j} \cos(\nabla_a Q_i, \nabla_a Q_j)        (EDAC, section 4)

    Args:
        gradients: of each critic by its action, ``[N, B, A]``, N >= 2.
    """
    directions = nn.functional.normalize(gradients, dim=-1, eps=1e-10)
    # the square of the sum holds every pair twice and every direction with itself: no [N, N] table is needed
    pairs = directions.sum(0).square().sum(-1) - directions.square().sum((0, 2))
    return pairs / (len(gradients) - 1)


class EDACLoss(ActorCriticLoss):
    r"""SAC with the smallest of N target critics, and critics whose gradients are driven apart.

    With :math:`a \sim \pi(s)`, :math:`a' \sim \pi(s')` and :math:`\bar Q` the target critics,

    .. math::
        y &= r + \gamma (1 - \mathrm{terminated}) (\min_j \bar Q_j(s', a') - \alpha \log \pi(a'|s')) \\
        L_Q &= \sum_i E[\, (y - Q_i(s, a_{data}))^2 \,] \\
        L_{div} &= \eta \, E[\, ES(s, a_{data}) \,]        \qquad \text{(see gradient_similarity)} \\
        L_\pi &= E[\, \alpha \log \pi(a|s) - \min_j Q_j(s, a) \,] \\
        L_\alpha &= -\log \alpha \, E[\, \log \pi(a|s) + \bar H \,]

    ``max_q_backup``, the authors' choice for pen-cloned, has another target without an entropy, in which each critic
    itself takes its best of ten sampled actions:

    .. math:: y = r + \gamma (1 - \mathrm{terminated}) \min_j \max_{k \le 10} Q_j(s', a'_k), \quad a'_k \sim \pi(s')

    ``eta=0`` is SAC-N, and with two critics SAC. ``torch.compile(loss, fullgraph=True)`` refuses the gradient
    in the loss (``eta > 0``), which :meth:`~agents.Agent.compile` takes.

    Args:
        actor_network: ``observation -> action`` with ``get_dist``, which can be sampled with a gradient.
        qvalue_network: ``observation, action -> state_action_value [B, N]``, which takes actions of each critic's own,
            ``[N, B, A]``, too, and whose module has their number N >= 2 as ``num_nets`` (``eta > 0`` needs both).
        target_entropy: H, in nats.
        eta: weight of the diversification, >= 0.
        gamma: discount in [0, 1].
        alpha_init: alpha at the start, > 0.
        max_q_backup: see above.

    Raises:
        ConfigError: if ``eta > 0`` and the network does not say how many critics it holds.

    Returns (forward): TensorDict of scalars ``loss_actor``, ``loss_qvalue``, with ``eta > 0`` ``loss_diversity``,
    ``loss_alpha`` and, detached, ``alpha``, ``entropy``, ``qvalue`` and ``qvalue_std``, over the critics.
    """

    def __init__(
        self,
        actor_network: ProbabilisticTensorDictSequential,
        qvalue_network: TensorDictModule,
        *,
        target_entropy: float,
        eta: float = 1.0,
        gamma: float = 0.99,
        alpha_init: float = 1.0,
        max_q_backup: bool = False,
        reduction: str = "mean",
    ) -> None:
        check_edac(eta=eta, gamma=gamma, alpha_init=alpha_init)
        if eta > 0.0 and not hasattr(qvalue_network.module, "num_nets"):
            raise ConfigError(
                f"with eta > 0, {type(qvalue_network.module).__name__} must have an attribute num_nets, the number of "
                "its critics, and take actions of each critic's own, [N, B, A]"
            )
        super().__init__()
        self.reduction, self.max_q_backup = reduction, max_q_backup
        self.target_entropy, self.eta, self.gamma = target_entropy, eta, gamma
        self.convert_to_functional(actor_network, "actor_network")
        self.convert_to_functional(qvalue_network, "qvalue_network", create_target_params=True)
        device = next(self.parameters()).device
        self.log_alpha = nn.Parameter(torch.tensor(math.log(alpha_init), device=device))
        losses = ["loss_actor", "loss_qvalue", *(["loss_diversity"] if eta > 0.0 else []), "loss_alpha"]
        self.out_keys = [*losses, "alpha", "entropy", "qvalue", "qvalue_std"]

    def _evaluate(self, rows: TensorDictBase) -> TensorDict:
        alpha = self.log_alpha.detach().exp()
        target = self._bellman_target(rows, alpha)  # [B]
        action, log_prob = self._sample(rows)  # [B, A], [B]
        own_actions = self._action_per_critic(rows)  # [N, B, A]
        learning = torch.is_grad_enabled()
        with torch.set_grad_enabled(learning or self.eta > 0.0):  # a gradient is part of the loss, held out too
            qvalues = self._qvalues(rows, own_actions, self.qvalue_network_params)  # [B, N]
            of_all = qvalues.sum()
        frozen = self.qvalue_network_params.detach()  # no gradient for the critics through the policy's action
        policy_qvalues = self._qvalues(rows, action, frozen)
        losses = {
            "loss_actor": self._mean(alpha * log_prob - policy_qvalues.amin(-1), rows),
            "loss_qvalue": self._mean((target_per_critic(target, qvalues) - qvalues).square().sum(-1), rows),
        }
        if self.eta > 0.0:
            (gradients,) = torch.autograd.grad(of_all, own_actions, create_graph=learning)
            losses["loss_diversity"] = self.eta * self._mean(gradient_similarity(gradients), rows)
        losses["loss_alpha"] = -self.log_alpha * (self._mean(log_prob.detach(), rows) + self.target_entropy)
        spread = qvalues.detach().std(-1).mean()
        statistics = {"entropy": -log_prob.detach().mean(), "qvalue": qvalues.detach().mean(), "qvalue_std": spread}
        return TensorDict({**losses, "alpha": alpha, **statistics})

    def _sample(self, tensordict: TensorDictBase) -> tuple[Tensor, Tensor]:
        return rsample_and_log_prob(distribution(self, tensordict))

    def _qvalues(self, tensordict: TensorDictBase, action: Tensor, params: TensorDictBase) -> Tensor:
        network = self.qvalue_network
        values = [action if key == self.tensor_keys.action else tensordict.get(key) for key in network.in_keys]
        # a critic's own actions go with as many copies of the states
        values = [value.expand(*action.shape[:-1], value.shape[-1]) for value in values]
        with params.to_module(network, preserve_module_state=False):
            return network.module(*values)

    def _action_per_critic(self, tensordict: TensorDictBase) -> Tensor:
        """The data's actions, once per critic where the gradient of each by its own is wanted."""
        action = tensordict.get(self.tensor_keys.action)
        if self.eta == 0.0:
            return action
        critics: Any = self.qvalue_network.module
        return action.expand(critics.num_nets, *action.shape).detach().requires_grad_()

    @torch.no_grad()
    def _bellman_target(self, tensordict: TensorDictBase, alpha: Tensor) -> Tensor:
        following = tensordict.get("next")
        if self.max_q_backup:
            return bellman_target(self, tensordict, self._best_qvalues(following).amin(-1))
        action, log_prob = self._sample(following)
        next_value = self._qvalues(following, action, self.target_qvalue_network_params.data).amin(-1)
        return bellman_target(self, tensordict, next_value - alpha * log_prob)

    def _best_qvalues(self, tensordict: TensorDictBase) -> Tensor:
        """Of each critic, not its target, the value of the action that it likes best of some, ``[B, N]``."""
        states = tensordict.select(*self.actor_network.in_keys, *self.qvalue_network.in_keys, strict=False)
        states = states.expand(NUM_BACKUP_ACTIONS, *states.shape).reshape(-1)
        action, _ = self._sample(states)
        qvalues = self._qvalues(states, action, self.qvalue_network_params.data)
        return qvalues.unflatten(0, (NUM_BACKUP_ACTIONS, -1)).amax(0)
