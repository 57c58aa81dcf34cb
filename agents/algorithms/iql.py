"""Implicit Q-learning (Kostrikov, Nair, Levine 2021, arXiv 2110.06169).

.. math::
    L_V   &= E[\\, |\\tau - 1(u < 0)| \\, u^2 \\,], \\quad u = \\min_i \\bar Q_i(s, a) - V(s) \\\\
    L_Q   &= \\sum_i E[\\, (r + \\gamma (1 - \\mathrm{terminated}) V(s') - Q_i(s, a))^2 \\,] \\\\
    L_\\pi &= -E[\\, \\min(\\exp(\\beta u), c) \\log \\pi(a|s) \\,]
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from agents.algorithms.common import Agent, Device, Specs, TDConfig
from agents.errors import require, require_choice, require_memory
from agents.networks.configs import FLOAT32, ActorConfig, QValueConfig, ValueConfig
from agents.objectives.settings import check_adaptive_expectile, check_iql, check_linear_expectile, check_not_negative
from agents.training.adam import AdamConfig

if TYPE_CHECKING:
    from torch import nn

    from agents.objectives.iql import IQLLoss


@dataclass
class ExtractionConfig:
    """How IQL's critics become a policy.

    ``weighting`` is the paper's. ``ddpg_bc`` ascends Q at the actor's mean and clones the data beside it, by the
    likelihood that they have at a standard deviation of 1, which is not learnt (Park et al. 2024, arXiv 2406.09329,
    which tunes the weight per task, for actions in +-1). ``argmax`` and ``softmax`` clone the data, and search
    when they act (IDQL, Hansen-Estruch et al. 2023, arXiv 2304.10573): among some of the clone's actions they take the
    one with the largest target Q, or one with a probability of exp(beta Q), where beta is IQL's ``temperature``.
    Refining these by the cross-entropy method is not in that paper.
    """

    kind: str = "weighting"  # weighting, ddpg_bc, argmax or softmax
    bc_weight: float = 1.0  # ddpg_bc: alpha, weight of the log-likelihood beside the scaled Q, >= 0
    num_candidates: int = 64  # argmax, softmax: actions to choose from, >= 1
    cem_iterations: int | None = None  # argmax, softmax: refinements by the cross-entropy method, >= 1; None: none
    seed: int = 0  # argmax, softmax: of the random numbers, which are drawn in advance, >= 0

    def __post_init__(self) -> None:
        require_choice("kind", self.kind, ("weighting", "ddpg_bc", "argmax", "softmax"))
        check_not_negative(bc_weight=self.bc_weight)
        require(self.num_candidates >= 1, "num_candidates", "be at least 1", self.num_candidates)
        require_memory(self.num_candidates * FLOAT32, "num_candidates", self.num_candidates)
        positive = self.cem_iterations is None or self.cem_iterations >= 1
        require(positive, "cem_iterations", "be at least 1 or null", self.cem_iterations)
        require(0 <= self.seed < 2**63, "seed", "be at least 0 and below 2^63", self.seed)

    @property
    def searches(self) -> bool:
        """Whether the policy is a clone of the data that searches when it acts."""
        return self.kind in ("argmax", "softmax")


@dataclass
class ExpectileScheduleConfig:
    """How IQL's expectile goes on from ``expectile``; only ``constant`` is in the paper.

    ``validation`` climbs what the policy is worth by held-out episodes, as told by ``ValidationExpectile.look`` of
    ``agents.objectives.schedules``: in training by ``estimate_every``.
    """

    kind: str = "constant"  # constant, linear, adaptive (share of advantages above 0) or validation
    final: float = 0.9  # linear: the expectile in the end, in (0, 1)
    num_steps: int = 10_000  # linear: updates to get there, >= 1
    positive_share: float = 0.3  # adaptive: share of positive advantages to steer to, in (0, 1)
    rate: float = 1e-3  # adaptive: change per update and unit of share, in (0, 1)

    def __post_init__(self) -> None:
        require_choice("kind", self.kind, ("constant", "linear", "adaptive", "validation"))
        check_linear_expectile(self.final, self.num_steps)
        check_adaptive_expectile(self.positive_share, self.rate)

    def start(self, expectile: float) -> float | nn.Module:
        """IQLLoss's expectile: a number, or a module that changes it from update to update."""
        from agents.objectives.schedules import AdaptiveExpectile, LinearExpectile, ValidationExpectile

        if self.kind == "linear":
            return LinearExpectile(expectile, self.final, self.num_steps)
        if self.kind == "adaptive":
            return AdaptiveExpectile(expectile, self.positive_share, self.rate)
        if self.kind == "validation":
            return ValidationExpectile(expectile)
        return expectile


@dataclass
class IQLConfig(TDConfig):
    """IQL with the settings of the official code on Adroit.

    It differs from that code in three ways: V, Q and the actor are updated at the same time, each from the parameters
    before the update, where the official code updates V first; actions are pulled inside their bounds for a tanh_normal
    actor only, since an unsquashed Normal cannot notice; and no learning rate decays unless
    ``actor_optimizer.decay_steps`` says so (the recipe's presets decay the actor's over the run). ``scale_advantage``,
    ``value_warm_up``, ``expectile_schedule`` and ``extraction`` are off.
    """

    actions = "continuous"

    expectile: float = 0.7  # tau in (0, 1): at 0.5 the mean of Q, near 1 its maximum
    temperature: float = 0.5  # beta, an inverse temperature >= 0: 0 is behaviour cloning
    advantage_clip: float | None = 100.0  # largest weight exp(beta A), > 0; None: no clip
    scale_advantage: bool = False  # in the weights, A over a running mean of its size; not in the paper
    loss_function: str = "l2"  # distance in the Bellman error: l2, l1 or smooth_l1
    value_warm_up: int | None = None  # updates, >= 1, before the first of Q; not in the paper; None: none
    expectile_schedule: ExpectileScheduleConfig = field(default_factory=ExpectileScheduleConfig)
    extraction: ExtractionConfig = field(default_factory=ExtractionConfig)
    actor: ActorConfig = field(default_factory=lambda: ActorConfig(dropout=0.1))
    qvalue: QValueConfig = field(default_factory=QValueConfig)
    value: ValueConfig = field(default_factory=ValueConfig)
    actor_optimizer: AdamConfig = field(default_factory=AdamConfig)  # the official code decays this one over the run
    critic_optimizer: AdamConfig = field(default_factory=AdamConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_iql(expectile=self.expectile, **self._loss_settings())
        positive = self.value_warm_up is None or self.value_warm_up >= 1
        require(positive, "value_warm_up", "be at least 1 or null", self.value_warm_up)

    def build(self, specs: Specs, *, device: Device = "cpu") -> Agent:
        from torch import nn

        from agents.networks.policies import deterministic_policy
        from agents.networks.search import searching_policy
        from agents.objectives.iql import IQLLoss
        from agents.objectives.weighting import AdvantageScale
        from agents.training.agent import Agent

        actor, critics, value = self.networks(specs, device, "actor", "qvalue", "value")
        expectile = self.expectile_schedule.start(self.expectile)
        if isinstance(expectile, nn.Module):
            expectile = expectile.to(device)
        scale = AdvantageScale().to(device) if self.scale_advantage else None
        loss = IQLLoss(actor, critics, value, expectile=expectile, advantage_scale=scale, **self._loss_settings())
        policy = deterministic_policy(actor)
        agent = Agent(loss, policy, optimizers=self._optimizers(loss), **self.update_settings())
        if self.extraction.searches:  # only now, as TorchRL warns about target parameters without an updater
            agent.policy = searching_policy(
                actor,
                critics,
                loss.target_qvalue_network_params,
                action_spec=specs.action,
                num_candidates=self.extraction.num_candidates,
                temperature=self.temperature if self.extraction.kind == "softmax" else None,
                cem_iterations=self.extraction.cem_iterations,
                seed=self.extraction.seed,
            )
        return agent

    def _loss_settings(self) -> dict[str, Any]:
        return {
            **self.settings("loss_function", "gamma", "advantage_clip"),
            "temperature": 0.0 if self.extraction.searches else self.temperature,  # 0: the actor is a clone
            "bc_weight": self.extraction.bc_weight if self.extraction.kind == "ddpg_bc" else None,
        }

    def _optimizers(self, loss: IQLLoss) -> dict[str, tuple[list[nn.Parameter], AdamConfig]]:
        networks = (loss.actor_network_params, loss.qvalue_network_params, loss.value_network_params)
        actor, qvalue, value = (list(parameters.parameters()) for parameters in networks)
        groups = {"actor": (actor, self.actor_optimizer)}
        if self.value_warm_up is None:
            return {**groups, "critic": (qvalue + value, self.critic_optimizer)}
        later = replace(self.critic_optimizer, after=self.critic_optimizer.after + self.value_warm_up)
        return {**groups, "critic": (qvalue, later), "value": (value, self.critic_optimizer)}


# Temperature and expectile tuned per dataset in the ReBRAC paper (Tarasov et al. 2023, arXiv 2305.09836).
TUNED = {
    "D4RL/pen/human-v2": {"temperature": 1.0, "expectile": 0.95},
    "D4RL/pen/cloned-v2": {"temperature": 10.0, "expectile": 0.9},
    "D4RL/pen/expert-v2": {"temperature": 10.0, "expectile": 0.8},
    "D4RL/door/human-v2": {"temperature": 0.5, "expectile": 0.9},
    "D4RL/door/cloned-v2": {"temperature": 6.0, "expectile": 0.7},
    "D4RL/door/expert-v2": {"temperature": 0.5, "expectile": 0.7},
    "D4RL/hammer/human-v2": {"temperature": 3.0, "expectile": 0.9},
    "D4RL/hammer/cloned-v2": {"temperature": 6.0, "expectile": 0.7},
    "D4RL/hammer/expert-v2": {"temperature": 0.5, "expectile": 0.95},
    "D4RL/relocate/human-v2": {"temperature": 1.0, "expectile": 0.95},
    "D4RL/relocate/cloned-v2": {"temperature": 6.0, "expectile": 0.9},
    "D4RL/relocate/expert-v2": {"temperature": 10.0, "expectile": 0.9},
}
