"""The time of an evaluation, as the speeds in metrics.csv have it."""

from __future__ import annotations

import math

import pytest

from recipes.runs.metrics_log import minutes


def row(step: int, speed: float, working: float) -> dict[str, str]:
    shares = {"time/sample_share": str(0.25 * working), "time/update_share": str(0.75 * working)}
    return {"step": str(step), "time/updates_per_second": str(speed), **shares}


def test_minutes_are_the_updates_by_their_speed_and_all_that_was_done_between_them() -> None:
    rows = [row(600, 10.0, 1.0), row(1200, 10.0, 0.25)]  # one minute, then one of updates in four
    assert minutes(rows, [0, 300, 600, 1200]) == pytest.approx([0.0, 0.5, 1.0, 5.0])
    assert minutes(rows, [900, 1350]) == pytest.approx([3.0, 6.0])  # between rows, and after the last


def test_minutes_that_nobody_noted_are_not_known() -> None:
    assert all(map(math.isnan, minutes([], [10, 20])))
