"""Ensemble-diversified actor-critic, and SAC-N as its case eta = 0 (An et al. 2021, arXiv 2110.01548).

.. math::
    y     &= r + \\gamma (1 - \\mathrm{terminated}) (\\min_j \\bar Q_j(s', a') - \\alpha \\log \\pi(a'|s')) \\\\
    L_Q   &= \\sum_i E[\\, (y - Q_i(s, a))^2 \\,]
             + \\frac{\\eta}{N - 1} \\sum_{i \\ne j} E[\\, \\cos(\\nabla_a Q_i(s, a), \\nabla_a Q_j(s, a)) \\,] \\\\
    L_\\pi &= E[\\, \\alpha \\log \\pi(a|s) - \\min_j Q_j(s, a) \\,], \\quad a \\sim \\pi(s)
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agents.algorithms.common import Agent, Device, MaxEntropyConfig, Specs, assemble
from agents.errors import require
from agents.networks.configs import ActorConfig, QValueConfig
from agents.objectives.settings import check_edac
from agents.training.adam import AdamConfig


@dataclass
class EDACConfig(MaxEntropyConfig):
    """EDAC with the settings of the authors' code on Adroit, N and eta those for pen-cloned.

    It differs from that code in two ways: rewards stay as they are, where that code shifts and scales them to mean 0
    and standard deviation 1 on Adroit; and initialisation is torch's. On pen-cloned the authors bootstrap otherwise, as
    ``max_q_backup=True`` does (their ``--max_q_backup``).
    """

    actions = "continuous"

    eta: float = 10.0  # weight of the diversification of the critics' gradients, >= 0; 0 is SAC-N
    max_q_backup: bool = False  # targets of each critic's best of ten sampled actions, without the entropy: pen-cloned
    actor: ActorConfig = field(
        default_factory=lambda: ActorConfig([256] * 3, distribution="tanh_normal", init="default")
    )
    # at least two critics
    qvalue: QValueConfig = field(default_factory=lambda: QValueConfig([256] * 3, init="default", num_nets=20))
    actor_optimizer: AdamConfig = field(default_factory=lambda: AdamConfig(lr=3e-5))
    critic_optimizer: AdamConfig = field(default_factory=AdamConfig)
    alpha_optimizer: AdamConfig = field(default_factory=lambda: AdamConfig(lr=3e-5))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_edac(eta=self.eta, gamma=self.gamma, alpha_init=self.alpha_init)
        require(self.qvalue.num_nets >= 2, "qvalue.num_nets", "be at least 2", self.qvalue.num_nets)

    def build(self, specs: Specs, *, device: Device = "cpu") -> Agent:
        from agents.networks.policies import deterministic_policy
        from agents.objectives.edac import EDACLoss

        actor, critics = self.networks(specs, device, "actor", "qvalue")
        settings = self.settings("eta", "gamma", "alpha_init", "max_q_backup")
        loss = EDACLoss(actor, critics, target_entropy=self.entropy_target(specs), **settings)
        return assemble(self, loss, deterministic_policy(actor))
