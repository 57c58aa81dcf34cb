"""Online learning with data from before, RLPD (Ball, Smith, Kostrikov, Levine 2023, arXiv 2302.02948).

.. math::
    y     &= r + \\gamma (1 - \\mathrm{terminated}) \\min_{j \\in M} \\bar Q_j(s', a'), \\quad a' \\sim \\pi(s'),
             \\; M \\text{ drawn at each update} \\\\
    L_Q   &= \\sum_i E[\\, (y - Q_i(s, a))^2 \\,] \\\\
    L_\\pi &= E[\\, \\alpha \\log \\pi(a|s) - \\tfrac{1}{N} \\sum_j Q_j(s, a) \\,], \\quad a \\sim \\pi(s)

SAC, from scratch or from a checkpoint, on batches of which half are the data's and half experience, with many updates
for each step of the environment. LayerNorm in the critics bounds what they make of actions that nobody has tried.
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
class RLPDConfig(MaxEntropyConfig):
    """RLPD with the settings of the authors' code on Adroit.

    On locomotion they have an entropy in the target and two hidden layers, on AntMaze a single target critic
    (``num_target_nets=1``). Actor and alpha step once for the 20 updates of a step of the environment, and once for
    however many others it is given.

    It differs from that code in four ways: the actor steps from the critics before its update, not after; alpha's loss
    is that of SAC's paper, of its logarithm; initialisation is torch's; and offline, where nothing is collected, it is
    SAC with an ensemble, a control.
    """

    actions = "continuous"
    online = OnlineConfig(offline_share=0.5, updates_per_step=20, num_random_steps=5000)
    nats_per_dimension = -0.5

    # in nats; None: minus a half per action dimension, for actions in +-1
    target_entropy: float | None = field(default=None, kw_only=True)
    num_target_nets: int = 2  # critics drawn at each update, whose smallest value the target has, >= 1
    entropy_backup: bool = False  # whether the target has an entropy, as SAC's
    actor_qvalue: str = "mean"  # over the critics, what the actor ascends: mean or min
    actor: ActorConfig = field(
        default_factory=lambda: ActorConfig([256] * 3, distribution="tanh_normal", init="default", log_std_min=-20.0)
    )
    qvalue: QValueConfig = field(
        default_factory=lambda: QValueConfig([256] * 3, layer_norm=True, init="default", num_nets=10)
    )
    actor_optimizer: AdamConfig = field(default_factory=lambda: AdamConfig(every=20))
    critic_optimizer: AdamConfig = field(default_factory=AdamConfig)
    alpha_optimizer: AdamConfig = field(default_factory=lambda: AdamConfig(every=20))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_redq(**self.settings("num_target_nets", "actor_qvalue", "gamma", "alpha_init"))

    def going_online(self, num_updates: int, updates_per_step: float | None = None) -> Self:
        return with_actor_every_step(super().going_online(num_updates, updates_per_step), updates_per_step)

    def build(self, specs: Specs, *, device: Device = "cpu") -> Agent:
        return redq_agent(self, specs, device)
