"""Expectiles and penalties that change: what each update takes, and where they come to rest."""

from __future__ import annotations

import pytest
import torch

import agents
from agents.objectives import expectile_loss
from agents.objectives.schedules import AdaptiveExpectile, Decay, LinearExpectile, ValidationExpectile

NO_ADVANTAGE = torch.zeros(4)


def test_a_linear_expectile_starts_at_the_first_and_stays_at_the_last() -> None:
    schedule = LinearExpectile(0.5, 0.9, num_steps=4)
    taken = [schedule(NO_ADVANTAGE).item() for _ in range(7)]
    assert taken == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, 0.9, 0.9])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("linear", [1.0, 0.8, 0.6, 0.5, 0.5, 0.5, 0.5]),  # CORL's max(1 - k / K, 1 / 2)
        ("exponential", [1.0, 0.5**0.2, 0.5**0.4, 0.5**0.6, 0.5**0.8, 0.5, 0.5]),
    ],
)
def test_a_decay_falls_from_1_and_stays_at_its_final_value(kind, expected) -> None:
    decay = Decay(kind, final=0.5, num_steps=5)
    assert [decay().item() for _ in range(7)] == pytest.approx(expected)


def test_an_adaptive_expectile_moves_by_the_rate_times_what_the_share_is_off() -> None:
    schedule = AdaptiveExpectile(0.7, positive_share=0.25, rate=0.1)
    for share, expected in ((1.0, 0.7), (0.0, 0.775), (0.25, 0.75), (0.0, 0.75)):
        advantage = torch.where(torch.arange(8) < 8 * share, 1.0, -1.0)
        assert schedule(advantage).item() == pytest.approx(expected)
    assert schedule(NO_ADVANTAGE).item() == pytest.approx(0.725)  # zero is not positive


def test_an_adaptive_expectile_stays_in_its_range() -> None:
    schedule = AdaptiveExpectile(0.7, positive_share=0.5, rate=0.5)
    for advantage, limit in ((torch.ones(4), 0.99), (-torch.ones(4), 0.5)):
        for _ in range(5):
            schedule(advantage)
        assert schedule(advantage).item() == pytest.approx(limit)


@pytest.mark.parametrize("positive_share", [0.1, 0.3, 0.45])
def test_the_share_of_positive_advantages_settles_at_the_set_point(positive_share) -> None:
    """For a value learnt from normal returns, by the two of them together."""
    generator = torch.Generator().manual_seed(0)
    schedule, value, shares = AdaptiveExpectile(0.7, positive_share, rate=0.02), torch.zeros((), requires_grad=True), []
    for _ in range(3000):
        advantage = torch.randn(256, generator=generator) - value
        loss = expectile_loss(advantage, schedule(advantage.detach())).mean()
        (gradient,) = torch.autograd.grad(loss, value)
        value.data -= 0.2 * gradient
        shares.append((advantage > 0).float().mean())
    assert torch.stack(shares[-500:]).mean().item() == pytest.approx(positive_share, abs=0.01)


def test_an_expectile_climbs_the_worth_of_the_policy_by_steps_that_halve_at_each_turn() -> None:
    schedule, taken = ValidationExpectile(0.7, step_size=0.1), []
    for worth in (5.0, 6.0, 6.0, 4.0, 3.0, 3.5, None, 9.0, None, None):
        schedule.look(worth)
        taken.append(schedule(NO_ADVANTAGE).item())
    #  up, up, not worse: up (at the limit), worse: back by half, worse: on by a quarter, better: on, nothing: back, ...
    expected = [0.8, 0.9, 0.99, 0.94, 0.965, 0.99, 0.9775, 0.965, 0.97125, 0.968125]
    assert taken == pytest.approx(expected)


def test_an_expectile_that_nobody_looks_for_stays_and_what_has_been_seen_is_state() -> None:
    schedule, again = ValidationExpectile(0.7), ValidationExpectile(0.5)
    assert [schedule(torch.randn(4)).item() for _ in range(3)] == pytest.approx([0.7] * 3)
    schedule.look(2.0)
    again.load_state_dict(schedule.state_dict())
    for each in (schedule, again):
        each.look(1.0)
    assert schedule(NO_ADVANTAGE) == again(NO_ADVANTAGE) == pytest.approx(0.725)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: LinearExpectile(0.5, 1.0, 4), "final"),
        (lambda: LinearExpectile(0.5, 0.9, 0), "num_steps"),
        (lambda: AdaptiveExpectile(0.5, 0.0, 0.1), "positive_share"),
        (lambda: AdaptiveExpectile(0.5, 0.3, 1.0), "rate"),
        (lambda: ValidationExpectile(0.5, 0.0), "step_size"),
        (lambda: Decay("linear", 0.0, 5), "final"),
        (lambda: Decay("exponential", 0.5, 0), "num_steps"),
    ],
)
def test_settings_out_of_range_are_refused(build, name) -> None:
    with pytest.raises(agents.ConfigError, match=f"{name} must"):
        build()
