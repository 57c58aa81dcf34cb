"""Held-out episodes: which they are, and that each part is what a dataset of its episodes alone would be."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from agents.data.dataset import OfflineDataset
from agents.data.layout import DEFAULT_KEYS, DISCOUNTED_RETURN, NEXT_ACTION, WINDOW_KEYS
from agents.data.settings import RewardsConfig
from agents.errors import ConfigError, DataError
from tests.agents.handmade import ENDS, assert_transitions, create, episode, load, whole

pytestmark = pytest.mark.usefixtures("root")

MANY = [episode(2 + i % 3, seed=i, terminated=i % 2 == 0, truncated=i % 2 == 1) for i in range(10)]


def chosen(dataset: OfflineDataset) -> list[int]:
    """The numbers of the episodes, which their first observations tell."""
    starts = dataset.rows[dataset.starts, 0]
    return [int(start) // 1000 for start in starts]


@pytest.mark.parametrize("storage", ["memory", "memmap"])
def test_each_part_is_what_a_dataset_of_its_episodes_alone_would_be(storage: str) -> None:
    create(*MANY)
    parts = load(storage=storage).split(0.3)
    for index, part in enumerate(parts):
        episodes = [MANY[number] for number in chosen(part)]
        create(*episodes, dataset_id=f"test/alone-v{index}")
        alone = load(f"test/alone-v{index}", storage=storage)
        assert_transitions(part, episodes)
        assert len(part) == len(alone)
        np.testing.assert_equal(_rounded(part), _rounded(alone))
        if index == 0:
            torch.testing.assert_close(part.specs.observation_mean, alone.specs.observation_mean)
            torch.testing.assert_close(part.specs.observation_std, alone.specs.observation_std)
            assert part.specs.max_return == alone.specs.max_return
        options: dict[str, Any]
        for options in (
            {"keys": (*DEFAULT_KEYS, NEXT_ACTION)},
            {"best_episodes": 0.5},
            {"keys": (*DEFAULT_KEYS, *WINDOW_KEYS), "context_length": 3},
            {"rewards": part.learner_rewards(RewardsConfig(scale=2.0, shift=1.0), n_step=2, gamma=0.9)},
            {"keys": (*DEFAULT_KEYS, DISCOUNTED_RETURN), "gamma": 0.9},
        ):
            ours, theirs = (each.replay_buffer(8, seed=3, **options) for each in (part, alone))
            assert len(ours) == len(theirs)
            torch.testing.assert_close(ours.sample().to_dict(), theirs.sample().to_dict(), rtol=1e-6, atol=1e-6)


def _rounded(dataset: OfflineDataset) -> dict[str, object]:
    values = dataclasses.asdict(dataset.statistics)
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}


def test_parts_share_the_rows_and_hold_each_episode_once() -> None:
    create(*MANY)
    dataset = load()
    training, held_out = dataset.split(0.2)
    assert training.rows is held_out.rows is dataset.rows
    assert sorted(chosen(training) + chosen(held_out)) == [*range(10)]
    assert len(chosen(held_out)) == 2
    assert training.whole is held_out.whole is dataset
    assert training.specs is held_out.specs
    again = training.split(0.5)[1]
    assert again.whole is dataset and {*chosen(again)} < {*chosen(training)}


def test_what_is_held_out_follows_from_data_share_and_seed_alone() -> None:
    create(*MANY)
    held_out = {share: chosen(load().split(share)[1]) for share in (0.2, 0.4)}
    assert held_out == {0.2: [3, 8], 0.4: [3, 4, 8, 9]}  # for ever: runs of today are measured on these
    assert len({tuple(chosen(load().split(0.2, seed)[1])) for seed in range(9)}) > 3
    create(*MANY[:9], dataset_id="test/other-v0")
    assert chosen(load("test/other-v0").split(0.2)[1]) != held_out[0.2]


def test_both_sides_have_an_episode() -> None:
    create(*ENDS[:2])
    for share in (0.001, 0.999):
        assert [part.statistics.num_episodes for part in load().split(share)] == [1, 1]
    create(ENDS[0], dataset_id="test/one-v0")
    with pytest.raises(DataError, match=r"'test/one-v0' has a single episode, so none can be held out"):
        load("test/one-v0").split(0.1)
    for share in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(ConfigError, match="validation must be a share of the episodes"):
            load().split(share)


def test_indices_and_one_hots_have_the_statistics_of_their_part() -> None:
    import gymnasium as gym

    episodes = [
        {
            **episode(3, seed=i, truncated=True),
            "observations": np.array([0, 1, 2, i % 3]),
            "actions": np.array([i % 2] * 3),
        }
        for i in range(4)
    ]
    create(*episodes, observation_space=gym.spaces.Discrete(3), action_space=gym.spaces.Discrete(2))
    training, held_out = load().split(0.5)
    assert (
        training.specs.observation_mean.tolist() == [0.0] * 3 and training.specs.observation_std.tolist() == [1.0] * 3
    )
    assert len(whole(held_out)["action"]) == 6 and held_out.statistics.saturated_actions == 0.0
