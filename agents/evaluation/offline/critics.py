"""Critics of given policies, fitted to the steps of a log: all members of all policies as one stack of networks.

A policy has several fits, the members. Each learns from episodes drawn with replacement, and is asked about the others,
which gives the Bellman error on episodes that it has not seen. All learn from the same batches, and beside them the
critics of the policy that made the data, whose value the data know.

Shapes: ``N`` steps, ``E`` episodes, ``B`` batch, ``A`` action, ``P`` policies, ``K`` members of each, ``M`` networks:
K for each policy, then K for the data's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from agents.data.specs import Specs
from agents.evaluation.offline.policy import Policy, one_hot
from agents.evaluation.offline.settings import FQEConfig
from agents.evaluation.offline.transitions import Transitions
from agents.networks.bounds import action_bounds, center_and_half_range, divisor
from agents.networks.configs import MLPConfig, QValueConfig
from agents.objectives.fqe import DiscreteFQELoss, EvaluationLoss, FQELoss
from agents.training.adam import AdamConfig
from agents.training.compilation import LossAndGradients
from agents.training.update_rule import ForeachSoftUpdate, UpdateRule

CHUNK = 2048  # steps that all networks see at once
NUM_JUDGED = 20_000  # steps at most that the Bellman error is measured on


@dataclass(frozen=True)
class Scale:
    """What critics learn is ``(Q - offset) / spread``: of size 1 from the first update on, whatever the rewards are."""

    offset: float  # mean of the logged returns from all steps on
    spread: float  # and their standard deviation

    def rewards(self, reward: Tensor, terminated: Tensor, gamma: float) -> Tensor:
        """The rewards whose values these are: what is bootstrapped lacks its offset."""
        return ((reward - self.offset + gamma * self.offset * ~terminated) / self.spread).float()

    def undo(self, values: Tensor) -> Tensor:
        return self.offset + self.spread * values


@dataclass(frozen=True, eq=False)
class Fit:
    """The critics of some policies, and last those of the data's own."""

    steps: Transitions
    policies: Sequence[Policy]
    gamma: float
    scale: Scale
    loss: EvaluationLoss
    rows: TensorDict  # [N], as the loss reads them
    initial: TensorDict  # [E], the states that episodes begin in, and what the policies do there
    counts: Tensor  # [K, E], how often each member drew each episode
    rounds: float  # of regression, as many as target networks have followed: a value goes back a step in each

    @property
    def error_left(self) -> float:
        """About the share of what critics begin wrong by that is left: a round leaves what is behind a step."""
        goes_on = 1.0 - self.steps.terminated.double().mean().item()
        return (self.gamma * goes_on) ** self.rounds

    @torch.no_grad()
    def qvalues(self) -> Tensor:
        """Q of the data's actions, ``[N, P + 1, K]``."""
        return self.scale.undo(self._of_all(self.loss.qvalues, self.rows))

    @torch.no_grad()
    def initial_values(self) -> Tensor:
        """V where episodes begin, ``[E, P + 1, K]``."""
        return self.scale.undo(self._of_all(self.loss.state_values, self.initial))

    @torch.no_grad()
    def next_values(self) -> Tensor:
        """V after each step, ``[N, P + 1, K]``."""
        return self.scale.undo(self._of_all(self.loss.state_values, self.rows["next"]))

    @torch.no_grad()
    def bellman_errors(self, seed: int) -> tuple[Tensor, Tensor]:
        """Of each policy, ``[P]``, on episodes that a member has not drawn and on those that it has.

        They are root mean squares over the spread of the logged returns.
        """
        drawn = torch.randperm(len(self.steps), generator=torch.Generator().manual_seed(seed))[:NUM_JUDGED]
        rows, episode = self.rows[drawn.to(self.rows.device)], self.steps.episode[drawn]

        def errors(params: TensorDictBase, part: TensorDictBase) -> Tensor:
            return self.loss.targets(params, part) - self.loss.qvalues(params, part)

        squares = self._of_all(errors, rows)[:, :-1].square()  # [B, P, K]
        is_out = (self.counts == 0).T[episode][:, None].double()  # [B, 1, K]
        unseen, seen = (
            ((squares * chosen).sum((0, 2)) / chosen.sum().clamp_min(1.0)).sqrt() for chosen in (is_out, 1.0 - is_out)
        )
        return unseen, seen

    def unseen(self, values: Tensor, episode: Tensor) -> Tensor:
        """Mean over the members that have not drawn an episode, ``[B, P, K] -> [B, P]``; over all where each has."""
        out = (self.counts == 0).T[episode].to(values)  # [B, K]
        out = torch.where(out.any(-1, keepdim=True), out, 1.0)
        return (values * out[:, None]).sum(-1) / out.sum(-1, keepdim=True)

    def _of_all(self, function: Callable[[TensorDictBase, TensorDictBase], Tensor], rows: TensorDictBase) -> Tensor:
        params = self.loss.qvalue_network_params.data
        values = torch.cat([function(params, part).cpu() for part in rows.split(CHUNK)])  # [B, M]
        return values.double().unflatten(-1, (-1, len(self.counts)))


def fit_critics(
    policies: Sequence[Policy],
    steps: Transitions,
    config: FQEConfig,
    *,
    gamma: float,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_update: Callable[[], object] = lambda: None,
) -> Fit:
    """The stack of critics of some policies, fitted from the same batches."""
    returns = steps.returns_to_go(gamma)
    scale = Scale(returns.mean().item(), returns.std().item() or 1.0)
    generator = torch.Generator().manual_seed(seed)
    counts = torch.stack([_counts(steps.num_episodes, generator) for _ in range(config.num_members)])  # [K, E]
    rows, initial = _rows(policies, steps, scale, gamma, seed)
    weights = _weights(steps, counts, len(policies))  # [N, M]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        loss = _loss(config, steps.specs, len(policies) + 1, gamma, _bounds(steps, scale, gamma)).to(device)
    rows, initial, weights = rows.to(device), initial.to(device), weights.to(device)
    parameters, adam = [*loss.parameters()], AdamConfig(lr=config.lr, decay_steps=config.gradient_steps)
    rule = UpdateRule(
        {"critic": (parameters, adam)},
        evaluation=lambda _, parameters: LossAndGradients(loss, parameters),
        target_net_updater=ForeachSoftUpdate(loss, tau=config.target_tau),
        target_every=1,
        max_grad_norm=None,
    )

    def batch() -> TensorDict:
        index = torch.randint(len(steps), (config.batch_size,), generator=generator).to(device)
        return rows[index].set("critic_weight", weights[index])

    rule.compile(batch(), config.compile, dtype=torch.float32)
    for _ in range(config.gradient_steps):
        rule.update(batch())
        on_update()
    rounds = config.gradient_steps * config.target_tau
    return Fit(steps, policies, gamma, scale, loss.eval(), rows, initial, counts, rounds)


def _counts(num_episodes: int, generator: torch.Generator) -> Tensor:
    drawn = torch.randint(num_episodes, (num_episodes,), generator=generator)
    return torch.bincount(drawn, minlength=num_episodes)


def _rows(
    policies: Sequence[Policy], steps: Transitions, scale: Scale, gamma: float, seed: int
) -> tuple[TensorDict, TensorDict]:
    """The steps and the states that episodes begin in, with what each policy does, as the loss reads them."""
    first, specs = steps.observation[steps.first], steps.specs
    after = [_choices(policy, steps.next_observation, specs, seed) for policy in policies]
    before = [_choices(policy, first, specs, seed) for policy in policies]
    own = logged_choices(steps)
    following = torch.arange(1, len(steps) + 1).clamp_max(len(steps) - 1)  # at ends there is none: it has no weight
    key = "action_probability" if specs.discrete else "action"
    rows = TensorDict(
        {
            "observation": steps.observation,
            "action": steps.action if specs.discrete else own,
            "next": {
                "observation": steps.next_observation,
                "reward": scale.rewards(steps.reward, steps.terminated, gamma)[:, None],
                "terminated": steps.terminated[:, None],
                key: torch.stack([*after, own[following]], 1),  # [N, P + 1, ...]
            },
        },
        [len(steps)],
    )
    begins = {"observation": first, key: torch.stack([*before, own[steps.first]], 1)}
    return rows, TensorDict(begins, [len(first)])


def _choices(policy: Policy, observation: Tensor, specs: Specs, seed: int) -> Tensor:
    """What a policy does, in the form that the loss reads: an action, scaled as the data's, or the probabilities."""
    if specs.discrete:
        return policy.probabilities(observation)
    return _in_bounds(policy.actions(observation, seed=seed), specs)


def logged_choices(steps: Transitions) -> Tensor:
    """The data's actions in that form."""
    if not steps.specs.discrete:
        return _in_bounds(steps.action, steps.specs)
    return one_hot(steps.action, steps.specs)


def _in_bounds(action: Tensor, specs: Specs) -> Tensor:
    """Actions as shares of their half range: networks see +-1 whatever the unit is."""
    center, half_range = center_and_half_range(*action_bounds(specs.action))
    return (action - center) / divisor(half_range)


def _weights(steps: Transitions, counts: Tensor, num_policies: int) -> Tensor:
    """w of each step in the loss of each network, ``[N, M]``: how often its member drew the episode.

    Where an episode was cut off, what the data's own policy would have done next is not known.
    """
    drawn = counts.T[steps.episode].float()  # [N, K]
    known = torch.ones(len(steps), 1)
    known[steps.last[steps.cut_off]] = 0.0
    return torch.cat([*[drawn] * num_policies, drawn * known], 1)


def _loss(
    config: FQEConfig, specs: Specs, num_policies: int, gamma: float, bounds: tuple[float, float] | None
) -> EvaluationLoss:
    """A stack of critics in which a member begins alike for all policies: differences between these are then theirs."""
    layers = {entry.name: getattr(config.qvalue, entry.name) for entry in fields(MLPConfig)}
    qvalue = QValueConfig(**layers, num_nets=config.num_members)
    build = qvalue.build_action_values if specs.discrete else qvalue.build
    network = build(specs, normalize=True)
    ensemble: Any = network.module
    ensemble.num_nets *= num_policies
    for parameter in network.parameters():
        parameter.data = parameter.data.repeat(num_policies, *[1] * (parameter.ndim - 1))  # [K, ..] -> [M, ..]
    return (DiscreteFQELoss if specs.discrete else FQELoss)(network, gamma=gamma, bounds=bounds)


def _bounds(steps: Transitions, scale: Scale, gamma: float) -> tuple[float, float] | None:
    """Smallest and largest value that the rewards of the data can add up to, in units of the critics."""
    if gamma == 1.0:
        return None
    rewards = (steps.reward.min().item(), steps.reward.max().item())
    for_ever = [reward / (1.0 - gamma) for reward in rewards]
    ended = steps.terminated.any().item()  # a value may then be of a single reward
    low, high = (
        choose(always, reward) if ended else always for choose, always, reward in zip((min, max), for_ever, rewards)
    )
    return (low - scale.offset) / scale.spread, (high - scale.offset) / scale.spread
