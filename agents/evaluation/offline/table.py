r"""Tables of values, solved exactly: fitted Q evaluation where states are few and actions discrete.

A table is what rounds of regression come to when each pair of state and action has an entry of its own: nothing is left
to converge. Of n visits of a pair, with the mean of what followed on them and k = 1,

.. math::
    Q(s, a) = \frac{n \, \overline{(r + \gamma V(s'))}_{s, a} + k Q(s)}{n + k}, \qquad V(s) = \sum_a \pi(a|s) Q(s, a)

where Q(s) is that mean over all visits of the state: an action that was never tried is expected to be worth what those
are that were. The biases of that are taken off by a jackknife, whose pseudo-values of episodes say how sure a value is.
The interval also says how far what was never tried may be from what was, as far as no action that was tried once stands
for it: by a standard deviation between the actions of a state, in all states at once.

Shapes: ``N`` steps, ``E`` episodes, ``B`` batch, ``P`` policies, ``K`` members of each, ``S`` states, ``C`` pairs of a
state and an action that the log has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agents.evaluation.offline.fit import Fit
from agents.evaluation.offline.jackknife import moves_without_each, pseudo_values
from agents.evaluation.offline.policy import Policy
from agents.evaluation.offline.resampling import resample
from agents.evaluation.offline.scale import scale_of, value_bounds
from agents.evaluation.offline.states import States
from agents.evaluation.offline.transitions import Transitions
from agents.evaluation.offline.visits import PRIOR, Visits, spread_of_actions, sums

NUM_FOLDS = 5  # tables that each lack a part of the episodes, and are asked about these


@dataclass(eq=False, kw_only=True)
class TableFit(Fit):
    """Tables of V, from which Q follows: of all episodes, and of all but those of a fold."""

    states: States
    state_values: Tensor  # [P + 1, K, S]
    pseudo_values: Tensor  # [P + 1, 2, E]

    def estimates(self) -> tuple[Tensor, Tensor]:
        """Of all episodes, and of these drawn again, around it."""
        pseudo, varying = self.pseudo_values.unbind(1)
        value = pseudo.mean(1).clamp(*value_bounds(self.steps, self.gamma))
        around = varying - varying.mean(1, keepdim=True)
        draws = resample(lambda counts: counts @ around.T, self.steps.num_episodes, seed=0)  # [R, P + 1]
        return value, value[:, None] + draws.T / self.steps.num_episodes

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
        for counted, values in zip(self.counts, self.state_values.unbind(1)):  # of a member
            visits = Visits.of(self.states, counted[self.steps.episode].double())
            follows = self.steps.reward + self.gamma * ~self.steps.terminated * values[:, self.states.next_state]
            of_state, of_pair = visits.means(follows)
            number = visits.of_pair[pair]
            qvalues.append((number * of_pair[:, pair] + PRIOR * of_state[:, state]) / (number + PRIOR))
        return torch.stack(qvalues, -1).transpose(0, 1)  # K of [P + 1, B]


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
    counts = _without_folds(steps.num_episodes, seed)
    pairs = steps.observation[states.example], steps.action[states.example]
    shares = torch.stack([*(policy.log_prob(*pairs).exp() for policy in policies), torch.zeros(len(states.example))])
    scale = scale_of(steps, gamma)
    visits = [Visits.of(states, counted[steps.episode].double()) for counted in counts]
    solutions, pseudo, occupancies = [], [], []
    for share in shares.double():
        systems = (_system(share, each, steps, gamma, scale.offset) for each in visits)
        system, right = next(systems)
        inverse = torch.linalg.inv_ex(system)[0]
        first = inverse @ right
        known = {"inverse": inverse, "values": first, "unknown": scale.offset}
        moves = moves_without_each(visits[0], share, steps, gamma, **known)
        pseudo.append(torch.stack(pseudo_values(moves, first, visits[0], steps)))
        solutions.append(torch.stack([first, *(torch.linalg.solve_ex(*each)[0] for each in systems)]))
        occupancies.append(inverse[states.state[steps.first]].mean(0))
        on_solution()
    spread = spread_of_actions(visits[0], steps, gamma, solutions[-1][0])
    reach = [_reach_of_untried(*each, visits[0], steps) for each in zip(policies, shares.double(), occupancies)]
    return TableFit(
        steps=steps,
        policies=policies,
        gamma=gamma,
        scale=scale,
        counts=counts,
        rounds=torch.inf,
        remainder=torch.zeros(len(policies)),
        untried=torch.tensor(reach) * (scale.spread if spread is None else spread),
        states=states,
        state_values=torch.stack(solutions),
        pseudo_values=torch.stack(pseudo),
    )


def _without_folds(num_episodes: int, seed: int) -> Tensor:
    """Which episodes each member has, ``[K, E]``: the first all of them, the others all but a fold."""
    order = torch.randperm(num_episodes, generator=torch.Generator().manual_seed(seed))
    folds = order % min(NUM_FOLDS, num_episodes)
    return torch.stack([torch.ones_like(folds), *((folds != fold).long() for fold in range(int(folds.max()) + 1))])


def _system(share: Tensor, visits: Visits, steps: Transitions, gamma: float, unknown: float) -> tuple[Tensor, Tensor]:
    """I - gamma P, ``[S, S]``, and rewards, ``[S]``, of a policy; ``unknown`` is the value where the log never acts."""
    states, size = visits.states, visits.states.num_states
    counts = visits.of_policy(share)
    going_on = sums(gamma * ~steps.terminated * counts, states.state * size + states.next_state, size**2)
    never = sums(torch.ones(len(steps)).double(), states.state, size) == 0.0
    rewards = torch.where(never, unknown, sums(counts * steps.reward, states.state, size))
    return torch.eye(size).double() - going_on.unflatten(-1, (size, size)), rewards


def _reach_of_untried(policy: Policy, share: Tensor, occupancy: Tensor, visits: Visits, steps: Transitions) -> float:
    """How much would come to the value if what no tried action stands for were worth 1 more in every state.

    Of several actions in a state, which are worth more and less, it is what the root of their squares says. What was
    tried once stands for as much of what never was (Good 1953): the jackknife has moved the value by that, and its
    draws know how unsure the move is. Of the rest, the log says nothing.
    """
    states, of_pair = visits.states, visits.states.state[visits.states.example]
    example = torch.zeros(states.num_states, dtype=torch.int64).scatter_(0, of_pair, states.example)
    squares = policy.probabilities(steps.observation[example]).double().square().sum(-1)
    squares = squares.reshape(states.num_states, -1).prod(-1)  # of parts, those of all choices of them
    tried, tried_squares = (sums(each, of_pair, states.num_states) for each in (share, share.square()))
    acts = occupancy * torch.zeros(states.num_states).index_fill_(0, of_pair, 1.0)
    never, once = acts @ (1.0 - tried).clamp_min(0.0), occupancy[of_pair] @ (share * (visits.of_pair == 1.0))
    left = (never - once).clamp_min(0.0) / never.clamp_min(1e-12)
    return (left * (acts @ (squares - tried_squares).clamp_min(0.0).sqrt())).item()
