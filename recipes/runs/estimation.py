"""What a run's policy is worth by the data alone, as it learns: fitted Q evaluation every ``estimate_every`` updates.

Each estimate is fitted from nothing, by the same draws. It depends on the policy and the data and on nothing else: a
resumed run needs no state of it, one step's can be set beside another's, and none inherits the error of one before.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import agents
from agents.errors import ConfigError
from agents.evaluation.held_out import in_eval_mode
from agents.evaluation.offline.critics import MOST_UPDATES, updates_until
from agents.evaluation.offline.estimate import ERROR_LEFT, Estimate
from agents.evaluation.offline.fqe import fitted_q_evaluation
from agents.evaluation.offline.policy import Policy, policy_of
from agents.evaluation.offline.settings import GAMMA, FQEConfig
from agents.evaluation.offline.support import outside_support
from agents.evaluation.offline.transitions import Transitions, read_transitions
from agents.objectives.schedules import ValidationExpectile
from agents.training.stack import modules_in

if TYPE_CHECKING:
    from recipes.settings.schema import TrainConfig

FEWEST_UPDATES = 4_000


class Estimation:
    """The estimates of a policy that is being trained; of each step that is asked about once."""

    def __init__(
        self, agent: agents.Agent, steps: Transitions, *, gamma: float, every: int, learned_from: bool
    ) -> None:
        self.steps, self.gamma, self._every, self._learned_from = steps, gamma, every, learned_from
        self._agent, self._policy = agent, policy_as_it_learns(agent, steps.specs)
        self._fqe = quick_fit(steps, gamma)
        self._latest: tuple[int, Estimate] | None = None

    @property
    def own_return(self) -> float:
        """The mean discounted return of the episodes that it estimates from."""
        return self.steps.returns(self.gamma).mean().item()

    def due(self, step: int) -> bool:
        return step > 0 and step % self._every == 0

    def at(self, step: int) -> Estimate:
        """Of the policy as it is, after so many updates."""
        if self._latest is None or self._latest[0] != step:
            with in_eval_mode([*modules_in(self._agent.policy, set())]):
                device = self._agent.device
                (value,) = fitted_q_evaluation([self._policy], self.steps, self._fqe, gamma=self.gamma, device=device)
                share = outside_support(self._policy, self.steps)
            self._latest = step, value.knowing(outside_support=share, learned_from=self._learned_from)
        return self._latest[1]

    def move(self, step: int) -> None:
        """Let what follows the estimate follow it."""
        value = self.at(step)
        for schedule in followers(self._agent):
            schedule.look(None if value.refutations else value.value)


def read(config: TrainConfig, dataset: agents.OfflineDataset) -> Transitions | None:
    """The steps that a run's estimates come from, and a line on them; None: it makes none.

    Args:
        dataset: what it holds out, else what it learns from.

    Raises:
        ConfigError, DataError: there are no rewards, or a single episode.
    """
    if config.estimate_every is None:
        return None
    if config.validation and dataset.statistics.num_episodes < 2:
        alone = f"validation={config.validation:g} holds out a single episode"
        raise ConfigError(f"{alone}, and an estimate needs more to say how sure it is: hold out more")
    steps, gamma = read_transitions(dataset), discount(config)
    kind = "held-out episodes"
    if not config.validation:
        kind = "episodes that it learns from, which flatters it (validation=0.2 holds some out)"
    own = f"they return {steps.returns(gamma).mean():.4g}, discounted by {gamma:g}"
    print(f"estimates every {config.estimate_every} updates from {steps.num_episodes} {kind}; {own}")
    return steps


def begin(config: TrainConfig, agent: agents.Agent, steps: Transitions | None) -> Estimation | None:
    """The estimates of an agent's policy; None: none are to be made.

    Raises:
        ConfigError: no estimator can value such a policy, or its expectile follows estimates that are not made.
    """
    if followers(agent) and (steps is None or not config.validation):
        raise ConfigError(
            "algorithm.expectile_schedule.kind=validation follows the estimate on held-out episodes: "
            "add validation=0.2 estimate_every=2500, say"
        )
    if steps is None or config.estimate_every is None:
        return None
    gamma, learned_from = discount(config), not config.validation
    return Estimation(agent, steps, gamma=gamma, every=config.estimate_every, learned_from=learned_from)


def quick_fit(steps: Transitions, gamma: float) -> FQEConfig:
    """Fewer members than ``offline-agents estimate`` has, and as many rounds in half the updates.

    There are more of them where the discount takes more: what has not converged means nothing. They are traced, as a
    choice between compilers by the clock would round otherwise after a resume.
    """
    target_tau = 0.1
    needed = updates_until(ERROR_LEFT[1], steps, gamma, target_tau)
    num_updates = math.ceil(min(max(FEWEST_UPDATES, needed), MOST_UPDATES))
    return FQEConfig(num_members=3, target_tau=target_tau, gradient_steps=num_updates, compile="trace")


def discount(config: TrainConfig) -> float:
    """The one that the algorithm learns with, else 0.99."""
    gamma = getattr(config.algorithm, "gamma", None)
    return GAMMA if gamma is None else gamma


def followers(agent: agents.Agent) -> list[ValidationExpectile]:
    """The schedules of an agent that follow estimates."""
    return [module for module in agent.loss_module.modules() if isinstance(module, ValidationExpectile)]


def policy_as_it_learns(agent: agents.Agent, specs: agents.Specs) -> Policy:
    """The agent's policy as it is deployed, for data on the CPU, whichever device it is on."""
    policy = policy_of(agent.policy, specs, name="the policy")
    act, device = policy.act, agent.device
    return policy if device.type == "cpu" else replace(policy, act=lambda rows: act(rows.to(device)).cpu())
