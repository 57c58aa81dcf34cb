"""An estimate of a policy's value, its interval, and what says when the number means nothing.

Shapes: ``R`` resamples of the data's episodes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.9  # share of intervals that are to hold the value
FEW = 100  # resamples, below which their percentiles say less than their standard deviation

# where a number means nothing, and where it is to be taken with care
EFFECTIVE_EPISODES = (20.0, 100.0)  # ICU-Sepsis, 1,000 episodes: errors of half the range at 12, a fifth at 68
OUTSIDE_SUPPORT = (0.5, 0.2)  # 0.05 is what the data's own actions have
ERROR_LEFT = (0.3, 0.05)
REMAINDER = (0.3, 0.05)  # of the range of the data's returns
GROWTH = (3.0, 1.5)  # of the Bellman error, or a model's, from seen to unseen episodes


@dataclass(frozen=True)
class Trust:
    """What comes with every estimate; None: not known for this policy and these data."""

    effective_sample_size: float | None = None  # episodes: of how many the weighted ones are worth
    outside_support: float | None = None  # share of the policy's actions that are unlike any of the data
    bellman_error: float | None = None  # on episodes that the critics have not seen, over the spread of the returns
    bellman_error_seen: float | None = None  # the same on those that they learned from
    model_error: float | None = None  # of a step on episodes that the model has not seen, over what changes in one
    model_error_seen: float | None = None  # the same on those that it learned from
    remainder: float | None = None  # what more updates may make of the value; the interval is wider by it
    untried: float | None = None  # what actions that no step shows may make of the value; the interval is wider by it
    error_left: float | None = None  # share of what critics begin wrong by that their updates leave, by the horizon
    learned_from: bool = False  # the policy was trained on the episodes that are asked

    @property
    def margin(self) -> float:
        """What resamples do not know of, on either side of their interval."""
        return (self.remainder or 0.0) + (self.untried or 0.0)

    def widened(self, low: float, high: float) -> tuple[float, float]:
        return low - self.margin, high + self.margin


@dataclass(frozen=True, eq=False, kw_only=True)
class Estimate:
    """Expected discounted return of a policy from the states that the data's episodes begin in.

    The interval is of 90 %, over episodes of the data: it knows how few they are, not how unlike the policy they are.
    """

    estimator: str  # as fqe
    policy: str
    dataset: str
    gamma: float  # discount in [0, 1]
    value: float
    low: float
    high: float
    draws: NDArray[np.float64]  # [R], the value by resamples, the same ones for all policies
    data_return: float  # mean discounted return of the data's own episodes
    data_range: tuple[float, float]  # smallest and largest of these; beyond_log: as if rewards went on at their pace
    trust: Trust = field(default_factory=Trust)
    behavior: str | None = None  # where propensities are from: logged or cloned; None: they are not used
    own_value: float | None = None  # of the policy that made the data, by the same critics
    beyond_log: bool = False  # much of it is earned behind ends that cut an episode off, where data_return ends

    @property
    def refutations(self) -> list[str]:
        """Reasons why the number means nothing."""
        return [reason for reason, is_grave in self._reasons() if is_grave]

    @property
    def doubts(self) -> list[str]:
        """Reasons to take it with care."""
        return [reason for reason, is_grave in self._reasons() if not is_grave]

    @property
    def caution(self) -> str:
        """What these come to: ``means nothing``, ``with care``, or nothing at all."""
        return "means nothing" if self.refutations else "with care" if self.doubts else ""

    @property
    def verdict(self) -> str:
        """The same in one sentence."""
        if self.caution:
            return f"{self.caution}: {'; '.join(self.refutations or self.doubts)}"
        return f"nothing that is measured speaks against it{self._against_data()}"

    @property
    def bounds(self) -> str:
        """The interval as text."""
        return f"{self.low:.4g} to {self.high:.4g}"

    @property
    def shown(self) -> str:
        """The value and how sure it is, as text."""
        return f"{self.value:.4g} ({self.bounds})"

    def knowing(self, **trust: Any) -> Estimate:
        """The same with what else is known of its trustworthiness, fields of :class:`Trust`."""
        return replace(self, trust=replace(self.trust, **trust))

    @property
    def of_data(self) -> tuple[float, str]:
        """What the policy that made the data is worth in the same sense, and what that is called."""
        if self.beyond_log and self.own_value is not None:
            return self.own_value, "what the same critics expect of the data's own policy"
        return self.data_return, "the data's own return"

    def _against_data(self) -> str:
        value, name = self.of_data
        if self.low > value:
            return f", and it is above {name}"
        if self.high < value:
            return f", and it is below {name}"
        return f", and it cannot be told from {name}"

    def _reasons(self) -> Iterator[tuple[str, bool]]:
        if not all(map(math.isfinite, (self.value, self.low, self.high))):
            yield f"{'its interval' if math.isfinite(self.value) else 'it'} is not finite", True
        if self.beyond_log and self.gamma == 1.0:
            yield "episodes were cut off, and without a discount what is behind has no end: take gamma below 1", True
        trust, (lowest, highest) = self.trust, self.data_range
        if trust.learned_from:
            yield "the policy has learned from these episodes, which flatters it by more than the interval knows", False
        weighs = self.behavior is not None
        if weighs and (episodes := trust.effective_sample_size) is not None and episodes < EFFECTIVE_EPISODES[1]:
            text = f"the weights leave {episodes:.1f} effective episodes"
            yield text, episodes < EFFECTIVE_EPISODES[0]
        if (share := trust.outside_support) is not None and share > OUTSIDE_SUPPORT[1]:
            yield f"{share:.0%} of the policy's actions are unlike any in the data", share > OUTSIDE_SUPPORT[0]
        errors = {
            "Bellman error": (trust.bellman_error, trust.bellman_error_seen),
            "model's error": (trust.model_error, trust.model_error_seen),
        }
        for name, (unseen, seen) in errors.items():
            growth = 0.0 if unseen is None or seen is None else unseen / max(seen, 1e-9)
            if growth > GROWTH[1]:
                yield f"the {name} on unseen episodes is {growth:.1f} times that on the others", growth > GROWTH[0]
        if (share := trust.error_left) is not None and share > ERROR_LEFT[1]:
            text = f"for such a horizon the updates are too few ({share:.0%} of the first error is left: more of fqe."
            yield f"{text}gradient_steps)", share > ERROR_LEFT[0]
        spread = max(highest - lowest, 1e-9)
        if (remainder := trust.remainder) is not None and remainder / spread > REMAINDER[1]:
            text = f"it has not converged: more updates may change it by {remainder:.4g} (take more fqe.gradient_steps)"
            yield text, remainder / spread > REMAINDER[0]
        if self.value > highest or self.value < lowest:
            beyond = max(self.value - highest, lowest - self.value)
            side = "above the best" if self.value > highest else "below the worst"
            yield f"it is {side} episode of the data", beyond > spread
        if self.high - self.low > spread:
            yield "its interval is wider than the range of the data's returns", True
        if self.own_value is not None and not self.beyond_log and abs(self.own_value - self.data_return) > 0.2 * spread:
            text = f"the same method values the data's own policy at {self.own_value:.4g}, not {self.data_return:.4g}"
            yield text, abs(self.own_value - self.data_return) > 0.5 * spread


def interval(value: float, draws: ArrayLike, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Between percentiles of the resamples; of few, ``value`` plus and minus a multiple of their standard deviation."""
    draws = np.asarray(draws, dtype=np.float64)
    if len(draws) >= FEW:
        tail = 50.0 * (1.0 - confidence)
        low, high = np.percentile(draws, [tail, 100.0 - tail])
        return float(low), float(high)
    margin = student_t(0.5 + confidence / 2, len(draws) - 1) * float(draws.std(ddof=1))
    return value - margin, value + margin


def difference(first: Estimate, second: Estimate) -> Estimate:
    """By how much the first policy is better: narrower than two intervals, as both saw the same resamples."""
    draws, value = first.draws - second.draws, first.value - second.value
    low, high = interval(value, draws)
    low, high = second.trust.widened(*first.trust.widened(low, high))
    return replace(first, policy=f"{first.policy} - {second.policy}", value=value, low=low, high=high, draws=draws)


def student_t(probability: float, degrees: int) -> float:
    """Quantile of Student's t from 2 degrees of freedom on, to 2 % (Abramowitz, Stegun 1964, 26.7.5)."""
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / degrees ** (order + 1) for order, term in enumerate(terms))
