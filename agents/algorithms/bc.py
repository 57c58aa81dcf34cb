"""Behaviour cloning: maximum likelihood of the data's actions, or of those of the best episodes alone.

.. math:: L_\\pi = -E[\\, \\log \\pi(a|s) \\,]
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agents.algorithms.common import Agent, CloningConfig, Device, Specs, assemble
from agents.networks.configs import ActorConfig
from agents.training.adam import AdamConfig


@dataclass
class BCConfig(CloningConfig):
    """Behaviour cloning with IQL's actor, so that the two differ in the weights of the transitions alone."""

    actions = "continuous"

    actor: ActorConfig = field(default_factory=lambda: ActorConfig(dropout=0.1))
    actor_optimizer: AdamConfig = field(default_factory=AdamConfig)

    def build(self, specs: Specs, *, device: Device = "cpu") -> Agent:
        from agents.networks.policies import deterministic_policy
        from agents.objectives.torchrl_losses import BCLoss
        from agents.training.sampling import Sampling

        actor = self.actor.build(specs, normalize=self.normalize_observations).to(device)
        loss = BCLoss(actor)
        return assemble(self, loss, deterministic_policy(actor), sampling=Sampling(best_episodes=self.best_episodes))
