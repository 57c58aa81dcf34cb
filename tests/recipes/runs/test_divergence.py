"""The alarm of critics that run away: said once, of what no policy can earn, and of nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import agents
from recipes.runs.divergence import KEY, SETTLED, DivergenceAlarm

Row = dict[str, float]


def alarm(
    low: float = -1.0, high: float = 2.0, *, scale: float = 1.0, shift: float = 0.0, **more: Any
) -> DivergenceAlarm:
    algorithm = more.pop("algorithm", agents.TD3BCConfig(gamma=0.9))
    config = SimpleNamespace(
        algorithm=algorithm, divergence_alarm=more.pop("on", True), rewards=agents.RewardsConfig(shift=shift)
    )
    statistics = SimpleNamespace(reward_min=low, reward_max=high, lengths=np.array([5, 7]))
    return DivergenceAlarm(config, SimpleNamespace(statistics=statistics), scale)


def position(of: DivergenceAlarm, **values: float) -> float:
    return round(of.position({f"train/{name}": value for name, value in values.items()})[KEY], 6)


def look(of: DivergenceAlarm, *rows: Row, first: int = SETTLED) -> None:
    """At rows that are logged one after the other."""
    for step, row in enumerate(rows, first):
        of.look(step, {**row, **of.position(row)})


def test_the_position_is_between_what_rewards_pay_for_ever() -> None:
    assert [position(alarm(), qvalue=value) for value in (-10.0, 5.0, 20.0)] == [0.0, 0.5, 1.0]
    assert position(alarm(), pred_value=50.0) == 2.0
    assert position(alarm(1.0, 2.0), qvalue=0.0) == 0.0  # an episode that is over earns nothing
    assert position(alarm(-2.0, -1.0), qvalue=0.0) == 1.0
    assert position(alarm(algorithm=agents.TD3BCConfig(gamma=1.0)), qvalue=14.0) == 1.0  # seven steps
    assert position(alarm(), qvalue=5.0, target_value=35.0, next_state_value=-10.0) == 1.5  # the one furthest out
    assert position(alarm(), qvalue=5.0, target_value=-25.0) == -0.5


def test_scale_and_shift_are_those_of_the_logged_values() -> None:
    of = alarm(0.0, 1.0, scale=4.0, shift=-2.0)  # a step costs up to 2, over the scale
    assert [position(of, qvalue=value) for value in (-5.0, 5.0)] == [0.0, 1.0]


def test_an_entropy_that_is_paid_for_is_earned() -> None:
    assert position(alarm(), loss_actor=-120.0, alpha=1.0, entropy=10.0) == 1.0  # SAC's is minus its soft value
    assert position(alarm(), qvalue=-110.0, alpha=1.0, entropy=-10.0) == 0.0
    assert position(alarm(scale=2.0), loss_actor=-40.0, alpha=0.0, entropy=10.0) == 1.0


def test_what_learns_no_values_or_has_no_rewards_has_no_position() -> None:
    row = {"train/qvalue": 5.0}
    assert (
        alarm(algorithm=agents.BCConfig()).position(row)
        == alarm(0.0, 0.0).position(row)
        == alarm(on=False).position(row)
        == {}
    )
    assert alarm().position({"train/loss_bc": 1.0}) == {}


@pytest.mark.parametrize(("value", "says"), [(30.0, "earn more than 20"), (-12.0, "earn less than -10")])
def test_values_that_no_policy_can_earn_are_told_of_once(value, says, capsys) -> None:
    look(alarm(), *[{"train/qvalue": value}] * 5)
    printed = capsys.readouterr()
    assert not printed.out and printed.err.count("\n") == 1
    assert f"at step {SETTLED + 1} Q is {value:g}" in printed.err and says in printed.err


BEST = {"train/loss_qvalue": 2.0, "validation/loss_qvalue": 3.0}
BY_HEART = {"train/loss_qvalue": 1.0, "validation/loss_qvalue": 6.5}


def test_critics_that_learn_by_heart_are_told_of_once(capsys) -> None:
    look(alarm(), BEST, *[BY_HEART] * 6)
    (line,) = capsys.readouterr().err.splitlines()
    assert "error on held-out steps is 6.5, after 3, while that of training falls" in line
    assert line.endswith("divergence_alarm=false silences this")


@pytest.mark.parametrize(
    ("rows", "settings"),
    [
        ([{"train/qvalue": 20.9}] * 5, {}),  # within what an approximation may be wrong by
        ([{"train/qvalue": 30.0}, {"train/qvalue": 3.0}] * 3, {}),  # each in a single batch
        ([{"train/qvalue": 30.0}] * 5, {"first": 1}),  # of the initialisation
        ([{"train/qvalue": -12.0, "train/loss_cql": 1.0}] * 5, {}),  # a penalty makes Q low
        ([BEST, *[{**BY_HEART, "train/loss_qvalue": 2.5}] * 6], {}),  # both grow
        ([BEST, *[{**BY_HEART, "validation/loss_qvalue": 5.5}] * 6], {}),
        ([BEST, BY_HEART, BY_HEART, BEST, BY_HEART, BY_HEART, BEST], {}),
    ],
)
def test_what_may_be_is_not_told(rows, settings, capsys) -> None:
    look(alarm(), *rows, **settings)
    look(alarm(on=False), *[{"train/qvalue": 30.0}] * 5)
    assert not capsys.readouterr().err
