r"""What a value would be without one of the log's steps: the jackknife (Quenouille 1956, Tukey 1958) of a table.

A value is not linear in the chances that a log is counted for: where the only patient who was given a dose came back to
the same state, a policy that always gives it stays there for ever, and is worth too little. And it is a step that was
seen once, of which leaving it out says what those are worth that were never seen (Good 1953). Both biases are of the
size of what V moves by when a step is left out, which for each step follows from one inverse: with the mean T(s) that
V(s) is, and what T loses of values (y) and of returns to s (g) without step i,

.. math::
    V_{-i} - V = \mu(s_i) \frac{T^y_{-i} - T^y}{1 - (T^g_{-i} - T^g)}, \qquad
    y_j = r_j + \gamma V(s'_j), \quad g_j = \gamma N(s'_j, s_i), \quad N = (I - \gamma P)^{-1}, \quad \mu = d_0 N

Shapes: ``N`` steps, ``E`` episodes, ``S`` states, ``C`` pairs of a state and an action that the log has.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents.evaluation.offline.transitions import Transitions
from agents.evaluation.offline.visits import PRIOR, Visits, sums


def pseudo_values(moves: Tensor, values: Tensor, visits: Visits, steps: Transitions) -> tuple[Tensor, Tensor]:
    """What each episode makes of the value, ``[E]``: their mean is the value without the biases.

    And the same as far as it varies by chance: a step of which there is no other like it has made the value, and has
    made the correction too.

    Args:
        moves: see :func:`moves_without_each`.
        values: V, ``[S]``.
    """
    number = visits.of_pair[visits.states.pair]
    left = (number - 1.0) / number
    factors = torch.where(number > 1.0, left, 1.0), torch.where(number > 1.0, left.sqrt(), 2.0)
    begin = values[visits.states.state[steps.first]]
    biased, varying = (begin - len(begin) * sums(factor * moves, steps.episode, len(begin)) for factor in factors)
    return biased, varying


def moves_without_each(
    visits: Visits, share: Tensor, steps: Transitions, gamma: float, *, inverse: Tensor, values: Tensor, unknown: float
) -> Tensor:
    """By how much the value moves without each step of the log, ``[N]``.

    Args:
        visits: of all episodes.
        share: of each pair in what the policy does in its state, ``[C]``.
        inverse: N, ``[S, S]``.
        values: V, ``[S]``, ``unknown`` where the log never acts.
    """
    states, goes_on = visits.states, gamma * ~steps.terminated
    occupancy = inverse[states.state[steps.first]].mean(0)[states.state]
    moved = _without(visits, share, steps.reward + goes_on * values[states.next_state], unknown)
    returns = _without(visits, share, goes_on * inverse[states.next_state, states.state], 0.0)
    return occupancy * moved / (1.0 - returns)


def _without(visits: Visits, share: Tensor, follows: Tensor, unknown: float) -> Tensor:
    """By how much the mean of what follows on a policy's actions in a state moves without each of its steps, ``[N]``.

    Args:
        unknown: what is expected of a state of which no step is left.
    """
    pair, state, mine = visits.states.pair, visits.states.state, share[visits.states.pair]
    number, in_state, untried = visits.of_pair[pair], visits.of_state[state], visits.untried(share)[state]
    of_state, of_pair = (mean[index] for mean, index in zip(visits.means(follows), (state, pair)))
    others = (in_state * of_state - follows) / (in_state - 1.0).clamp_min(1.0)
    others = torch.where(in_state > 1.0, others, unknown)
    known, left = number / (number + PRIOR), (number - 1.0) / (number - 1.0 + PRIOR)
    before = mine * known * of_pair + untried * of_state
    after = mine * (number * of_pair - follows) / (number - 1.0 + PRIOR) + (untried + mine * (known - left)) * others
    return after - before
