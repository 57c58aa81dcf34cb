"""Behaviour cloning of the best episodes: "10%BC" (Chen et al. 2021, arXiv 2106.01345, section 5.1).

.. math:: L_\\pi = -E_{(s, a) \\in best}[\\, \\log \\pi(a|s) \\,]
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from agents.algorithms.bc import BCConfig
from agents.data.specs import Specs
from agents.errors import require
from agents.networks.configs import ActorConfig
from agents.training.adam import AdamConfig
from agents.training.agent import Agent


@dataclass
class BCTopConfig:
    """BC on the episodes with the largest undiscounted returns; all else is BC's.

    Which episodes those are is decided where batches are drawn: ``dataset.replay_buffer(256, **agent.sampling)``; on
    batches from elsewhere this is BC.

    The paper counts its 10 % in steps, CORL, as here, in episodes.

    Raises:
        ConfigError: if a field is outside the range given in its comment.
    """

    actions: ClassVar[str] = "continuous"

    best_episodes: float = 0.1  # share of the episodes to clone, in (0, 1], rounded, at least one
    normalize_observations: bool = False  # scale observations by the mean and standard deviation of the whole dataset
    max_grad_norm: float | None = None  # largest global gradient norm, > 0; None: no clip
    actor: ActorConfig = field(default_factory=lambda: ActorConfig(dropout=0.1))
    actor_optimizer: AdamConfig = field(default_factory=AdamConfig)

    def __post_init__(self) -> None:
        require(0.0 < self.best_episodes <= 1.0, "best_episodes", "lie in (0, 1]", self.best_episodes)
        self._cloning()

    def build(self, specs: Specs, *, device: torch.device | str = "cpu") -> Agent:
        """A freshly initialised agent for data with these specs; initialisation draws from torch's global generator."""
        agent = self._cloning().build(specs, device=device)
        agent.best_episodes = self.best_episodes
        return agent

    def _cloning(self) -> BCConfig:
        return BCConfig(
            normalize_observations=self.normalize_observations,
            max_grad_norm=self.max_grad_norm,
            actor=self.actor,
            actor_optimizer=self.actor_optimizer,
        )
