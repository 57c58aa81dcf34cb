"""Conservative Q-learning (Kumar et al. 2020, arXiv 2006.04779), CQL(H), for discrete actions.

.. math::
    L = \\alpha E[\\, \\log \\sum_a \\exp Q(s, a) - Q(s, a_{data}) \\,] + \\tfrac{1}{2} L_Q, \\quad
    L_Q = E[\\, (r + \\gamma (1 - \\mathrm{terminated}) \\bar Q(s', \\arg\\max_a Q(s', a)) - Q(s, a))^2 \\,]
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from agents.data.specs import Specs
from agents.networks.configs import QValueConfig
from agents.networks.policies import greedy_policy
from agents.objectives import DQNLoss
from agents.objectives.settings import check_dqn as check_loss_settings
from agents.training.adam import AdamConfig
from agents.training.agent import Agent
from agents.training.settings import check_update as check_agent_settings


@dataclass
class DiscreteCQLConfig:
    """CQL on double DQN, as d3rlpy has it; the official code adds the penalty to QR-DQN.

    alpha is the official code's on Atari (its README, for one percent of the data) and d3rlpy's. Network, rate,
    discount, loss and Polyak step are those of TorchRL's offline recipe for CartPole
    (``sota-implementations/cql/discrete_offline_config.yaml``).

    Raises:
        ConfigError: if a field is outside the range given in its comment.
    """

    actions: ClassVar[str] = "discrete"

    alpha: float = 1.0  # weight of the conservative penalty, >= 0: 0 is DQN
    gamma: float = 0.99  # discount in [0, 1]
    loss_function: str = "l2"  # distance in the Bellman error: l2, l1 or smooth_l1
    target_tau: float = 0.005  # Polyak step of the target critics in (0, 1]
    target_every: int = 1  # the targets move at every n-th update, >= 1
    normalize_observations: bool = False  # scale observations by the dataset's mean and standard deviation
    max_grad_norm: float | None = None  # largest global gradient norm, > 0; None: no clip
    qvalue: QValueConfig = field(default_factory=lambda: QValueConfig(num_nets=1))
    critic_optimizer: AdamConfig = field(default_factory=AdamConfig)

    def __post_init__(self) -> None:
        check_loss_settings(loss_function=self.loss_function, gamma=self.gamma, cql_alpha=self.alpha)
        check_agent_settings(
            target_tau=self.target_tau, target_every=self.target_every, max_grad_norm=self.max_grad_norm
        )

    def build(self, specs: Specs, *, device: torch.device | str = "cpu") -> Agent:
        """A freshly initialised agent for data with these specs; initialisation draws from torch's global generator."""
        qvalue = self.qvalue.build_action_values(specs, normalize=self.normalize_observations).to(device)
        loss = DQNLoss(
            qvalue,
            loss_function=self.loss_function,
            gamma=self.gamma,
            cql_alpha=self.alpha,
        )
        return Agent(
            loss,
            greedy_policy(qvalue),
            optimizers={"critic": (list(loss.qvalue_network_params.parameters()), self.critic_optimizer)},
            target_tau=self.target_tau,
            target_every=self.target_every,
            max_grad_norm=self.max_grad_norm,
        )
