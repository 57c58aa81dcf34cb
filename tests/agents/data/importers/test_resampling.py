"""Even steps of time: what is known at each, and all that was earned; nothing is made up."""

from __future__ import annotations

import numpy as np
import pytest

from agents.errors import ConfigError, DataError

HEADER = "t,s,a,r,over,run"
ROWS = [  # at irregular times
    [0.0, 1, 0.1, 1, 0, "a"],
    [0.5, 2, 0.2, 2, 0, "a"],
    [1.0, 3, 0.3, 4, 0, "a"],
    [3.2, 4, 0.4, 8, 0, "a"],
    [4.1, 5, 0.5, 16, 1, "a"],
]
USES = {"observation": ["s"], "action": ["a"], "earned": "r", "time": "t", "terminated": "over", "episode": "run"}


@pytest.mark.parametrize(
    ("step", "observations", "rewards"),
    [
        (1.0, [1, 3, 3, 3, 4], [3, 4, 0, 8, 16]),  # of 4.1 the flag is that of the step in which it is
        (2.0, [1, 3, 4], [7, 8, 16]),
        (0.5, [1, 2, 3, 3, 3, 3, 3, 4, 4], [1, 2, 4, 0, 0, 0, 8, 0, 16]),
    ],
)
def test_each_step_has_the_last_values_and_the_sum_of_rewards(
    take, table, episodes, step, observations, rewards
) -> None:
    imported = take(table(HEADER, ROWS), **USES, time_step=step)
    (episode,) = episodes()
    assert episode.observations.ravel().tolist() == [*observations, observations[-1]]
    assert episode.rewards.tolist() == rewards and episode.rewards.sum() == 31
    assert episode.terminations.tolist() == [False] * (len(rewards) - 1) + [True]
    assert (
        imported.meaning["time between steps"]
        == f"0.5 to 2.2, resampled to {step:g}: the last values before, and sums of rewards"
    )


def test_even_times_are_left_as_they_are(take, table, episodes) -> None:
    """Though their differences are not a binary fraction."""
    rows = [[0.1 * index, index, 0.5, index, 0, "a"] for index in range(50)]
    rows[-1][4] = 1
    take(table(HEADER, rows), **USES, time_step=0.1)
    assert episodes()[0].observations.ravel().tolist() == [*range(50), 49]


def test_dates_are_resampled_in_seconds(take, table, episodes) -> None:
    rows = [[f"2026-01-01 00:0{minute}:00", minute, 0.5, 1, int(minute == 6), "a"] for minute in (0, 1, 2, 6)]
    take(table(HEADER, rows), **USES, time_step=120)
    assert episodes()[0].observations.ravel().tolist() == [0, 2, 2, 6, 6] and episodes()[0].rewards.tolist() == [
        2,
        1,
        0,
        1,
    ]


def test_a_missing_value_is_named_by_its_row(take, table) -> None:
    rows = [[*row] for row in ROWS]
    rows[2][1] = None
    with pytest.raises(DataError, match="line 4 of log.csv: observation 's' is missing"):
        take(table(HEADER, rows), **USES, time_step=1.0)


@pytest.mark.parametrize("start", [0.0, 1.7e9])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rounded_times_are_even_ones(take, episodes, start, dtype) -> None:
    """Seconds since 1970 are known to a quarter of a microsecond only."""
    times = (start * (dtype == np.float64) + 0.01 * np.arange(200)).astype(dtype)
    rows = {"observation": np.arange(200.0)[:, None], "action": np.full((200, 1), 0.5), "time": times}
    take([rows], time_step=0.01)
    assert episodes()[0].observations.ravel().tolist() == [*range(200)]


def test_what_was_known_between_even_times_fills_what_is_missing_at_them(take, table, episodes) -> None:
    rows = [[0, 1, 0.1], [0.5, 2, 0.2], [1, None, None], [2, 4, None]]
    take(table("t,s,a", rows), observation=["s"], action=["a"], time="t", time_step=1.0, missing="forward-fill")
    assert episodes()[0].observations.ravel().tolist() == [1, 2, 4] and episodes()[0].actions.ravel().tolist() == [
        0.1,
        0.2,
    ]


def test_mistakes_are_a_line(take, table) -> None:
    log = table(HEADER, ROWS)
    with pytest.raises(DataError, match="an episode of 4.1e\\+09 steps of 1e-09; is the unit of time right"):
        take(log, **USES, time_step=1e-9)
    with pytest.raises(ConfigError, match="time_step must be positive, got 0"):
        take(log, **USES, time_step=0)
    with pytest.raises(ConfigError, match="time_step is one in time: name its column by columns.time"):
        take(log, observation=["s"], action=["a"], time_step=1)
    with pytest.raises(ConfigError, match="time_step makes steps at which nobody chose"):
        take(log, observation=["s"], action=["a"], time="t", action_probability="r", time_step=1)
    steps = {"observation": np.zeros((3, 1)), "action": np.zeros((2, 1)), "time": np.arange(2)}
    with pytest.raises(ConfigError, match="time_step needs a time for each row, and observation has more or less"):
        take([steps], time_step=1)
