"""Conservative Q-learning (Kumar et al. 2020, arXiv 2006.04779), CQL(H), for discrete actions.

.. math::
    L = \\alpha E[\\, \\log \\sum_a \\exp Q(s, a) - Q(s, a_{data}) \\,] + \\tfrac{1}{2} L_Q, \\quad
    L_Q = E[\\, (r + \\gamma (1 - \\mathrm{terminated}) \\bar Q(s', \\arg\\max_a Q(s', a)) - Q(s, a))^2 \\,]

Actions may have several parts, see :mod:`agents.networks.factored`: sums and maxima are then over all combinations.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agents.algorithms.common import Agent, Device, Specs, TDConfig, assemble
from agents.networks.configs import QValueConfig
from agents.objectives.settings import check_dqn
from agents.training.adam import AdamConfig
from agents.training.online import OnlineConfig


@dataclass
class DiscreteCQLConfig(TDConfig):
    """CQL on double DQN, as d3rlpy has it; the official code adds the penalty to QR-DQN.

    alpha is the official code's on Atari (its README, for a tenth of the data) and d3rlpy's. Network, rate,
    discount, loss and Polyak step are those of TorchRL's offline recipe for CartPole
    (``sota-implementations/cql/discrete_offline_config.yaml``).

    ``alpha=None`` is double DQN (van Hasselt et al. 2015, arXiv 1509.06461) and minimises L_Q, not half of it: nothing
    keeps it near the data. On Atari (Mnih et al. 2015) DQN clips errors and copies the targets:
    ``loss_function="smooth_l1", target_tau=1.0, target_every=10_000``.
    """

    actions = "discrete"
    online = OnlineConfig(random_share=0.1)  # it has no distribution of its own to explore by; not in a source

    alpha: float | None = 1.0  # weight of the conservative penalty, >= 0; None: there is none
    loss_function: str = "l2"  # distance in the Bellman error: l2, l1 or smooth_l1
    target_every: int = 1  # the targets move at every n-th update, >= 1
    qvalue: QValueConfig = field(default_factory=lambda: QValueConfig(num_nets=1))
    critic_optimizer: AdamConfig = field(default_factory=AdamConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_dqn(loss_function=self.loss_function, gamma=self.gamma, cql_alpha=self.alpha)

    def build(self, specs: Specs, *, device: Device = "cpu") -> Agent:
        from agents.networks.policies import greedy_policy
        from agents.objectives.dqn import DQNLoss

        qvalue = self.qvalue.build_action_values(specs, normalize=self.normalize_observations).to(device)
        loss = DQNLoss(qvalue, loss_function=self.loss_function, gamma=self.gamma, cql_alpha=self.alpha)
        return assemble(self, loss, greedy_policy(qvalue))
