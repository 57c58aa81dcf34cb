"""Losses of TorchRL that our configs build, with ``train`` and ``eval`` that reach their networks.

TorchRL takes the networks out of a loss's children, so that its ``eval()`` leaves dropout on.
"""

from __future__ import annotations

from tensordict import TensorDictParams
from torchrl import objectives

from agents.objectives.common import NetworkModes


class BCLoss(NetworkModes, objectives.BCLoss):
    """TorchRL's, without dropout when held out."""

    target_actor_network_params: TensorDictParams | None  # not there, but TorchRL warns where it is not annotated


class SACLoss(NetworkModes, objectives.SACLoss):
    """TorchRL's, without dropout when held out."""


class TD3BCLoss(NetworkModes, objectives.TD3BCLoss):
    """TorchRL's, without dropout when held out."""
