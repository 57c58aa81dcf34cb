"""Losses of TorchRL that our configs build, with ``train`` and ``eval`` that reach their networks.

TorchRL takes the networks out of a loss's children, so that its ``eval()`` leaves dropout on.
"""

from __future__ import annotations

from typing import Any

from tensordict import TensorDictBase, TensorDictParams
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl import objectives

from agents.objectives.common import NetworkModes
from agents.objectives.schedules import Decay


class BCLoss(NetworkModes, objectives.BCLoss):
    """TorchRL's, without dropout when held out."""

    target_actor_network_params: TensorDictParams | None  # not there, but TorchRL warns where it is not annotated


class SACLoss(NetworkModes, objectives.SACLoss):
    """TorchRL's, without dropout when held out."""


class TD3BCLoss(NetworkModes, objectives.TD3BCLoss):
    r"""TorchRL's, without dropout when held out, and with a pull to the data that may fade.

    .. math:: L_\pi = E[\, -\lambda Q_1(s, \pi(s)) + f (\pi(s) - a)^2 \,]

    The other critics, which TorchRL evaluates here too, are left out: no loss reads what they say of these actions.

    Args:
        penalty_decay: f; None: 1.
        others: as TorchRL's.
    """

    alpha: float
    qvalue_network: TensorDictModule
    actor_network_params: TensorDictParams
    qvalue_network_params: TensorDictParams

    def __init__(self, *args: Any, penalty_decay: Decay | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.penalty_decay = penalty_decay
        if penalty_decay is not None:
            outputs: Any = [*self.out_keys, "penalty_factor"]  # TorchRL declares a tuple of one
            self.out_keys = outputs

    def actor_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        keys, states = self.tensor_keys, tensordict.select(*self.actor_network.in_keys, strict=False)
        with self.actor_network_params.to_module(self.actor_network, preserve_module_state=False):
            acted = self.actor_network(states)
        rated = acted.select(*self.qvalue_network.in_keys, strict=False)
        first = self.qvalue_network_params.detach()[0]  # no gradient for the critics
        with first.to_module(self.qvalue_network, preserve_module_state=False):
            qvalue = self.qvalue_network(rated).get(keys.state_action_value).squeeze(-1)  # [B]
        bc_loss = nn.functional.mse_loss(acted.get(keys.action), tensordict.get(keys.action))
        scale = self.alpha / qvalue.detach().abs().mean()
        decay = {} if self.penalty_decay is None else {"penalty_factor": self.penalty_decay()}
        loss = decay.get("penalty_factor", 1.0) * bc_loss - scale * qvalue
        weights = self._maybe_get_priority_weight(tensordict)
        statistics = {"state_action_value_actor": qvalue.detach(), "bc_loss": bc_loss.detach(), "lmbd": scale, **decay}
        return self._reduce_loss(loss, tensordict=tensordict, weights=weights), statistics
