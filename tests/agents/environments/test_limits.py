"""Whatever a policy wants, what is done lies inside the limits, and is what is recorded."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from agents.environments.limits import Limits, executed_action
from agents.errors import ConfigError, DataError


class Arm(gym.Env):
    """Notes what it is told."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (1,))
    action_space = gym.spaces.Box(np.float32([-1.0, 0.0]), np.float32([1.0, 4.0]))

    def __init__(self) -> None:
        self.actions: list[np.ndarray] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        return np.zeros(1), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        self.actions.append(action)
        return np.zeros(1), 0.0, False, False, {}


def test_bounds_are_the_narrower_of_both() -> None:
    arm = Limits(Arm(), low=[-9.0, 1.0], high=[0.5, 9.0])
    for wish in ([5.0, 5.0], [-5.0, -5.0], [0.25, 2.0]):
        arm.step(np.float32(wish))
    np.testing.assert_array_equal(arm.unwrapped.actions, np.float32([[0.5, 4.0], [-1.0, 1.0], [0.25, 2.0]]))


def test_an_action_changes_by_a_share_of_its_range_and_its_episodes_first_one_is_free() -> None:
    arm = Limits(Arm(), max_change=0.25)
    arm.reset()
    for wish in ([1.0, 4.0], [-1.0, 0.0], [-1.0, 3.5]):
        arm.step(np.float32(wish))
    arm.reset()
    arm.step(np.float32([-1.0, 0.0]))
    expected = np.float32([[1.0, 4.0], [0.5, 3.0], [0.0, 3.5], [-1.0, 0.0]])
    np.testing.assert_array_equal(arm.unwrapped.actions, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_was_done_is_done_again(dtype, monkeypatch) -> None:
    """From what a log of float32 keeps of it, and never outside the limits."""
    monkeypatch.setattr(Arm, "action_space", gym.spaces.Box(dtype([-1.0, 0.0]), dtype([1.0, 4.0]), dtype=dtype))
    limits = {"low": [-0.7, 0.1], "high": [0.3, 3.3], "max_change": 0.07}
    rng, arm, again = np.random.default_rng(0), Limits(Arm(), **limits), Limits(Arm(), **limits)
    for wish in rng.uniform(-2.0, 5.0, (200, 2)).astype(np.float32):
        arm.step(wish.astype(dtype))
        again.step(executed_action(arm, wish).astype(np.float32).astype(dtype))
    done = np.array(arm.unwrapped.actions)
    assert done.dtype == dtype and (done >= dtype([-0.7, 0.1])).all() and (done <= dtype([0.3, 3.3])).all()
    np.testing.assert_array_equal(again.unwrapped.actions, done)


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        ({"low": 2.0, "high": 3.0}, "no action lies inside"),
        ({"low": [0.0] * 3, "high": [1.0] * 3}, "no action lies|need"),
        ({"low": "a", "high": "b"}, "need"),
        ({"max_change": 0.0}, "max_action_change must lie"),
    ],
)
def test_limits_that_leave_nothing_are_refused(limits, problem) -> None:
    with pytest.raises(ConfigError, match=problem):
        Limits(Arm(), **limits)


def test_a_share_of_an_endless_range_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(Arm, "action_space", gym.spaces.Box(-np.inf, np.inf, (2,)))
    Limits(Arm(), low=-1.0, high=1.0)
    with pytest.raises(ConfigError, match="has no ends"):
        Limits(Arm(), low=-1.0, high=1.0, max_change=0.1)


def test_what_is_no_number_is_not_done() -> None:
    arm = Limits(Arm(), low=-0.5, high=0.5)
    with pytest.raises(DataError, match="an action is not a number"):
        arm.step(np.float32([np.nan, 0.0]))
    assert not arm.unwrapped.actions


def test_indices_have_no_limits() -> None:
    with pytest.raises(ConfigError, match="for actions that are numbers"):
        Limits(gym.make("CartPole-v1"), max_change=0.1)
