"""An alarm, once, when critics leave what rewards can pay, or learn the data and no longer the task."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Mapping

from tqdm import tqdm

import agents
from recipes.settings.schema import TrainConfig

KEY = "train/qvalue_position"
VALUES = (  # means over a batch that an update reports, in units of return
    "train/qvalue", "train/pred_value", "train/qvalue_greedy", "train/state_action_value_actor", "train/target_value",
    "train/next_state_value", "train/state_value",
)  # fmt: skip
SLACK = 0.05  # of the range: what an approximation may be wrong by
SETTLED = 2_000  # updates before which values are those of the initialisation
GROWTH = 2.0  # of the Bellman error on held-out steps, over its smallest
RECENT = 3  # looks that have to agree: a single batch proves nothing
SILENCE = "divergence_alarm=false silences this"


class DivergenceAlarm:
    """Where Q lies between the smallest and the largest return that rewards like the data's can pay.

    .. math:: \\min(0, W r_{\\min}) \\le Q \\le \\max(0, W r_{\\max}), \\quad W = 1 / (1 - \\gamma)

    or, with a gamma of 1, the steps of the longest episode. Of a policy that is paid for its entropy, that is earned
    too. No policy is worth more or less than these; that Q is in between does not make it right.
    """

    def __init__(self, config: TrainConfig, dataset: agents.OfflineDataset, reward_scale: float) -> None:
        gamma = getattr(config.algorithm, "gamma", None)
        self._on = config.divergence_alarm and gamma is not None
        self._gamma = 1.0 if gamma is None else gamma
        longest = float(dataset.statistics.lengths.max())
        self._weight = longest if self._gamma == 1.0 else 1.0 / (1.0 - self._gamma)
        shift = config.rewards.shift / reward_scale  # values are logged over the scale, see metrics.training
        rewards = dataset.statistics.reward_min + shift, dataset.statistics.reward_max + shift
        self._low, self._high = min(0.0, self._weight * rewards[0]), max(0.0, self._weight * rewards[1])
        self._scale = reward_scale
        self._before = self._said = False
        self._errors: list[tuple[float, float]] = []  # Bellman errors of training and on held-out steps, look by look

    def position(self, row: Mapping[str, float]) -> dict[str, float]:
        """Of the value in a row of metrics.csv that is furthest out: 0 and 1 are the bounds."""
        values, (low, high) = _values(row, self._scale), self._bounds(row)
        if not (self._on and values and high > low):
            return {}
        positions = [(value - low) / (high - low) for value in values]
        return {KEY: max(positions, key=lambda position: abs(position - 0.5))}

    def look(self, step: int, row: Mapping[str, float]) -> None:
        """Look at a row with :meth:`position`; what is so twice in a row is said."""
        if not self._on or self._said:
            return
        if "train/loss_qvalue" in row and "validation/loss_qvalue" in row:
            self._errors.append((row["train/loss_qvalue"], row["validation/loss_qvalue"]))
        if step < SETTLED:
            return
        text = self._beyond(row) or self._memorised()
        if text and self._before:
            self._said = True
            tqdm.write(f"warning: at step {step} {text}; {SILENCE}", file=sys.stderr)
        self._before = text is not None

    def _beyond(self, row: Mapping[str, float]) -> str | None:
        position = row.get(KEY, 0.5)
        lowest = -math.inf if "train/loss_cql" in row else -SLACK  # that penalty is there to value Q too low
        if lowest <= position <= 1.0 + SLACK:
            return None
        low, high = self._bounds(row)
        way, bound = ("more", high) if position > 0.5 else ("less", low)
        value = low + position * (high - low)
        return (
            f"Q is {value:.4g}, and with rewards like the data's and gamma={self._gamma:g} no policy can earn {way} "
            f"than {bound:.4g}: the critics diverge. Hold the policy nearer to the data, or take a smaller "
            "algorithm.critic_optimizer.lr or algorithm.gamma"
        )

    def _memorised(self) -> str | None:
        held_out = [error for _, error in self._errors]
        best = held_out.index(min(held_out)) if held_out else 0
        if len(held_out) < best + 1 + RECENT:
            return None
        now, then = (
            statistics.median(error for error, _ in part)
            for part in (self._errors[-RECENT:], self._errors[max(0, best - 1) : best + 2])
        )
        if min(held_out[-RECENT:]) < GROWTH * held_out[best] or now >= then:
            return None
        return (
            f"the Bellman error on held-out steps is {held_out[-1]:.3g}, after {held_out[best]:.3g}, while that of "
            "training falls: the critics learn these data by heart. Take fewer gradient_steps, or dropout "
            "(algorithm.qvalue.dropout=0.1)"
        )

    def _bounds(self, row: Mapping[str, float]) -> tuple[float, float]:
        bonus = row.get("train/alpha", 0.0) * row.get("train/entropy", 0.0) * self._weight / self._scale
        return self._low + min(0.0, bonus), self._high + max(0.0, bonus)


def _values(row: Mapping[str, float], scale: float) -> list[float]:
    values = [row[key] for key in VALUES if key in row]
    if not values and "train/alpha" in row and "train/loss_actor" in row:  # TorchRL's SAC and CQL say no more of Q
        values = [-row["train/loss_actor"] / scale]
    return values
