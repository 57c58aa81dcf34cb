"""The estimate of the advantages' size, in worlds where they are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agents.data.advantages import GAMMA, estimate, rewards_to_go

LENGTHS = np.full(40, 50)


def world(**other: Any) -> dict[str, Any]:
    """Steps whose action pays three times itself, in states that come as they like and pay themselves."""
    rng = np.random.default_rng(0)
    states, actions = rng.standard_normal((2041, 2)), rng.standard_normal((2000, 1))
    return {
        "observations": states[:2000],
        "actions": actions,
        "next_observations": states[1:2001],
        "terminated": np.arange(2000) % 50 == 49,
        "steps": np.arange(2000),
        "rewards": 3.0 * actions[:, 0] + states[:2000, 0] + 7.0,
        "lengths": LENGTHS,
        "categories": ((None, None), (None,)),
        **other,
    }


def test_it_is_what_the_action_earns_above_the_average_one() -> None:
    data = world()
    expected = 3.0 * (data["actions"][:, 0] - data["actions"].mean())
    assert np.corrcoef(estimate(**data), expected)[0, 1] > 0.97
    assert estimate(**data).std() == pytest.approx(expected.std(), rel=0.15)


def test_what_only_the_state_earns_is_no_advantage() -> None:
    data = world()
    assert estimate(**{**data, "rewards": 3.0 * data["observations"][:, 0]}).std() < 0.3


def test_it_is_on_the_scale_of_the_rewards() -> None:
    data = world()
    np.testing.assert_allclose(estimate(**{**data, "rewards": 1e-3 * data["rewards"]}), 1e-3 * estimate(**data))


def test_categories_are_no_numbers() -> None:
    rng = np.random.default_rng(0)
    actions = rng.integers(3, size=(2000, 1))
    rewards = np.array([0.0, 1.0, 0.0])[actions[:, 0]]  # of which an index says nothing in a straight line
    table = {"observations": rng.integers(4, size=(2000, 1)), "next_observations": rng.integers(4, size=(2000, 1))}
    found = estimate(**world(**table, actions=actions, rewards=rewards, categories=((4,), (3,))))
    assert found.std() == pytest.approx(rewards.std(), rel=0.1)


def test_steps_that_are_not_finite_are_left_out() -> None:
    data = world()
    data["observations"][3, 0], data["rewards"][60] = np.nan, np.inf
    found = estimate(**data)
    assert len(found) == 2000 - 2 - 11 and np.isfinite(found).all()  # nothing is known of what ends in infinity
    assert len(estimate(**{**data, "rewards": np.full(2000, np.nan)})) == 0


def test_rewards_to_go_are_discounted_to_the_end_of_the_episode() -> None:
    rewards, lengths, steps = np.arange(9.0), np.array([4, 5]), np.array([0, 3, 4, 6])
    sums = [sum(GAMMA**k * rewards[t + k] for k in range(end - t)) for t, end in zip(steps, (4, 4, 9, 9))]
    np.testing.assert_allclose(rewards_to_go(rewards, lengths, steps), sums)
