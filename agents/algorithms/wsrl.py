"""Warm-start reinforcement learning (Zhou, Peng, Li, Levine, Kumar 2024, arXiv 2412.07762): online without the data.

.. math::
    y     &= r + \\gamma (1 - \\mathrm{terminated}) \\min_{j \\in M} \\bar Q_j(s', a'), \\quad a' \\sim \\pi(s'),
             \\; M \\text{ drawn at each update} \\\\
    L_Q   &= \\sum_i E[\\, (y - Q_i(s, a))^2 \\,] \\\\
    L_\\pi &= E[\\, \\alpha \\log \\pi(a|s) - \\min_j Q_j(s, a) \\,], \\quad a \\sim \\pi(s)

SAC with an ensemble goes on from actor and critics of another algorithm. No data are kept: some thousand steps of the
policy as it is, before the first update, take their place and keep the critics where the policy acts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agents.algorithms.common import Agent, Device, MaxEntropyConfig, Specs, redq_agent, with_actor_every_step
from agents.networks.configs import ActorConfig, QValueConfig
from agents.objectives.settings import check_redq
from agents.training.adam import AdamConfig
from agents.training.online import OnlineConfig

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass
class WSRLConfig(MaxEntropyConfig):
    """WSRL with the settings of the authors' code on Adroit, where it goes on from Cal-QL with as many critics.

    Of a checkpoint of another algorithm, ``take_over`` needs the actor; critics and alpha are taken where they agree,
    which they do for networks as the checkpoint's (``with_networks_of``): two critics, say, of most algorithms. Actor
    and alpha step once for the 4 updates of a step of the environment, and once for however many others it is given.

    It differs from that code in five ways: every critic has an output layer of its own, where theirs share one; the
    actor steps from the critics before its update, not after, and on one batch of 256 of the four; the set M is drawn
    without replacement; alpha's loss is that of SAC's paper, of its logarithm; and initialisation is torch's.
    """

    actions = "continuous"
    online = OnlineConfig(offline_share=0.0, updates_per_step=4, num_warm_up_steps=5000)

    num_target_nets: int = 2  # critics drawn at each update, whose smallest value the target has, >= 1
    entropy_backup: bool = False  # whether the target has an entropy, as SAC's
    actor_qvalue: str = "min"  # over the critics, what the actor ascends: mean or min
    actor: ActorConfig = field(
        default_factory=lambda: ActorConfig(
            [512] * 2,
            layer_norm=True,
            init="default",
            distribution="tanh_normal",
            log_std_min=-11.5,
            log_std_max=2.3,
        )
    )
    qvalue: QValueConfig = field(
        default_factory=lambda: QValueConfig([512] * 3, layer_norm=True, init="default", num_nets=10)
    )
    actor_optimizer: AdamConfig = field(default_factory=lambda: AdamConfig(lr=1e-4, every=4))
    critic_optimizer: AdamConfig = field(default_factory=AdamConfig)
    alpha_optimizer: AdamConfig = field(default_factory=lambda: AdamConfig(lr=1e-4, every=4))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_redq(**self.settings("num_target_nets", "actor_qvalue", "gamma", "alpha_init"))

    def going_online(self, num_updates: int, updates_per_step: float | None = None) -> Self:
        return with_actor_every_step(super().going_online(num_updates, updates_per_step), updates_per_step)

    def build(self, specs: Specs, *, device: Device = "cpu") -> Agent:
        return redq_agent(self, specs, device)
