r"""Tables of values, solved exactly: fitted Q evaluation where states are few and actions discrete.

A table is what rounds of regression come to when each pair of state and action has an entry of its own: nothing is left
to converge. Of n visits of a pair, with the mean of what followed on them and k = 0.1,

.. math::
    Q(s, a) = \frac{n \, \overline{(r + \gamma V(s'))}_{s, a} + k Q(s)}{n + k}, \qquad V(s) = \sum_a \pi(a|s) Q(s, a)

where Q(s) is that mean over all visits of the state: an action that was never tried is expected to be worth what those
are that were. The interval says how far that may be from the truth: by a standard deviation between the actions of a
state, of all that were never tried at once.

Shapes: ``N`` steps, ``E`` episodes, ``B`` batch, ``P`` policies, ``K`` members, ``S`` states, ``C`` pairs of a state
and an action that the log has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agents.evaluation.offline.fit import Fit, draw_episodes
from agents.evaluation.offline.policy import Policy
from agents.evaluation.offline.scale import scale_of
from agents.evaluation.offline.states import States
from agents.evaluation.offline.transitions import Transitions

NUM_MEMBERS = 100  # that drew episodes; before them is one that has them all
PRIOR = 0.1  # visits: more of them bias a value at every step, while what is noise at a step averages out over many
AT_ONCE = 2**24  # numbers of the systems that are solved together, and of the steps that these are made of


@dataclass(eq=False, kw_only=True)
class TableFit(Fit):
    """Tables of V, from which Q follows."""

    states: States
    state_values: Tensor  # [P + 1, K, S]

    def estimates(self) -> tuple[Tensor, Tensor]:
        """Of all episodes, and by the members that drew some, around it: these know fewer, which shrinks them more."""
        values = self.values()
        value, draws = values[:, 0], values[:, 1:]
        return value, draws - draws.mean(1, keepdim=True) + value[:, None]

    def qvalues(self) -> Tensor:
        return self._qvalues(torch.arange(len(self.steps)))

    def initial_values(self) -> Tensor:
        return self._at(self.states.state[self.steps.first])

    def next_values(self) -> Tensor:
        return self._at(self.states.next_state)

    def td_errors(self, index: Tensor) -> Tensor:
        goes_on = ~self.steps.terminated[index, None, None]
        target = self.steps.reward[index, None, None] + self.gamma * goes_on * self._at(self.states.next_state[index])
        return ((target - self._qvalues(index)) / self.scale.spread)[:, :-1]

    def _at(self, state: Tensor) -> Tensor:
        return self.state_values[..., state].permute(2, 0, 1)  # [B, P + 1, K]

    def _qvalues(self, index: Tensor) -> Tensor:
        """``[B] -> [B, P + 1, K]``."""
        pair, state = self.states.pair[index], self.states.state[index]
        qvalues = []
        for drawn, values in zip(self.counts, self.state_values.unbind(1)):  # of a member
            weights = Weights.of(self.states, drawn[self.steps.episode].double())
            follows = self.steps.reward + self.gamma * ~self.steps.terminated * values[:, self.states.next_state]
            of_state, of_pair = weights.means(follows)
            visits = weights.visits[pair]
            qvalues.append((visits * of_pair[:, pair] + PRIOR * of_state[:, state]) / (visits + PRIOR))
        return torch.stack(qvalues, -1).transpose(0, 1)  # K of [P + 1, B]


@dataclass(frozen=True, eq=False)
class Weights:
    """How often a member drew each step; of a state that it never drew, each step that the log has of it counts."""

    states: States
    of_pair: Tensor  # [N]
    of_state: Tensor  # [N]
    visits: Tensor  # [C], of pairs
    state_visits: Tensor  # [S]

    @classmethod
    def of(cls, states: States, drawn: Tensor) -> Weights:
        visits = _sum(drawn, states.state, states.num_states)
        of_state = torch.where(visits[states.state] > 0.0, drawn, 1.0)
        state_visits = _sum(of_state, states.state, states.num_states)
        return cls(states, drawn, of_state, _sum(drawn, states.pair, len(states.example)), state_visits)

    def means(self, follows: Tensor) -> tuple[Tensor, Tensor]:
        """Of what followed on steps, ``[P + 1, N]``, by state, ``[P + 1, S]``, and by pair, ``[P + 1, C]``."""
        of_state = _sum(self.of_state * follows, self.states.state, self.states.num_states) / self.state_visits
        of_pair = _sum(self.of_pair * follows, self.states.pair, len(self.visits)) / self.visits.clamp_min(1.0)
        return of_state, of_pair

    def of_policy(self, share: Tensor) -> Tensor:
        """How much what followed on each step counts for V of its state, by a policy's shares ``[C]``, ``[N]``."""
        of_state = (self.untried(share) / self.state_visits)[self.states.state]
        return self.of_pair * (share / (self.visits + PRIOR))[self.states.pair] + self.of_state * of_state

    def untried(self, share: Tensor) -> Tensor:
        """How much of what a policy does in a state is valued as what others did there, ``[C] -> [S]``."""
        tried = share * self.visits / (self.visits + PRIOR)
        return 1.0 - _sum(tried, self.states.state[self.states.example], self.states.num_states)


def fit_tables(
    policies: Sequence[Policy],
    steps: Transitions,
    states: States,
    *,
    gamma: float,
    seed: int = 0,
    on_solution: Callable[[], object] = lambda: None,
) -> TableFit:
    """The tables of some policies."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.cat([
        torch.ones(1, steps.num_episodes, dtype=torch.int64),
        draw_episodes(steps, NUM_MEMBERS, generator),
    ])  # fmt: skip
    pairs = steps.observation[states.example], steps.action[states.example]
    shares = torch.stack([*(policy.log_prob(*pairs).exp() for policy in policies), torch.zeros(len(states.example))])
    scale = scale_of(steps, gamma)
    weights = [Weights.of(states, drawn[steps.episode].double()) for drawn in counts]
    solutions, reaches = [], []
    for share in shares.double():
        values, reach = _solved(share, weights, steps, states, gamma, scale.offset)
        solutions.append(values)
        reaches.append(reach[states.state[steps.first]].mean())
        on_solution()
    spread = _spread_of_actions(weights[0], steps, gamma, solutions[-1][0])
    untried = torch.stack(reaches[:-1]) * (scale.spread if spread is None else spread)
    return TableFit(
        steps=steps,
        policies=policies,
        gamma=gamma,
        scale=scale,
        counts=counts,
        rounds=torch.inf,
        remainder=torch.zeros(len(policies)),
        untried=untried,
        states=states,
        state_values=torch.stack(solutions),
    )


def _solved(
    share: Tensor, weights: Sequence[Weights], steps: Transitions, states: States, gamma: float, unknown: float
) -> tuple[Tensor, Tensor]:
    """V of one policy by each member, ``[K, S]``; ``unknown`` where the log never acts.

    And how much would come to V if all that was never tried were worth 1 more, ``[S]``, by the first of them.
    """
    size = states.num_states
    goes_on, place = gamma * ~steps.terminated, states.state * size + states.next_state
    never = _sum(torch.ones(len(steps)).double(), states.state, size) == 0.0
    values, reach = [], torch.zeros(size)
    at_once = max(1, AT_ONCE // max(size**2, len(steps)))
    for some in range(0, len(weights), at_once):
        part = weights[some : some + at_once]
        counts = torch.stack([each.of_policy(share) for each in part])  # [k, N]
        system = torch.eye(size).double() - _sum(counts * goes_on, place, size**2).unflatten(-1, (size, size))
        right = torch.where(never, unknown, _sum(counts * steps.reward, states.state, size))  # [k, S]
        values.append(torch.linalg.solve_ex(system, right[..., None])[0].squeeze(-1))
        if some == 0:
            reach = torch.linalg.solve_ex(system[0], weights[0].untried(share))[0]
    return torch.cat(values), reach


def _spread_of_actions(weights: Weights, steps: Transitions, gamma: float, own_values: Tensor) -> Tensor | None:
    """Standard deviation of Q between the actions of a state, by the moments of what followed on them.

    As for a random effect (Searle 1971): what pairs differ by, beyond what visits of the same pair do. The latter is
    the noise of a state, which is another near an end than far from it; states without a second visit or a second
    action say nothing, and None is what is known where all are such.
    """
    states = weights.states
    pair_state, size = states.state[states.example], states.num_states
    follows = steps.reward + gamma * ~steps.terminated * own_values[states.next_state]  # [N]
    of_state, of_pair = weights.means(follows)
    within = _sum((follows - of_pair[states.pair]).square(), states.state, size)
    between = _sum((of_pair[states.pair] - of_state[states.state]).square(), states.state, size)
    num_pairs = _sum(torch.ones(len(pair_state)).double(), pair_state, size)
    spare = weights.state_visits - num_pairs
    known = spare > 0.0
    beyond = (between - (num_pairs - 1.0) * within / spare)[known].sum()
    alike = _sum(weights.visits.square(), pair_state, size) / weights.state_visits
    if not (known & (num_pairs > 1.0)).any():
        return None
    return (beyond / (weights.state_visits - alike)[known].sum().clamp_min(1.0)).clamp_min(0.0).sqrt()


def _sum(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Sums of those with the same index, ``[..., N] -> [..., size]``."""
    return values.new_zeros(*values.shape[:-1], size).index_add_(-1, index, values)
