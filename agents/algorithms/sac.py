"""Soft actor-critic (Haarnoja et al. 2018, arXiv 1812.05905), offline: the control that the offline methods need.

.. math::
    y     &= r + \\gamma (1 - \\mathrm{terminated}) (\\min_j \\bar Q_j(s', a') - \\alpha \\log \\pi(a'|s')) \\\\
    L_Q   &= \\sum_i E[\\, (y - Q_i(s, a))^2 \\,] \\\\
    L_\\pi &= E[\\, \\alpha \\log \\pi(a|s) - \\min_j Q_j(s, a) \\,], \\quad a \\sim \\pi(s) \\\\
    L_\\alpha &= -\\log \\alpha \\, E[\\, \\log \\pi(a|s) + \\bar H \\,]

Nothing keeps the policy near the data: it seeks the actions that the critics overrate, no new data correct them, and
the error grows with every bootstrap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torchrl.objectives import SACLoss

from agents.data.specs import Specs
from agents.errors import require
from agents.networks.bounds import default_target_entropy
from agents.networks.configs import ActorConfig, QValueConfig
from agents.networks.critics import separate_critics
from agents.networks.policies import deterministic_policy
from agents.training.adam import AdamConfig
from agents.training.agent import Agent
from agents.training.settings import check_update as check_agent_settings


@dataclass
class SACConfig:
    """SAC with the settings of the paper (its table 1; the policy's log-std range is the authors').

    Raises:
        ConfigError: if a field is outside the range given in its comment.
    """

    actions: ClassVar[str] = "continuous"

    alpha_init: float = 1.0  # weight of the entropy at the start, > 0
    target_entropy: float | None = None  # in nats; None: minus one per action dimension, for actions in +-1
    gamma: float = 0.99  # discount in [0, 1]
    target_tau: float = 0.005  # Polyak step of the target critics in (0, 1]
    normalize_observations: bool = False  # scale observations by the dataset's mean and standard deviation
    max_grad_norm: float | None = None  # largest global gradient norm, > 0; None: no clip
    actor: ActorConfig = field(
        default_factory=lambda: ActorConfig(distribution="tanh_normal", init="default", log_std_min=-20.0)
    )
    qvalue: QValueConfig = field(default_factory=lambda: QValueConfig(init="default"))
    actor_optimizer: AdamConfig = field(default_factory=AdamConfig)
    critic_optimizer: AdamConfig = field(default_factory=AdamConfig)
    alpha_optimizer: AdamConfig = field(default_factory=AdamConfig)

    def __post_init__(self) -> None:
        require(0.0 < self.alpha_init < math.inf, "alpha_init", "be positive", self.alpha_init)
        finite = self.target_entropy is None or math.isfinite(self.target_entropy)
        require(finite, "target_entropy", "be finite or null", self.target_entropy)
        require(0.0 <= self.gamma <= 1.0, "gamma", "lie in [0, 1]", self.gamma)
        check_agent_settings(target_tau=self.target_tau, max_grad_norm=self.max_grad_norm)

    def build(self, specs: Specs, *, device: torch.device | str = "cpu") -> Agent:
        """A freshly initialised agent for data with these specs; initialisation draws from torch's global generator."""
        normalize = self.normalize_observations
        actor = self.actor.build(specs, normalize=normalize).to(device)
        critics = separate_critics(self.qvalue, specs, num_nets=self.qvalue.num_nets, normalize=normalize)
        loss = SACLoss(
            actor,
            [critic.to(device) for critic in critics],
            num_qvalue_nets=self.qvalue.num_nets,
            loss_function="l2",
            alpha_init=self.alpha_init,
            target_entropy=default_target_entropy(specs) if self.target_entropy is None else self.target_entropy,
            deactivate_vmap=True,  # as fast for two critics, and dropout draws for each
        )
        loss.target_entropy  # noqa: B018  a buffer from the first time that it is read: here, not in a trace
        loss.set_keys(done="terminated")  # nothing depends on the other ends of an episode
        loss.make_value_estimator(gamma=self.gamma, device=device)
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
