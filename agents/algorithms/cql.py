"""Conservative Q-learning, CQL(H) (Kumar, Zhou, Tucker, Levine 2020, arXiv 2006.04779).

SAC, without the entropy in the target, whose critics also learn to rate the data's actions above others:

.. math::
    L_Q   &= \\sum_i E[\\, (r + \\gamma (1 - \\mathrm{terminated}) \\min_j \\bar Q_j(s', a') - Q_i(s, a))^2 \\,]
             + L_{cql} \\\\
    L_{cql} &= \\alpha' \\sum_i (w \\, E[\\, \\log \\sum_a \\exp(Q_i(s, a) - \\log \\mu(a)) - Q_i(s, a_{data}) \\,]
               - \\tau) \\\\
    L_\\pi &= E[\\, \\alpha \\log \\pi(a|s) - \\min_j Q_j(s, a) \\,], \\quad a \\sim \\pi(s)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from agents.algorithms.common import Agent, Device, MaxEntropyConfig, Specs, assemble
from agents.errors import require
from agents.networks.configs import ActorConfig, MLPConfig, separate_critics
from agents.objectives.settings import check_not_negative
from agents.training.adam import AdamConfig


@dataclass
class CQLConfig(MaxEntropyConfig):
    """CQL with CORL's settings on Adroit, all twelve files of it, which have Lagrange off.

    It differs from that code in that the losses are evaluated from the parameters before the update, in that the
    networks' last layers are not drawn smaller, and in that the policy's log-std starts around 0, not -1. With a
    ``lagrange_threshold``, alpha' starts at 1, as in the authors' code; in CORL at e.
    """

    actions = "continuous"

    min_q_weight: float = 1.0  # w, weight of the conservative term, >= 0
    lagrange_threshold: float | None = None  # tau, the gap in return that alpha' steers to; None: alpha' is fixed at 1
    num_random: int = 10  # sampled actions of each of the three kinds per state, >= 1
    normalize_observations: bool = field(default=True, kw_only=True)
    actor: ActorConfig = field(
        default_factory=lambda: ActorConfig([256] * 3, distribution="tanh_normal", init="default", log_std_min=-20.0)
    )
    qvalue: MLPConfig = field(default_factory=lambda: MLPConfig([256] * 3))  # each of the two critics
    actor_optimizer: AdamConfig = field(default_factory=lambda: AdamConfig(lr=1e-4))
    critic_optimizer: AdamConfig = field(default_factory=AdamConfig)
    alpha_optimizer: AdamConfig = field(default_factory=lambda: AdamConfig(lr=1e-4))
    alpha_prime_optimizer: AdamConfig = field(default_factory=AdamConfig)  # with lagrange_threshold alone

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(min_q_weight=self.min_q_weight)
        require(self.num_random >= 1, "num_random", "be at least 1", self.num_random)
        finite = self.lagrange_threshold is None or math.isfinite(self.lagrange_threshold)
        require(finite, "lagrange_threshold", "be finite or null", self.lagrange_threshold)

    def build(self, specs: Specs, *, device: Device = "cpu") -> Agent:
        from agents.networks.policies import deterministic_policy
        from agents.objectives.cql import CQLLoss

        normalize = self.normalize_observations
        actor = self.actor.build(specs, normalize=normalize).to(device)
        critics = separate_critics(self.qvalue, specs, num_nets=2, normalize=normalize)
        loss = CQLLoss(
            actor,
            [critic.to(device) for critic in critics],
            action_spec=specs.action,
            loss_function="l2",
            alpha_init=self.alpha_init,
            target_entropy=self.entropy_target(specs),
            min_q_weight=self.min_q_weight,
            num_random=self.num_random,
            with_lagrange=self.lagrange_threshold is not None,
            lagrange_thresh=self.lagrange_threshold or 0.0,
            deactivate_vmap=True,  # as fast for two critics, and dropout draws for each
        )
        loss.set_keys(done="terminated")  # nothing depends on the other ends of an episode
        loss.make_value_estimator(gamma=self.gamma, device=device)
        return assemble(self, loss, deterministic_policy(actor))
