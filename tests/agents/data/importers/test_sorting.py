"""Rows in any order: the same dataset as of those in order, and places that a person finds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from agents.errors import ConfigError, DataError

HEADER = "t,s,a,r,run"
ROWS = [[t, 10 * run + t, 0.1 * t, t, f"run {run}"] for run in (2, 10) for t in range(5)]
USES = {"observation": ["s"], "action": ["a"], "earned": "r"}
BY = {"episode": "run", "time": "t"}


def shuffled() -> list[list[object]]:
    order = np.random.default_rng(1).permutation(len(ROWS))
    return [ROWS[index] for index in order]


def test_rows_in_any_order_are_those_in_order(take, table, episodes, monkeypatch) -> None:
    monkeypatch.setattr("agents.data.importers.csv_tables.BLOCK", 40)
    monkeypatch.setattr("agents.data.importers.sorting.PIECE", 3)
    take(table(HEADER, ROWS), **USES, **BY)
    take(table(HEADER, shuffled(), "other.csv"), "robot/arm-v1", **USES, **BY, sort=True)
    theirs = {each.observations[0, 0]: each for each in episodes()}
    assert len(theirs) == 2
    for each in episodes("robot/arm-v1"):
        there = theirs[each.observations[0, 0]]
        assert np.array_equal(each.observations, there.observations) and np.array_equal(each.rewards, there.rewards)


def test_without_times_rows_of_an_episode_stay_in_their_order(take, table, episodes) -> None:
    rows = [row for pair in zip(ROWS[:5], ROWS[5:]) for row in pair]
    take(table(HEADER, rows), **USES, episode="run", sort=True)
    assert [each.observations.ravel().tolist() for each in episodes()] == [
        [20, 21, 22, 23, 24],
        [100, 101, 102, 103, 104],
    ]


def test_without_episodes_all_rows_are_sorted_by_time(take, table, episodes) -> None:
    take(table(HEADER, ROWS[4::-1]), **USES, time="t", sort=True)
    assert episodes()[0].observations.ravel().tolist() == [20, 21, 22, 23, 24]


def test_files_that_are_episodes_stay_so(take, table, episodes) -> None:
    for run in (0, 1):
        table(HEADER, ROWS[5 * run : 5 * run + 5][::-1], f"log{run}.csv")
    take("log*.csv", **USES, time="t", sort=True)
    assert [each.observations.ravel().tolist() for each in episodes()] == [
        [20, 21, 22, 23, 24],
        [100, 101, 102, 103, 104],
    ]


def test_a_mistake_is_named_by_its_place_in_the_file(take, table, monkeypatch) -> None:
    monkeypatch.setattr("agents.data.importers.csv_tables.BLOCK", 40)
    rows = [[*row] for row in shuffled()]
    rows[6][1] = None
    with pytest.raises(DataError, match="line 8 of log.csv: observation 's' is missing"):
        take(table(HEADER, rows), **USES, **BY, sort=True)
    with pytest.raises(DataError, match="line . of log.csv is earlier than the row before.*or set sort=true"):
        take(table(HEADER, ROWS[4::-1]), **USES, **BY)
    with pytest.raises(DataError, match="has the time of the row before.*leave out what is there twice"):
        take(table(HEADER, ROWS[:5] * 2), **USES, **BY, sort=True)


def test_what_does_not_fit_into_memory_is_refused(take, table, monkeypatch) -> None:
    monkeypatch.setattr("agents.data.importers.sorting.LIMIT", 100)
    with pytest.raises(DataError, match="sort=true holds all rows in memory, at most 0 MB.*sort the log before"):
        take(table(HEADER, ROWS), **USES, **BY, sort=True)


def test_there_is_something_to_sort_and_to_sort_by(take, table) -> None:
    with pytest.raises(ConfigError, match="sort=true needs something to sort by: name columns.episode"):
        take(table(HEADER, ROWS), **USES, sort=True)
    pyarrow.parquet.write_table(pa.table({"s": [[1.0, 2.0]], "a": [[1.0, 2.0]], "t": [[1.0, 2.0]]}), "log.parquet")
    with pytest.raises(ConfigError, match="sort=true is for tables of rows"):
        take("log.parquet", observation=["s"], action=["a"], time="t", sort=True, rows="episodes")
