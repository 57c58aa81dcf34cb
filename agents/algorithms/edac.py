"""Ensemble-diversified actor-critic, and SAC-N as its case eta = 0 (An et al. 2021, arXiv 2110.01548).

.. math::
    y     &= r + \\gamma (1 - \\mathrm{terminated}) (\\min_j \\bar Q_j(s', a') - \\alpha \\log \\pi(a'|s')) \\\\
    L_Q   &= \\sum_i E[\\, (y - Q_i(s, a))^2 \\,]
             + \\frac{\\eta}{N - 1} \\sum_{i \\ne j} E[\\, \\cos(\\nabla_a Q_i(s, a), \\nabla_a Q_j(s, a)) \\,] \\\\
    L_\\pi &= E[\\, \\alpha \\log \\pi(a|s) - \\min_j Q_j(s, a) \\,], \\quad a \\sim \\pi(s)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from agents.data.specs import Specs
from agents.errors import require
from agents.networks.bounds import default_target_entropy
from agents.networks.configs import ActorConfig, QValueConfig
from agents.networks.policies import deterministic_policy
from agents.objectives import EDACLoss
from agents.objectives.settings import check_edac as check_loss_settings
from agents.training.adam import AdamConfig
from agents.training.agent import Agent
from agents.training.settings import check_update as check_agent_settings


@dataclass
class EDACConfig:
    """EDAC with the settings of the authors' code on Adroit, N and eta those for pen-cloned.

    It differs from that code in that rewards stay as they are, where that code shifts and scales them to mean 0 and
    standard deviation 1 on Adroit, and in that the last layers are not drawn smaller.

    Raises:
        ConfigError: if a field is outside the range given in its comment.
    """

    actions: ClassVar[str] = "continuous"

    eta: float = 10.0  # weight of the diversification of the critics' gradients, >= 0; 0 is SAC-N
    alpha_init: float = 1.0  # weight of the entropy at the start, > 0
    target_entropy: float | None = None  # in nats; None: minus one per action dimension, for actions in +-1
    gamma: float = 0.99  # discount in [0, 1]
    target_tau: float = 0.005  # Polyak step of the target critics in (0, 1]
    normalize_observations: bool = False  # scale observations by the dataset's mean and standard deviation
    max_grad_norm: float | None = None  # largest global gradient norm, > 0; None: no clip
    actor: ActorConfig = field(
        default_factory=lambda: ActorConfig([256, 256, 256], distribution="tanh_normal", init="default")
    )
    qvalue: QValueConfig = field(
        default_factory=lambda: QValueConfig([256, 256, 256], init="default", num_nets=20)  # at least 2
    )
    actor_optimizer: AdamConfig = field(default_factory=lambda: AdamConfig(lr=3e-5))
    critic_optimizer: AdamConfig = field(default_factory=AdamConfig)
    alpha_optimizer: AdamConfig = field(default_factory=lambda: AdamConfig(lr=3e-5))

    def __post_init__(self) -> None:
        check_loss_settings(**self._loss_settings())
        finite = self.target_entropy is None or math.isfinite(self.target_entropy)
        require(finite, "target_entropy", "be finite or null", self.target_entropy)
        require(self.qvalue.num_nets >= 2, "qvalue.num_nets", "be at least 2", self.qvalue.num_nets)
        check_agent_settings(target_tau=self.target_tau, max_grad_norm=self.max_grad_norm)

    def build(self, specs: Specs, *, device: torch.device | str = "cpu") -> Agent:
        """A freshly initialised agent for data with these specs; initialisation draws from torch's global generator."""
        normalize = self.normalize_observations
        actor = self.actor.build(specs, normalize=normalize).to(device)
        loss = EDACLoss(
            actor,
            self.qvalue.build(specs, normalize=normalize).to(device),
            target_entropy=default_target_entropy(specs) if self.target_entropy is None else self.target_entropy,
            **self._loss_settings(),
        )
        return Agent(
            loss,
            deterministic_policy(actor),
            optimizers={
                "actor": (list(loss.actor_network_params.parameters()), self.actor_optimizer),
                "critic": (list(loss.qvalue_network_params.parameters()), self.critic_optimizer),
                "alpha": ([loss.log_alpha], self.alpha_optimizer),
            },
            target_tau=self.target_tau,
            max_grad_norm=self.max_grad_norm,
        )

    def _loss_settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("eta", "gamma", "alpha_init")}
