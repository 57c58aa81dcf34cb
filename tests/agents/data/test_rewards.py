"""What a learner gets for the rewards of the data, against its definition step by step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import agents
from agents.data.dataset_statistics import DatasetStatistics
from agents.data.rewards import LearnerRewards, discounted_returns, learner_rewards

LENGTHS = np.array([4, 1, 7, 3])
TERMINATED = torch.zeros(15, dtype=torch.bool)
TERMINATED[[4, 7, 11]] = True  # ends of the second and the third episode, and a flag inside the latter
REWARDS = torch.randn(15, generator=torch.Generator().manual_seed(0))


def statistics(rewards: torch.Tensor, lengths: np.ndarray = LENGTHS) -> DatasetStatistics:
    """Of such rewards; what rewards do not depend on is left out."""
    values, ends = rewards.double().numpy(), lengths.cumsum()
    known: dict[str, Any] = dict.fromkeys(("horizon_returns", "num_episodes", "num_steps", "action_min", "action_max"))
    known |= dict.fromkeys(("saturated_actions", "terminations", "truncations"))
    returns = np.array([values[end - length : end].sum() for end, length in zip(ends, lengths)])
    known |= {"reward_mean": values.mean(), "reward_std": values.std()}
    known |= {"reward_min": values.min(), "reward_max": values.max()}
    return DatasetStatistics(**known, returns=returns, lengths=lengths)


def learnt(rewards: torch.Tensor = REWARDS, n_step: int = 1, gamma: float = 1.0, **settings: Any) -> LearnerRewards:
    config = agents.RewardsConfig(**settings)
    return learner_rewards(rewards, TERMINATED, statistics(rewards), config, n_step=n_step, gamma=gamma)


def test_by_default_rewards_are_the_datas() -> None:
    rewards = learnt()
    assert torch.equal(rewards.values, REWARDS) and (rewards.scale, rewards.num_steps_ahead) == (1.0, None)


def test_the_shift_comes_after_the_scale() -> None:
    rewards = learnt(scale=4.0, shift=-1.0)
    assert torch.equal(rewards.values, 4.0 * REWARDS - 1.0) and rewards.scale == 4.0


def test_with_return_range_returns_span_1000() -> None:
    returns = statistics(learnt(scale="return_range").values).returns
    assert np.ptp(returns) == pytest.approx(1000.0, rel=1e-6)


def test_with_std_rewards_have_a_standard_deviation_of_1() -> None:
    rewards = learnt(100.0 * REWARDS + 7.0, scale="std")
    assert rewards.values.std(correction=0).item() == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("n_step", [2, 3, 50])
def test_sums_over_several_steps_are_their_definition(n_step) -> None:
    rewards = learnt(n_step=n_step, gamma=0.9, scale=2.0, shift=0.5)
    ends = LENGTHS.cumsum()
    for t in range(15):
        end, total, steps = ends[np.searchsorted(ends, t, side="right")], 0.0, 0
        for k in range(t, min(t + n_step, end)):
            total, steps = total + 0.9**steps * (2.0 * REWARDS[k].item() + 0.5), steps + 1
            if TERMINATED[k]:
                break
        assert rewards.num_steps_ahead[t] == steps
        assert rewards.values[t].item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_a_discounted_return_is_what_is_earned_to_the_end_of_the_episode(gamma) -> None:
    returns = discounted_returns(REWARDS, TERMINATED, torch.from_numpy(LENGTHS), gamma)
    following, ends = 0.0, {*(LENGTHS.cumsum() - 1).tolist()}
    for t in reversed(range(15)):
        following = REWARDS[t].item() + gamma * (0.0 if t in ends or TERMINATED[t] else following)
        assert returns[t].item() == pytest.approx(following, rel=1e-5, abs=1e-6)


def test_returns_are_of_single_steps_whatever_is_summed() -> None:
    one, three = (learnt(n_step=n_step, gamma=0.9, scale=2.0, shift=0.5) for n_step in (1, 3))
    assert torch.equal(one.of_single_steps, one.values) and torch.equal(three.of_single_steps, one.values)


@pytest.mark.parametrize(("scale", "says"), [("return_range", "episodes return"), ("std", "rewards are")])
def test_equal_rewards_have_no_scale(scale, says) -> None:
    with pytest.raises(agents.ConfigError, match=f"rewards.scale={scale} needs different values, and all {says}"):
        learner_rewards(
            torch.zeros(4), TERMINATED[:4], statistics(torch.zeros(4), np.array([2, 2])), agents.RewardsConfig(scale)
        )


def test_rewards_that_float32_cannot_hold_are_refused() -> None:
    with pytest.raises(agents.ConfigError, match="float32 cannot hold"):
        learnt(scale=1e300)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("scale", 0.0), ("scale", -1), ("scale", math.nan), ("scale", math.inf), ("scale", "range"), ("scale", None)]
    + [("scale", True), ("scale", [1.0]), ("shift", math.nan), ("shift", math.inf)],
)
def test_settings_out_of_range_are_refused_by_name_and_value(setting, value) -> None:
    with pytest.raises(agents.ConfigError, match=rf"rewards\.{setting} must .* got ") as caught:
        agents.RewardsConfig(**{setting: value})
    assert str(caught.value).endswith(repr(value))


@pytest.mark.parametrize(("setting", "value"), [("n_step", 0), ("gamma", 1.5)])
def test_several_steps_out_of_range_are_refused(setting, value) -> None:
    with pytest.raises(agents.ConfigError, match=f"{setting} must .* got {value}"):
        learnt(**{setting: value})
