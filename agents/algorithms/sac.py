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

from dataclasses import dataclass, field

from agents.algorithms.common import Agent, Device, MaxEntropyConfig, Specs, assemble
from agents.networks.configs import ActorConfig, QValueConfig, separate_critics
from agents.training.adam import AdamConfig


@dataclass
class SACConfig(MaxEntropyConfig):
    """SAC with the settings of the paper (its table 1; the policy's log-std range is the authors')."""

    actions = "continuous"

    actor: ActorConfig = field(
        default_factory=lambda: ActorConfig(distribution="tanh_normal", init="default", log_std_min=-20.0)
    )
    qvalue: QValueConfig = field(default_factory=lambda: QValueConfig(init="default"))
    actor_optimizer: AdamConfig = field(default_factory=AdamConfig)
    critic_optimizer: AdamConfig = field(default_factory=AdamConfig)
    alpha_optimizer: AdamConfig = field(default_factory=AdamConfig)

    def build(self, specs: Specs, *, device: Device = "cpu") -> Agent:
        from agents.networks.policies import deterministic_policy
        from agents.objectives.torchrl_losses import SACLoss

        normalize = self.normalize_observations
        actor = self.actor.build(specs, normalize=normalize).to(device)
        critics = separate_critics(self.qvalue, specs, num_nets=self.qvalue.num_nets, normalize=normalize)
        loss = SACLoss(
            actor,
            [critic.to(device) for critic in critics],
            num_qvalue_nets=self.qvalue.num_nets,
            loss_function="l2",
            alpha_init=self.alpha_init,
            target_entropy=self.entropy_target(specs),
            deactivate_vmap=True,  # as fast for two critics, and dropout draws for each
        )
        loss.target_entropy  # noqa: B018  a buffer from the first time that it is read: here, not in a trace
        loss.set_keys(done="terminated")  # nothing depends on the other ends of an episode
        loss.make_value_estimator(gamma=self.gamma, device=device)
        return assemble(self, loss, deterministic_policy(actor))
