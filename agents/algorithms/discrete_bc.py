"""Behaviour cloning on discrete actions: maximum likelihood of the data's, or of those of the best episodes alone.

.. math:: L_\\pi = -E[\\, \\log \\pi(a|s) \\,]

Actions may have several parts, see :mod:`agents.networks.factored`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agents.algorithms.common import Agent, CloningConfig, Device, Specs, assemble
from agents.networks.configs import CategoricalActorConfig
from agents.training.adam import AdamConfig


@dataclass
class DiscreteBCConfig(CloningConfig):
    """Behaviour cloning with discrete IQL's actor, so that the two differ in the weights of the transitions alone."""

    actions = "discrete"

    actor: CategoricalActorConfig = field(default_factory=CategoricalActorConfig)
    actor_optimizer: AdamConfig = field(default_factory=AdamConfig)

    def build(self, specs: Specs, *, device: Device = "cpu") -> Agent:
        from tensordict.nn import TensorDictModule

        from agents.networks.factored import negative_log_likelihood
        from agents.networks.policies import greedy_policy
        from agents.objectives.torchrl_losses import BCLoss
        from agents.training.sampling import Sampling

        (actor,) = self.networks(specs, device, "actor")
        # of discrete actions TorchRL's loss takes logits for a prediction of the action
        logits = TensorDictModule(actor[0].module, in_keys=["observation"], out_keys=["action"])
        loss = BCLoss(logits, loss_function=negative_log_likelihood)
        return assemble(self, loss, greedy_policy(logits), sampling=Sampling(best_episodes=self.best_episodes))
