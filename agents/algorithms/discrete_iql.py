"""Implicit Q-learning (Kostrikov, Nair, Levine 2021, arXiv 2110.06169) for discrete actions.

The losses of ``iql`` with a categorical policy, and critics with an output per action, of which the data's is read:

.. math::
    L_V   &= E[\\, |\\tau - 1(u < 0)| \\, u^2 \\,], \\quad u = \\min_i \\bar Q_i(s, a) - V(s) \\\\
    L_Q   &= \\sum_i E[\\, (r + \\gamma (1 - \\mathrm{terminated}) V(s') - Q_i(s, a))^2 \\,] \\\\
    L_\\pi &= -E[\\, \\min(\\exp(\\beta u), c) \\log \\pi(a|s) \\,]
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from agents.data.specs import Specs
from agents.networks.configs import CategoricalActorConfig, QValueConfig, ValueConfig
from agents.networks.policies import greedy_policy
from agents.objectives import IQLLoss
from agents.objectives.settings import check_iql as check_loss_settings
from agents.training.adam import AdamConfig
from agents.training.agent import Agent
from agents.training.settings import check_update as check_agent_settings


@dataclass
class DiscreteIQLConfig:
    """IQL with the settings of the paper's locomotion tasks; it has no discrete ones.

    TorchRL's recipe for CartPole takes an expectile of 0.8 and an inverse temperature of 100, at which nearly every
    positive advantage has the largest weight.

    Raises:
        ConfigError: if a field is outside the range given in its comment.
    """

    actions: ClassVar[str] = "discrete"

    expectile: float = 0.7  # tau in (0, 1): 0.5 is the mean of Q over the data's actions, towards 1 its maximum
    temperature: float = 3.0  # beta, an inverse temperature >= 0: 0 is behaviour cloning
    advantage_clip: float | None = 100.0  # largest weight exp(beta A), > 0; None: no clip
    gamma: float = 0.99  # discount in [0, 1]
    loss_function: str = "l2"  # distance in the Bellman error: l2, l1 or smooth_l1
    target_tau: float = 0.005  # Polyak step of the target critics in (0, 1]
    normalize_observations: bool = False  # scale observations by the dataset's mean and standard deviation
    max_grad_norm: float | None = None  # largest global gradient norm, > 0; None: no clip
    actor: CategoricalActorConfig = field(default_factory=CategoricalActorConfig)
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
            greedy_policy(actor[0]),
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
