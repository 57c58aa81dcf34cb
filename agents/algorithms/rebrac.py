"""ReBRAC (Tarasov, Kurenkov, Nikulin, Kolesnikov 2023, arXiv 2305.09836).

.. math::
    y     &= r + \\gamma (1 - \\mathrm{terminated}) (\\min_j \\bar Q_j(s', \\tilde a) - \\beta_2 |\\tilde a - a'|^2),
             \\quad \\tilde a = \\bar\\pi(s') + \\mathrm{clip}(\\epsilon, -c, c) \\\\
    L_Q   &= \\sum_i E[\\, (y - Q_i(s, a))^2 \\,] \\\\
    L_\\pi &= E[\\, \\beta_1 |\\pi(s) - a|^2 - \\lambda \\min_j Q_j(s, \\pi(s)) \\,],
             \\quad \\lambda = 1 / E[\\, |\\min_j Q_j(s, \\pi(s))| \\,]
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from agents.algorithms.common import Agent, Device, PenaltyDecayConfig, Specs, TDConfig, assemble
from agents.networks.configs import DeterministicActorConfig, QValueConfig
from agents.objectives.settings import check_rebrac
from agents.training.adam import AdamConfig
from agents.training.online import OnlineConfig

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass
class ReBRACConfig(TDConfig):
    """ReBRAC with the settings of the paper's code on Adroit.

    The paper tunes the two penalties for each dataset; the defaults are those that it takes most often on the human and
    cloned ones, each by itself, and ``TUNED`` has all of them.

    As there, a step at which an episode was cut off, so that no next action is known, is not trained on: draw batches
    from ``dataset.replay_buffer(256, **agent.sampling)``.

    Online it goes on as in CORL: without the critics' penalty, with the actor's falling in a straight line to a half at
    half of the phase, without noise, on batches of which half are the data's.

    It differs from that code in five ways: actor and critics are updated at the same time, the actor from the critics
    before the update; it is the second of every two updates that moves actor and targets, not the first; the target
    actor moves towards the actor after its step, not before; LayerNorm comes before the activation; and initialisation
    is torch's, where the code has hidden biases of 0.1 and smaller output layers.
    """

    actions = "continuous"
    online = OnlineConfig(offline_share=0.5, noise=0.0)

    actor_penalty: float = 0.1  # beta_1 >= 0: squared distance to the data's action beside Q, scaled to a mean of 1
    critic_penalty: float = 0.5  # beta_2 >= 0: what the squared distance to the data's next action costs, in return
    policy_noise: float = 0.2  # standard deviation of the noise on the target action, in half action ranges, >= 0
    noise_clip: float = 0.5  # largest such noise, in half action ranges, >= 0
    penalty_decay: PenaltyDecayConfig = field(default_factory=PenaltyDecayConfig)  # of actor_penalty
    target_every: int = 2  # the target networks move at every n-th update, >= 1
    actor: DeterministicActorConfig = field(default_factory=lambda: DeterministicActorConfig([256] * 3, init="default"))
    qvalue: QValueConfig = field(default_factory=lambda: QValueConfig([256] * 3, layer_norm=True, init="default"))
    actor_optimizer: AdamConfig = field(default_factory=lambda: AdamConfig(every=2))
    critic_optimizer: AdamConfig = field(default_factory=AdamConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rebrac(**self._loss_settings())

    def going_online(self, num_updates: int, updates_per_step: float | None = None) -> Self:
        decay = PenaltyDecayConfig("linear", final=0.5, num_steps=num_updates)
        return replace(super().going_online(num_updates, updates_per_step), critic_penalty=0.0, penalty_decay=decay)

    def build(self, specs: Specs, *, device: Device = "cpu") -> Agent:
        from agents.networks.policies import deterministic_policy
        from agents.objectives.rebrac import ReBRACLoss

        actor, critics = self.networks(specs, device, "actor", "qvalue")
        decay = self.penalty_decay.start()
        decay = decay if decay is None else decay.to(device)
        loss = ReBRACLoss(actor, critics, action_spec=specs.action, penalty_decay=decay, **self._loss_settings())
        return assemble(self, loss, deterministic_policy(actor))

    def _loss_settings(self) -> dict[str, Any]:
        return self.settings("actor_penalty", "critic_penalty", "policy_noise", "noise_clip", "gamma")


# The penalties of the paper's code (github.com/tinkoff-ai/ReBRAC, configs/rebrac), which CORL has too.
TUNED = {
    "D4RL/pen/human-v2": {"actor_penalty": 0.1, "critic_penalty": 0.5},
    "D4RL/pen/cloned-v2": {"actor_penalty": 0.05, "critic_penalty": 0.5},
    "D4RL/pen/expert-v2": {"actor_penalty": 0.01, "critic_penalty": 0.01},
    "D4RL/door/human-v2": {"actor_penalty": 0.1, "critic_penalty": 0.1},
    "D4RL/door/cloned-v2": {"actor_penalty": 0.01, "critic_penalty": 0.1},
    "D4RL/door/expert-v2": {"actor_penalty": 0.05, "critic_penalty": 0.01},
    "D4RL/hammer/human-v2": {"actor_penalty": 0.01, "critic_penalty": 0.5},
    "D4RL/hammer/cloned-v2": {"actor_penalty": 0.1, "critic_penalty": 0.5},
    "D4RL/hammer/expert-v2": {"actor_penalty": 0.01, "critic_penalty": 0.01},
    "D4RL/relocate/human-v2": {"actor_penalty": 0.1, "critic_penalty": 0.01},
    "D4RL/relocate/cloned-v2": {"actor_penalty": 0.1, "critic_penalty": 0.01},
    "D4RL/relocate/expert-v2": {"actor_penalty": 0.05, "critic_penalty": 0.01},
}
