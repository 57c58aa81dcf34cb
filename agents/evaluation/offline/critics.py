"""Critics of given policies, fitted to the steps of a log: all members of all policies as one stack of networks.

All learn from the same batches, and beside them the critics of the policy that made the data, whose value the data
know.

Shapes: ``N`` steps, ``E`` episodes, ``B`` batch, ``A`` action, ``P`` policies, ``K`` members of each, ``M`` networks:
K for each policy, then K for the data's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from agents.data.specs import Specs
from agents.evaluation.offline.fit import Fit, draw_episodes, going_on
from agents.evaluation.offline.policy import Policy, one_hot
from agents.evaluation.offline.scale import Scale, scale_of, value_bounds
from agents.evaluation.offline.settings import FQEConfig
from agents.evaluation.offline.transitions import Transitions
from agents.networks.bounds import action_bounds, center_and_half_range, divisor
from agents.networks.configs import MLPConfig, QValueConfig
from agents.objectives.fqe import DiscreteFQELoss, EvaluationLoss, FQELoss
from agents.training.adam import AdamConfig
from agents.training.compilation import LossAndGradients
from agents.training.generators import drawing_from
from agents.training.update_rule import ForeachSoftUpdate, UpdateRule

CHUNK = 2048  # steps that all networks see at once
LAST = 5  # a fifth: the updates in which a value that has arrived no longer moves
WANTED_ERROR_LEFT = 0.01
FEWEST_UPDATES, MOST_UPDATES = 8_000, 40_000  # where none are set


@dataclass(eq=False, kw_only=True)
class CriticFit(Fit):
    """One stack of networks."""

    loss: EvaluationLoss
    rows: TensorDict  # [N], as the loss reads them
    initial: TensorDict  # [E], the states that episodes begin in, and what the policies do there

    def qvalues(self) -> Tensor:
        return self.scale.undo(self._of_all(self.loss.qvalues, self.rows))

    def initial_values(self) -> Tensor:
        return self.scale.undo(self._of_all(self.loss.state_values, self.initial))

    def next_values(self) -> Tensor:
        return self.scale.undo(self._of_all(self.loss.state_values, self.rows["next"]))

    def td_errors(self, index: Tensor) -> Tensor:
        def errors(params: TensorDictBase, part: TensorDictBase) -> Tensor:
            return self.loss.targets(params, part) - self.loss.qvalues(params, part)

        return self._of_all(errors, self.rows[index.to(self.rows.device)])[:, :-1]

    @torch.no_grad()
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
    scale, num_updates = scale_of(steps, gamma), updates_for(steps, config, gamma)
    generator = torch.Generator().manual_seed(seed)
    counts = draw_episodes(steps, config.num_members, generator)
    rows, initial = _rows(policies, steps, scale, gamma, seed)
    weights = _weights(steps, counts, len(policies))  # [N, M]
    with drawing_from(torch.Generator().manual_seed(seed)):
        loss = _loss(config, steps.specs, len(policies) + 1, gamma, scale.scaled(value_bounds(steps, gamma))).to(device)
    rows, initial, weights = rows.to(device), initial.to(device), weights.to(device)
    parameters, adam = [*loss.parameters()], AdamConfig(lr=config.lr, decay_steps=num_updates)
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
    fit = CriticFit(
        steps=steps,
        policies=policies,
        gamma=gamma,
        scale=scale,
        counts=counts,
        rounds=num_updates * config.target_tau,
        remainder=torch.zeros(len(policies)),
        loss=loss,
        rows=rows,
        initial=initial,
    )
    early = torch.zeros(())
    for step in range(num_updates):
        if step == num_updates - num_updates // LAST:
            early = _values(fit)
        rule.update(batch())
        on_update()
    loss.eval()
    moved = (fit.values() - early)[:-1].mean(1) if num_updates >= LAST else early
    fit.remainder = torch.maximum(moved.abs(), fit.residual(seed).abs())
    return fit


def updates_for(steps: Transitions, config: FQEConfig, gamma: float) -> int:
    """The updates that are set, else as many as leave a hundredth of what critics begin wrong by."""
    if config.gradient_steps is not None:
        return config.gradient_steps
    needed = updates_until(WANTED_ERROR_LEFT, steps, gamma, config.target_tau)
    return round(min(max(FEWEST_UPDATES, needed), MOST_UPDATES))


def updates_until(error_left: float, steps: Transitions, gamma: float, target_tau: float) -> float:
    """Updates that leave such a share of what critics begin wrong by; infinite where none do."""
    left = gamma * going_on(steps)  # by a round
    rounds = math.log(error_left) / math.log(left) if 0.0 < left < 1.0 else math.inf if left else 1.0
    return rounds / target_tau


def _values(fit: CriticFit) -> Tensor:
    """By the critics of the moment, without dropout."""
    was_training = fit.loss.training
    fit.loss.eval()
    values = fit.values()
    fit.loss.train(was_training)
    return values


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
    return choices(policy.actions(observation, seed=seed), specs)


def logged_choices(steps: Transitions) -> Tensor:
    """The data's actions in that form."""
    return choices(steps.action, steps.specs)


def choices(action: Tensor, specs: Specs) -> Tensor:
    """Actions as shares of their half range: networks see +-1 whatever the unit is; discrete ones as one-hots."""
    if specs.discrete:
        return one_hot(action, specs)
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
    config: FQEConfig, specs: Specs, num_policies: int, gamma: float, bounds: tuple[float, float]
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
