"""Implicit Q-learning (Kostrikov, Nair, Levine 2021, arXiv 2110.06169) for discrete actions.

The losses of ``iql`` with a categorical policy, and critics with an output per action, of which the data's is read.
Actions may have several parts, see :mod:`agents.networks.factored`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agents.algorithms.common import Agent, Device, Specs, TDConfig, assemble
from agents.networks.configs import CategoricalActorConfig, QValueConfig, ValueConfig
from agents.objectives.settings import check_iql
from agents.training.adam import AdamConfig


@dataclass
class DiscreteIQLConfig(TDConfig):
    """IQL with the settings of the paper's locomotion tasks; it has no discrete ones.

    TorchRL's recipe for CartPole takes an expectile of 0.8 and an inverse temperature of 100, at which nearly every
    positive advantage has the largest weight.
    """

    actions = "discrete"

    expectile: float = 0.7  # tau in (0, 1): at 0.5 the mean of Q, near 1 its maximum
    temperature: float = 3.0  # beta, an inverse temperature >= 0: 0 is behaviour cloning
    advantage_clip: float | None = 100.0  # largest weight exp(beta A), > 0; None: no clip
    scale_advantage: bool = False  # in the weights, A over a running mean of its size; not in the paper
    loss_function: str = "l2"  # distance in the Bellman error: l2, l1 or smooth_l1
    actor: CategoricalActorConfig = field(default_factory=CategoricalActorConfig)
    qvalue: QValueConfig = field(default_factory=QValueConfig)
    value: ValueConfig = field(default_factory=ValueConfig)
    actor_optimizer: AdamConfig = field(default_factory=AdamConfig)  # the official code decays this one over the run
    critic_optimizer: AdamConfig = field(default_factory=AdamConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_iql(**self._loss_settings())

    def build(self, specs: Specs, *, device: Device = "cpu") -> Agent:
        from agents.networks.policies import greedy_policy
        from agents.objectives.iql import IQLLoss
        from agents.objectives.weighting import AdvantageScale

        actor, critics, value = self.networks(specs, device, "actor", "qvalue", "value")
        scale = AdvantageScale().to(device) if self.scale_advantage else None
        loss = IQLLoss(actor, critics, value, advantage_scale=scale, **self._loss_settings())
        return assemble(self, loss, greedy_policy(actor[0]))

    def _loss_settings(self) -> dict[str, Any]:
        return self.settings("loss_function", "temperature", "expectile", "gamma", "advantage_clip")
