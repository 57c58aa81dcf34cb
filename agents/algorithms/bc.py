"""Behaviour cloning: maximum likelihood of the data's actions.

.. math:: L_\\pi = -E[\\, \\log \\pi(a|s) \\,]
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torchrl.objectives import BCLoss

from agents.data.specs import Specs
from agents.networks.configs import ActorConfig
from agents.networks.policies import deterministic_policy
from agents.training.adam import AdamConfig
from agents.training.agent import Agent
from agents.training.settings import check_update as check_settings


@dataclass
class BCConfig:
    """Behaviour cloning with IQL's actor, so that the two differ in the weights of the transitions alone.

    Raises:
        ConfigError: if a field is outside the range given in its comment.
    """

    actions: ClassVar[str] = "continuous"

    normalize_observations: bool = False  # scale observations by the dataset's mean and standard deviation
    max_grad_norm: float | None = None  # largest global gradient norm, > 0; None: no clip
    actor: ActorConfig = field(default_factory=lambda: ActorConfig(dropout=0.1))
    actor_optimizer: AdamConfig = field(default_factory=AdamConfig)

    def __post_init__(self) -> None:
        check_settings(max_grad_norm=self.max_grad_norm)

    def build(self, specs: Specs, *, device: torch.device | str = "cpu") -> Agent:
        """A freshly initialised agent for data with these specs; initialisation draws from torch's global generator."""
        actor = self.actor.build(specs, normalize=self.normalize_observations).to(device)
        with warnings.catch_warnings():  # TorchRL's BCLoss lacks an annotation that TorchRL's LossModule warns about
            warnings.filterwarnings("ignore", message="The name target_actor_network_params")
            loss = BCLoss(actor)
        return Agent(
            loss,
            deterministic_policy(actor),
            optimizers={"actor": (list(loss.actor_network_params.parameters()), self.actor_optimizer)},
            max_grad_norm=self.max_grad_norm,
        )
