"""Advantage-weighted actor-critic (Nair, Gupta, Dalal, Levine 2020, arXiv 2006.09359).

.. math::
    L_Q   &= \\sum_i E[\\, (y - Q_i(s, a))^2 \\,],
             \\quad y = r + \\gamma (1 - \\mathrm{terminated}) \\min_j \\bar Q_j(s', \\tilde a'),
             \\; \\tilde a' \\sim \\pi(s') \\\\
    L_\\pi &= -E[\\, \\min(\\exp(\\beta A), c) \\log \\pi(a|s) \\,],
             \\quad A = \\min_j Q_j(s, a) - \\min_j Q_j(s, \\tilde a), \\; \\tilde a \\sim \\pi(s)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agents.algorithms.common import Agent, Device, Specs, TDConfig, assemble
from agents.networks.configs import ActorConfig, QValueConfig
from agents.objectives.settings import check_awac
from agents.training.adam import AdamConfig


@dataclass
class AWACConfig(TDConfig):
    """AWAC with CORL's settings on Adroit, whose lambda of 0.1 is an inverse temperature of 10.

    The authors' own are for tasks with a reward of -1 or 0: there weights are a softmax over the batch, which is 1024,
    lambda is 0.5, and advantages are clipped at 0.5.

    It differs from CORL's code in two ways: actor and critics are updated at the same time, the actor's weights from
    the critics before the update; and the actor's mean is a tanh in the action bounds.
    """

    actions = "continuous"

    temperature: float = 10.0  # beta = 1 / lambda, an inverse temperature >= 0: 0 is behaviour cloning
    advantage_clip: float | None = 100.0  # largest weight exp(beta A), > 0; None: no clip
    scale_advantage: bool = False  # in the weights, A over a running mean of its size; not in the paper
    normalize_observations: bool = field(default=True, kw_only=True)
    actor: ActorConfig = field(default_factory=lambda: ActorConfig([256] * 3, init="default", log_std_min=-20.0))
    qvalue: QValueConfig = field(default_factory=lambda: QValueConfig([256] * 3, init="default"))
    actor_optimizer: AdamConfig = field(default_factory=AdamConfig)
    critic_optimizer: AdamConfig = field(default_factory=AdamConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_awac(**self._loss_settings())

    def build(self, specs: Specs, *, device: Device = "cpu") -> Agent:
        from agents.networks.policies import deterministic_policy
        from agents.objectives.awac import AWACLoss
        from agents.objectives.weighting import AdvantageScale

        actor, critics = self.networks(specs, device, "actor", "qvalue")
        scale = AdvantageScale().to(device) if self.scale_advantage else None
        loss = AWACLoss(actor, critics, action_spec=specs.action, advantage_scale=scale, **self._loss_settings())
        return assemble(self, loss, deterministic_policy(actor))

    def _loss_settings(self) -> dict[str, Any]:
        return self.settings("temperature", "gamma", "advantage_clip")
