"""Calibrated Q-learning (Nakamoto, Zhai, Singh et al. 2023, arXiv 2303.05479), for online learning after offline.

.. math::
    y     &= r + \\gamma (1 - \\mathrm{terminated}) \\max_{k \\le R} \\min_j \\bar Q_j(s', a'_k),
             \\quad a'_k \\sim \\pi(s') \\\\
    L_Q   &= \\sum_i E[\\, (y - Q_i(s, a))^2 \\,] + L_{cql} \\\\
    L_{cql} &= \\alpha' w \\sum_i (E[\\, \\log \\sum_a \\exp(\\tilde Q_i(s, a) - \\log \\mu(a)) - Q_i(s, a_{data}) \\,]
               - \\tau) \\\\
    L_\\pi &= E[\\, \\alpha \\log \\pi(a|s) - \\min_j Q_j(s, a) \\,], \\quad a \\sim \\pi(s)

CQL pushes the values of the policy's actions down without a floor, and the first online updates have to bring them up
again, which costs the policy. Here they are pushed down as far as the return G of the data, a lower bound of what a
policy earns: :math:`\\tilde Q = \\max(Q, G)` for the policy's actions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agents.algorithms.common import Agent, Device, MaxEntropyConfig, Specs, assemble
from agents.networks.configs import ActorConfig, QValueConfig
from agents.objectives.settings import check_cal_ql
from agents.training.adam import AdamConfig
from agents.training.online import OnlineConfig


@dataclass
class CalQLConfig(MaxEntropyConfig):
    """Cal-QL with CORL's settings on Adroit, alike in its four files; on AntMaze it has w 5, tau 0.8 and Lagrange.

    G is summed to the end of an episode, truncated or not, as in CORL and the authors' code. Online it is that of the
    policy's own episodes, which are drawn from when they have ended, and the bound stays, as in the paper and the
    authors' code; CORL takes it away. Batches are halves of data and experience.

    It differs from CORL's code in four ways beside: the gap is not held above -200, as it is not by the authors; the
    policy's log-std starts around 0, not -1, and has no scale and offset that are learnt; alpha' starts at 1, not at e;
    and the return of an AntMaze episode without success is not taken to go on forever.
    """

    actions = "continuous"
    online = OnlineConfig(offline_share=0.5, whole_episodes=True)

    min_q_weight: float = 1.0  # w, weight of the conservative term, >= 0
    lagrange_threshold: float | None = None  # tau, the gap in return that alpha' steers to; None: alpha' is fixed at 1
    num_random: int = 10  # R, sampled actions of each of the three kinds per state, >= 1
    max_target_backup: bool = True  # targets of the best of as many actions of the policy, not of one
    actor: ActorConfig = field(
        default_factory=lambda: ActorConfig([256] * 3, distribution="tanh_normal", log_std_min=-20.0)
    )
    qvalue: QValueConfig = field(default_factory=lambda: QValueConfig([256] * 3))
    actor_optimizer: AdamConfig = field(default_factory=lambda: AdamConfig(lr=1e-4))
    critic_optimizer: AdamConfig = field(default_factory=AdamConfig)
    alpha_optimizer: AdamConfig = field(default_factory=lambda: AdamConfig(lr=1e-4))
    alpha_prime_optimizer: AdamConfig = field(default_factory=AdamConfig)  # with lagrange_threshold alone

    def __post_init__(self) -> None:
        super().__post_init__()
        settings = self._loss_settings()
        del settings["max_target_backup"]
        check_cal_ql(**settings)

    def build(self, specs: Specs, *, device: Device = "cpu") -> Agent:
        from agents.networks.policies import deterministic_policy
        from agents.objectives.cal_ql import CalQLLoss
        from agents.training.sampling import Sampling

        actor, critics = self.networks(specs, device, "actor", "qvalue")
        loss = CalQLLoss(
            actor,
            critics,
            action_spec=specs.action,
            target_entropy=self.entropy_target(specs),
            **self._loss_settings(),
        )
        return assemble(self, loss, deterministic_policy(actor), sampling=Sampling(gamma=self.gamma))

    def _loss_settings(self) -> dict[str, Any]:
        conservatism = self.settings("min_q_weight", "lagrange_threshold", "num_random", "max_target_backup")
        return {**conservatism, **self.settings("gamma", "alpha_init")}
