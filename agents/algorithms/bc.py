"""Behaviour cloning: maximum likelihood of the data's actions, or of those of the best episodes alone.

.. math:: L_\\pi = -E[\\, \\log \\pi(a|s) \\,]
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

from agents.algorithms.common import Agent, AlgorithmConfig, Device, Specs, assemble
from agents.errors import require
from agents.networks.configs import ActorConfig
from agents.training.adam import AdamConfig


@dataclass
class BCConfig(AlgorithmConfig):
    """Behaviour cloning with IQL's actor, so that the two differ in the weights of the transitions alone.

    ``best_episodes=0.1`` is "10%BC" (Chen et al. 2021, arXiv 2106.01345, section 5.1): it clones the episodes with the
    largest undiscounted returns. The paper counts its 10 % in steps, CORL, as here, in episodes. Which episodes those
    are is decided where batches are drawn, ``dataset.replay_buffer(256, **agent.sampling)``; observations are scaled
    by the mean and standard deviation of the whole dataset.
    """

    actions = "continuous"

    best_episodes: float | None = None  # share of the episodes to clone, in (0, 1], rounded, at least one; None: all
    actor: ActorConfig = field(default_factory=lambda: ActorConfig(dropout=0.1))
    actor_optimizer: AdamConfig = field(default_factory=AdamConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        share = self.best_episodes
        require(share is None or 0.0 < share <= 1.0, "best_episodes", "lie in (0, 1] or be null", share)

    def build(self, specs: Specs, *, device: Device = "cpu") -> Agent:
        from torchrl.objectives import BCLoss

        from agents.networks.policies import deterministic_policy
        from agents.training.sampling import Sampling

        actor = self.actor.build(specs, normalize=self.normalize_observations).to(device)
        with warnings.catch_warnings():  # TorchRL's BCLoss lacks an annotation that TorchRL's LossModule warns about
            warnings.filterwarnings("ignore", message="The name target_actor_network_params")
            loss = BCLoss(actor)
        return assemble(self, loss, deterministic_policy(actor), sampling=Sampling(best_episodes=self.best_episodes))
