"""Losses of TorchRL that our configs build, with ``train`` and ``eval`` that reach their networks.

TorchRL takes the networks out of a loss's children, so that its ``eval()`` leaves dropout on.
"""

from __future__ import annotations

from typing import Any

from tensordict import TensorDictBase, TensorDictParams
from torch import Tensor
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

    Args:
        penalty_decay: f; None: 1.
        others: as TorchRL's.
    """

    alpha: float | Tensor

    def __init__(self, *args: Any, penalty_decay: Decay | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.penalty_decay = penalty_decay
        if penalty_decay is not None:
            outputs: Any = [*self.out_keys, "penalty_factor"]  # TorchRL declares a tuple of one
            self.out_keys = outputs

    def actor_loss(self, tensordict: TensorDictBase) -> tuple[Tensor, dict[str, Tensor]]:
        if self.penalty_decay is None:
            return super().actor_loss(tensordict)
        alpha, factor = self.alpha, self.penalty_decay()
        try:  # as f ((pi - a)^2 - (lambda / f) Q), where TorchRL has a weight of Q alone
            self.alpha = alpha / factor
            loss, metadata = super().actor_loss(tensordict)
        finally:
            self.alpha = alpha
        return factor * loss, {**metadata, "lmbd": factor * metadata["lmbd"], "penalty_factor": factor}
