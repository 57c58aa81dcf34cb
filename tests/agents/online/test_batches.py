"""A batch has as many steps of the data as its share says, and both parts mean the same."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from agents.data.layout import DEFAULT_KEYS
from agents.data.settings import RewardsConfig
from agents.data.storage import OneHots
from agents.errors import ConfigError
from agents.online.batches import MixedBatches, joined
from agents.online.experience import RewardRule
from tests.worlds import record

KEYS = (*DEFAULT_KEYS, ("next", "action"), ("next", "done"), ("next", "truncated"), "discounted_return")
GAMMA = 0.9


def steps_of(dataset) -> list[list[tuple]]:
    """What a collection would append of each episode of the data, step by step."""
    layout, rows, episodes, start = dataset.layout, dataset.rows, [], 0
    one_hots = OneHots(layout.categories, rows.device) if layout.one_hot else lambda columns: columns
    for length in dataset.statistics.lengths.tolist():
        part = rows[start : start + length + 1]
        observations = one_hots(part[:, : layout.observation]).numpy()
        _, action, reward, terminated = layout.parts(part[:-1].numpy())
        ends = np.arange(length)[:, None] == length - 1
        columns = (observations[:-1], action, reward, terminated, ends & (terminated == 0), observations[1:])
        episodes.append([*zip(*columns)])
        start += length + 1
    return episodes


@pytest.mark.parametrize("kind", ["goal-box", "table-discrete", "goal-multidiscrete"])
def test_experience_of_the_datas_own_steps_gives_the_datas_batches(kind, root, experience) -> None:
    """Rewards scaled, shifted and summed, next actions, ends, categories; two environments act in turns."""
    dataset = record(kind)
    rewards = dataset.learner_rewards(RewardsConfig(scale=0.5, shift=-1.0), n_step=3, gamma=GAMMA)
    expected = dataset.replay_buffer(1, rewards=rewards, keys=KEYS, gamma=GAMMA)[:].exclude("index")
    drawn = dataset._subset(KEYS, None, rewards.num_steps_ahead).tolist()  # steps of these rows

    episodes, number = steps_of(dataset), iter(range(len(dataset)))
    numbered = [[(next(number), step) for step in episode] for episode in episodes]
    streams = [sum(numbered[:4], []), sum(numbered[4:], [])]
    pairs = [*zip(*streams)]
    rule = RewardRule(0.5, -1.0, 3, GAMMA)
    own = experience(capacity=2 * len(pairs), num_envs=2, layout=dataset.layout, keys=KEYS, rewards=rule)
    for pair in pairs:
        own.append(*map(np.stack, zip(*(step for _, step in pair))))

    rows = own._drawable[: own.num_drawable]
    steps = [pairs[row // 2][row % 2][0] for row in rows.tolist()]
    ended = {step for e in own.episodes for step in (pairs[r // 2][r % 2][0] for r in range(e.last % 2, e.last + 1, 2))}
    assert len(own.episodes) >= 5 and {*steps} == ended & {*drawn}
    mine, theirs = own.batch(rows), expected[torch.tensor([drawn.index(step) for step in steps])]
    assert {*mine.keys(True, True)} == {*theirs.keys(True, True)}
    for key in mine.keys(True, True):
        torch.testing.assert_close(mine[key], theirs[key], atol=0.0, rtol=0.0)


def test_a_cut_off_step_bootstraps_and_a_terminated_one_does_not(experience) -> None:
    rows = experience(capacity=4)
    for terminated, truncated in ((0, 1), (1, 0), (1, 1), (0, 0)):
        rows.append(
            *[np.full((1, n), 0.5) for n in (2, 1, 1)], *np.array([[[terminated]], [[truncated]]]), np.ones((1, 2))
        )
    assert rows.batch(torch.arange(4))["next", "terminated"].flatten().tolist() == [False, True, True, False]
    assert [episode.last for episode in rows.episodes] == [0, 1, 2]


class Data:
    """Batches of which every step says that it is of the data."""

    def __len__(self) -> int:
        return 30

    def sample(self, number: int) -> TensorDict:
        return rows_with(torch.full((number,), -1.0))


def rows_with(rewards: torch.Tensor) -> TensorDict:
    zeros, shape = torch.zeros(len(rewards), 2), len(rewards)
    following = TensorDict({"observation": zeros, "reward": rewards[:, None], "terminated": zeros[:, :1] > 0}, shape)
    return TensorDict({"observation": zeros, "action": zeros[:, :1], "next": following, "index": rewards}, shape)


@pytest.mark.parametrize(
    ("share", "final", "expected"),
    [(0.5, None, [12, 6, 6, 6]), (0.0, None, [12, 0, 0, 0]), (1.0, 0.0, [12, 9, 6, 0])],
)
@pytest.mark.parametrize("capacity", [40, 80])
def test_the_share_of_the_data_is_as_told(share, final, expected, capacity, experience) -> None:
    rows = experience(capacity=capacity)  # which a run that goes on further has more of
    like = joined([rows_with(torch.zeros(12))])
    settings = {"like": like, "share": share, "final_share": final, "generator": torch.Generator().manual_seed(0)}
    settings |= {"fades_over": 40 if capacity == 80 else None}
    mixed, shares = MixedBatches(Data(), rows, **settings), []
    for length in (0, 10, 20, 40, *[60] * (capacity == 80)):
        while rows.length < length:
            rows.append(*[np.ones((1, n)) for n in (2, 1, 1)], np.zeros((1, 1)), np.zeros((1, 1)), np.ones((1, 2)))
        batch = mixed.sample()
        shares.append(int((batch["next", "reward"] == -1.0).sum()))
        assert batch.shape == (12,) and [*batch.keys(True, True)] == [*like.keys(True, True)]
        assert all(value.is_contiguous() for value in batch.values(True, True))
    assert shares[:4] == expected and {*shares[4:]} <= {expected[-1]}


def test_pooled_steps_are_drawn_as_if_all_were_in_one_buffer(experience) -> None:
    rows, batch_size, number = experience(capacity=10), 12, 2000
    for _ in range(10):
        rows.append(*[np.ones((1, n)) for n in (2, 1, 1)], np.zeros((1, 1)), np.zeros((1, 1)), np.ones((1, 2)))
    like, generator = joined([rows_with(torch.zeros(batch_size))]), torch.Generator().manual_seed(0)
    pooled = MixedBatches(Data(), rows, like=like, share=None, generator=generator)
    counts = np.array([int((pooled.sample()["next", "reward"] == -1.0).sum()) for _ in range(number)])
    share = 30 / 40
    assert counts.mean() == pytest.approx(batch_size * share, abs=0.15)
    assert counts.var() == pytest.approx(batch_size * share * (1 - share), rel=0.15), "each step by itself"


def test_steps_are_drawn_uniformly_and_from_ended_episodes_alone_where_so_told(experience) -> None:
    rows = experience(capacity=40, num_envs=2, whole_episodes=True)
    generator = torch.Generator().manual_seed(0)
    assert not MixedBatches(
        SimpleNamespace(), rows, like=rows_with(torch.zeros(4)), share=0.0, generator=generator
    ).can_draw
    for step in range(13):  # the second environment's episode does not end
        value, ends = np.array([[step / 8], [-1.0]]), np.array([[step % 5 == 4], [False]])
        rows.append(*(value.repeat(n, 1) for n in (2, 1, 1)), np.zeros((2, 1)), ends, np.ones((2, 2)))
    pooled = MixedBatches(Data(), rows, like=rows_with(torch.zeros(4)), share=None, generator=generator)
    assert pooled.share == 30 / 40, "as many of each as can be drawn"
    drawn = rows.sample(5000, generator)["next", "reward"].flatten() * 8
    assert {*drawn.tolist()} == {*range(10)}
    assert drawn.long().bincount().min() > 400


def test_shares_out_of_range_are_refused(experience) -> None:
    with pytest.raises(ConfigError, match=r"offline_share must lie in \[0, 1\], got 1.5"):
        like = rows_with(torch.zeros(1))
        MixedBatches(SimpleNamespace(), experience(capacity=1), like=like, share=1.5, generator=torch.Generator())
