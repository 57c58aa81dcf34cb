"""How often each pair of a state and an action was visited, and the means that a table makes of what followed.

Shapes: ``N`` steps, ``S`` states, ``C`` pairs of a state and an action that the log has.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.evaluation.offline.states import States
from agents.evaluation.offline.transitions import Transitions

PRIOR = 1.0  # visits: that a policy stays for ever where a single visit led back to; the bias is taken off


@dataclass(frozen=True, eq=False)
class Visits:
    """Of some episodes; of a state that these never visit, each step that the log has of it counts."""

    states: States
    of_step: Tensor  # [N], 1 for those of these episodes, else 0
    of_state_step: Tensor  # [N], the same where a state is asked
    of_pair: Tensor  # [C]
    of_state: Tensor  # [S]

    @classmethod
    def of(cls, states: States, counted: Tensor) -> Visits:
        """By which steps count, ``[N]``."""
        visits = sums(counted, states.state, states.num_states)
        of_state_step = torch.where(visits[states.state] > 0.0, counted, 1.0)
        of_state = sums(of_state_step, states.state, states.num_states)
        return cls(states, counted, of_state_step, sums(counted, states.pair, len(states.example)), of_state)

    def means(self, follows: Tensor) -> tuple[Tensor, Tensor]:
        """Of what followed on steps, ``[..., N]``, by state, ``[..., S]``, and by pair, ``[..., C]``."""
        of_state = sums(self.of_state_step * follows, self.states.state, self.states.num_states) / self.of_state
        of_pair = sums(self.of_step * follows, self.states.pair, len(self.of_pair)) / self.of_pair.clamp_min(1.0)
        return of_state, of_pair

    def of_policy(self, share: Tensor) -> Tensor:
        """How much what followed on each step counts for V of its state, by a policy's shares ``[C]``, ``[N]``."""
        of_state = (self.untried(share) / self.of_state)[self.states.state]
        return self.of_step * (share / (self.of_pair + PRIOR))[self.states.pair] + self.of_state_step * of_state

    def untried(self, share: Tensor) -> Tensor:
        """How much of what a policy does in a state is valued as what others did there, ``[C] -> [S]``."""
        tried = share * self.of_pair / (self.of_pair + PRIOR)
        return 1.0 - sums(tried, self.states.state[self.states.example], self.states.num_states)


def spread_of_actions(visits: Visits, steps: Transitions, gamma: float, own_values: Tensor) -> Tensor | None:
    """Standard deviation of Q between the actions of a state, by the moments of what followed on them.

    As for a random effect (Searle 1971): what pairs differ by, beyond what visits of the same pair do. The latter is
    the noise of a state, which is another near an end than far from it; states without a second visit or a second
    action say nothing, and None is what is known where all are such.
    """
    states = visits.states
    pair_state, size = states.state[states.example], states.num_states
    follows = steps.reward + gamma * ~steps.terminated * own_values[states.next_state]  # [N]
    of_state, of_pair = visits.means(follows)
    within = sums((follows - of_pair[states.pair]).square(), states.state, size)
    between = sums((of_pair[states.pair] - of_state[states.state]).square(), states.state, size)
    num_pairs = sums(torch.ones(len(pair_state)).double(), pair_state, size)
    spare = visits.of_state - num_pairs
    known = spare > 0.0
    beyond = (between - (num_pairs - 1.0) * within / spare)[known].sum()
    alike = sums(visits.of_pair.square(), pair_state, size) / visits.of_state
    if not (known & (num_pairs > 1.0)).any():
        return None
    return (beyond / (visits.of_state - alike)[known].sum().clamp_min(1.0)).clamp_min(0.0).sqrt()


def sums(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Of those with the same index, ``[..., N] -> [..., size]``."""
    return values.new_zeros(*values.shape[:-1], size).index_add_(-1, index, values)
