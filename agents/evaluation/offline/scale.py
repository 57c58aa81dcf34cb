"""What rewards allow: the unit that values are learned in, and the bounds that no policy's value leaves.

Shapes: ``N`` steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from agents.evaluation.offline.transitions import Transitions


@dataclass(frozen=True)
class Scale:
    """What critics learn is ``(Q - offset) / spread``: of size 1 from the first update on, whatever the rewards are."""

    offset: float  # mean of the logged returns from all steps on
    spread: float  # and their standard deviation

    def rewards(self, reward: Tensor, terminated: Tensor, gamma: float) -> Tensor:
        """The rewards whose values these are: what is bootstrapped lacks its offset."""
        return ((reward - self.offset + gamma * self.offset * ~terminated) / self.spread).float()

    def scaled(self, bounds: tuple[float, float]) -> tuple[float, float]:
        low, high = bounds
        return (low - self.offset) / self.spread, (high - self.offset) / self.spread

    def undo(self, values: Tensor) -> Tensor:
        return self.offset + self.spread * values


def scale_of(steps: Transitions, gamma: float) -> Scale:
    returns = steps.returns_to_go(gamma)
    return Scale(returns.mean().item(), returns.std().item() or 1.0)


def value_bounds(steps: Transitions, gamma: float) -> tuple[float, float]:
    r"""Smallest and largest value that rewards like the data's can add up to.

    With rewards of at most :math:`r` at steps that go on and :math:`d` at terminations, after n steps of the first
    there is :math:`r (1 - \gamma^n) / (1 - \gamma) + \gamma^n d`, which is largest at one end: no n, or all. Where only
    the termination pays, as survival does, a value is thus at most that one reward.
    """
    before, at_end = steps.reward[~steps.terminated], steps.reward[steps.terminated]
    lows, highs = [], []
    if len(before):
        lows.append(_for_ever(before.min().item(), gamma))
        highs.append(_for_ever(before.max().item(), gamma))
    if len(at_end):
        lows.append(at_end.min().item())
        highs.append(at_end.max().item())
    return min(lows), max(highs)


def _for_ever(reward: float, gamma: float) -> float:
    if gamma < 1.0:
        return reward / (1.0 - gamma)
    return math.copysign(math.inf, reward) if reward else 0.0
