"""The states and pairs of a log whose observations take few values and whose actions are discrete.

Shapes: ``N`` steps, ``O`` observation, ``S`` states, ``C`` pairs of a state and an action that the log has.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from agents.evaluation.offline.transitions import Transitions

MOST_STATES = 2_000  # a table of a policy is a system of as many equations
FEWEST_VISITS = 5.0  # steps per state: below them observations are numbers that hardly come twice
CHUNK = 2**22  # numbers that are looked at together
MIX = 0x1E3779B97F4A7C15  # odd; it spreads bits: floats like 2.0 and -2.0 differ in the highest, which products lose


@dataclass(frozen=True, eq=False)
class States:
    """A log as a table sees it."""

    state: Tensor  # [N] int64, of the observation of a step
    next_state: Tensor  # [N] int64
    pair: Tensor  # [N] int64
    num_states: int
    example: Tensor  # [C], a step that has the pair

    @property
    def visits(self) -> float:
        """Steps per state."""
        return len(self.state) / self.num_states

    @property
    def are_few(self) -> bool:
        return self.num_states <= MOST_STATES and self.visits >= FEWEST_VISITS


_states: WeakKeyDictionary[Transitions, States] = WeakKeyDictionary()  # every policy of a log asks for them


def read_states(steps: Transitions) -> States:
    """The states of a log with discrete actions."""
    if steps not in _states:
        _states[steps] = _read(steps)
    return _states[steps]


def _read(steps: Transitions) -> States:
    keys = torch.cat([_keys(steps.observation), _keys(steps.next_observation)])
    known, of_row = keys.unique(return_inverse=True)
    state, next_state = of_row.chunk(2)
    actions = _keys(steps.action.reshape(len(steps), -1)).unique(return_inverse=True)[1]
    pairs, pair = (state * len(steps) + actions).unique(return_inverse=True)
    example = torch.zeros(len(pairs), dtype=torch.int64).scatter_(0, pair, torch.arange(len(steps)))
    return States(state, next_state, pair, len(known), example)


def _keys(rows: Tensor) -> Tensor:
    """A number for each row, the same for two rows if they are, ``[N, O] -> [N]``."""
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**62), 2**62, (rows.shape[1],), generator=generator) | 1
    size = max(1, CHUNK // rows.shape[1])

    def keys(part: Tensor) -> Tensor:  # of whole numbers, so that no sum is rounded
        numbers = (part + 0.0).contiguous().view(torch.int32).long() if part.is_floating_point() else part.long()
        numbers = numbers * MIX
        return ((numbers ^ (numbers >> 32 & 0xFFFFFFFF)) * factors).sum(1)

    return torch.cat([keys(part.float() if part.is_floating_point() else part) for part in rows.split(size)])
