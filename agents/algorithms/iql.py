"""Implicit Q-learning (Kostrikov, Nair, Levine 2021, arXiv 2110.06169).

.. math::
    L_V   &= E[\\, |\\tau - 1(u < 0)| \\, u^2 \\,], \\quad u = \\min_i \\bar Q_i(s, a) - V(s) \\\\
    L_Q   &= \\sum_i E[\\, (r + \\gamma (1 - \\mathrm{terminated}) V(s') - Q_i(s, a))^2 \\,] \\\\
    L_\\pi &= -E[\\, \\min(\\exp(\\beta u), c) \\log \\pi(a|s) \\,]
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from agents.agent import AdamConfig, Agent
from agents.agent import check_settings as check_agent_settings
from agents.data import Specs
from agents.networks import ActorConfig, QValueConfig, ValueConfig, deterministic_policy
from agents.objectives import IQLLoss
from agents.objectives.iql import check_settings as check_loss_settings


@dataclass
class IQLConfig:
    """IQL with the settings of the official code on Adroit.

    It differs from that code in three ways: V, Q and the actor are updated at the same time, each from the parameters
    before the update, where the official code updates V first; actions are pulled inside their bounds for a tanh_normal
    actor only, since an unsquashed Normal cannot notice; and no learning rate decays unless
    ``actor_optimizer.decay_steps`` says so (the recipe's presets decay the actor's over the run).

    Raises:
        ConfigError: if a field is outside the range given in its comment.
    """

    expectile: float = 0.7  # tau in (0, 1): 0.5 is the mean of Q over the data's actions, towards 1 its maximum
    temperature: float = 0.5  # beta, an inverse temperature >= 0: 0 is behaviour cloning
    advantage_clip: float | None = 100.0  # largest weight exp(beta A), > 0; None: no clip
    gamma: float = 0.99  # discount in [0, 1]
    loss_function: str = "l2"  # distance in the Bellman error: l2, l1 or smooth_l1
    target_tau: float = 0.005  # Polyak step of the target critics in (0, 1]
    normalize_observations: bool = False  # scale observations by the dataset's mean and standard deviation
    max_grad_norm: float | None = None  # largest global gradient norm, > 0; None: no clip
    actor: ActorConfig = field(default_factory=lambda: ActorConfig(dropout=0.1))
    qvalue: QValueConfig = field(default_factory=QValueConfig)
    value: ValueConfig = field(default_factory=ValueConfig)
    actor_optimizer: AdamConfig = field(default_factory=AdamConfig)  # the official code decays this one over the run
    critic_optimizer: AdamConfig = field(default_factory=AdamConfig)

    def __post_init__(self) -> None:
        check_loss_settings(**self._loss_settings())
        check_agent_settings(target_tau=self.target_tau, max_grad_norm=self.max_grad_norm)

    def build(self, specs: Specs, *, device: torch.device | str = "cpu") -> Agent:
        """A freshly initialised agent for data with these specs; initialisation draws from torch's global generator."""
        normalize = self.normalize_observations
        actor = self.actor.build(specs, normalize=normalize).to(device)
        loss = IQLLoss(
            actor,
            self.qvalue.build(specs, normalize=normalize).to(device),
            self.value.build(specs, normalize=normalize).to(device),
            **self._loss_settings(),
        )
        critics = [*loss.qvalue_network_params.parameters(), *loss.value_network_params.parameters()]
        return Agent(
            loss,
            deterministic_policy(actor),
            optimizers={
                "actor": (list(loss.actor_network_params.parameters()), self.actor_optimizer),
                "critic": (critics, self.critic_optimizer),
            },
            target_tau=self.target_tau,
            max_grad_norm=self.max_grad_norm,
        )

    def _loss_settings(self) -> dict[str, Any]:
        names = ("loss_function", "temperature", "expectile", "gamma", "advantage_clip")
        return {name: getattr(self, name) for name in names}


# Temperature and expectile tuned per dataset in the ReBRAC paper (Tarasov et al. 2023, arXiv 2305.09836).
TUNED = {
    "D4RL/pen/human-v2": {"temperature": 1.0, "expectile": 0.95},
    "D4RL/pen/cloned-v2": {"temperature": 10.0, "expectile": 0.9},
    "D4RL/pen/expert-v2": {"temperature": 10.0, "expectile": 0.8},
    "D4RL/door/human-v2": {"temperature": 0.5, "expectile": 0.9},
    "D4RL/door/cloned-v2": {"temperature": 6.0, "expectile": 0.7},
    "D4RL/door/expert-v2": {"temperature": 0.5, "expectile": 0.7},
    "D4RL/hammer/human-v2": {"temperature": 3.0, "expectile": 0.9},
    "D4RL/hammer/cloned-v2": {"temperature": 6.0, "expectile": 0.7},
    "D4RL/hammer/expert-v2": {"temperature": 0.5, "expectile": 0.95},
    "D4RL/relocate/human-v2": {"temperature": 1.0, "expectile": 0.95},
    "D4RL/relocate/cloned-v2": {"temperature": 6.0, "expectile": 0.9},
    "D4RL/relocate/expert-v2": {"temperature": 10.0, "expectile": 0.9},
}
