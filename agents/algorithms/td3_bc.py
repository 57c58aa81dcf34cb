"""TD3+BC (Fujimoto, Gu 2021, arXiv 2106.06860).

.. math::
    L_Q   &= \\sum_i E[\\, (r + \\gamma (1 - \\mathrm{terminated}) \\min_j \\bar Q_j(s', \\tilde a) - Q_i(s, a))^2 \\,],
             \\quad \\tilde a = \\bar\\pi(s') + \\mathrm{clip}(\\epsilon, -c, c) \\\\
    L_\\pi &= E[\\, -\\lambda Q_1(s, \\pi(s)) + (\\pi(s) - a)^2 \\,],
             \\quad \\lambda = \\alpha / E[\\, |Q_1(s, \\pi(s))| \\,]
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from agents.algorithms.common import Agent, Device, PenaltyDecayConfig, Specs, TDConfig, assemble
from agents.networks.configs import DeterministicActorConfig, QValueConfig, separate_critics
from agents.objectives.settings import check_not_negative
from agents.training.adam import AdamConfig
from agents.training.online import OnlineConfig

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass
class TD3BCConfig(TDConfig):
    """TD3+BC with the settings of the authors' code, which are CORL's on Adroit.

    Online, of which the authors say nothing, the weight of the squared error falls exponentially to a half (0.4 to 0.2
    beside Q, Beeson and Montana 2022, arXiv 2211.11802, as others have implemented it), over the whole phase, with
    TD3's noise of 0.1.

    It differs from that code in one way: actor and critics are updated at the same time, the actor from the critics
    before the update.
    """

    actions = "continuous"
    online = OnlineConfig(noise=0.1)

    alpha: float = 2.5  # weight of Q, scaled to a mean size of 1, beside the squared error to the data, >= 0
    policy_noise: float = 0.2  # standard deviation of the noise on the target action, in half action ranges, >= 0
    noise_clip: float = 0.5  # largest such noise, in half action ranges, >= 0
    penalty_decay: PenaltyDecayConfig = field(default_factory=PenaltyDecayConfig)  # of the squared error's weight of 1
    target_every: int = 2  # the target networks move at every n-th update, >= 1
    normalize_observations: bool = field(default=True, kw_only=True)
    actor: DeterministicActorConfig = field(default_factory=lambda: DeterministicActorConfig(init="default"))
    qvalue: QValueConfig = field(default_factory=lambda: QValueConfig(init="default"))
    actor_optimizer: AdamConfig = field(default_factory=lambda: AdamConfig(every=2))
    critic_optimizer: AdamConfig = field(default_factory=AdamConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(**self.settings("alpha", "policy_noise", "noise_clip"))

    def going_online(self, num_updates: int, updates_per_step: float | None = None) -> Self:
        decay = PenaltyDecayConfig("exponential", final=0.5, num_steps=num_updates)
        return replace(super().going_online(num_updates, updates_per_step), penalty_decay=decay)

    def build(self, specs: Specs, *, device: Device = "cpu") -> Agent:
        from agents.networks.bounds import action_bounds, center_and_half_range
        from agents.networks.policies import deterministic_policy
        from agents.objectives.torchrl_losses import TD3BCLoss

        normalize = self.normalize_observations
        actor = self.actor.build(specs, normalize=normalize).to(device)
        critics = separate_critics(self.qvalue, specs, num_nets=self.qvalue.num_nets, normalize=normalize)
        # TorchRL takes the noise in units of the action: per dimension, though it asks for one number
        half_range: Any = center_and_half_range(*action_bounds(specs.action))[1].to(device)
        decay = self.penalty_decay.start()
        loss = TD3BCLoss(
            actor,
            [critic.to(device) for critic in critics],
            action_spec=specs.action,
            num_qvalue_nets=self.qvalue.num_nets,
            policy_noise=self.policy_noise * half_range,
            noise_clip=self.noise_clip * half_range,
            alpha=self.alpha,
            penalty_decay=decay if decay is None else decay.to(device),
            loss_function="l2",
            deactivate_vmap=True,  # as fast for two critics, and dropout draws for each
        )
        loss.set_keys(done="terminated")  # nothing depends on the other ends of an episode
        loss.make_value_estimator(gamma=self.gamma, device=device)
        return assemble(self, loss, deterministic_policy(actor))
