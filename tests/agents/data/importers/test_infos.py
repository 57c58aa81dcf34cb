"""Columns that are kept beside the steps, and the probabilities of logged actions: how they are written and read."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import agents
from agents.data import read_infos
from agents.errors import ConfigError, DataError
from tests.agents.handmade import create, episode

HEADER = "t,s,a,r,run,p,price,why/where"
ROWS = [[i, i / 2, i % 3, 1.0, i // 3, 0.25 + i / 20, 10 + i, -i] for i in range(9)]
USES = {"observation": ["s"], "action": ["a"], "earned": "r", "episode": "run"}


def test_what_is_kept_lies_beside_its_step(take, table, episodes) -> None:
    log = table(HEADER, ROWS)
    imported = take(log, **USES, keep=["pri*", "why/where"], action_probability="p")
    assert imported.meaning["kept with the steps"] == "price, why/where, action_probability; not learned from"
    assert [each.infos["price"].tolist() for each in episodes()] == [[10, 11], [13, 14], [16, 17]]  # the third is cut
    np.testing.assert_array_equal(np.concatenate(read_infos("robot/arm-v0", "price")), [10, 11, 13, 14, 16, 17])
    np.testing.assert_array_equal(read_infos("robot/arm-v0", "why/where")[1], [-3, -4])
    dataset = agents.load_dataset("robot/arm-v0", progress=False)
    assert dataset.specs.observation_names == ("s",)
    probabilities = [ROWS[row][5] for row in (0, 1, 3, 4, 6, 7)]
    np.testing.assert_array_equal(dataset.infos("action_probability"), probabilities)


def test_a_part_of_the_data_has_the_infos_of_its_episodes(take, table) -> None:
    take(table(HEADER, ROWS), **USES, keep=["s"])
    dataset = agents.load_dataset("robot/arm-v0", progress=False)
    for part in dataset.split(0.34):
        rows = part.replay_buffer(64).sample()["observation"].unique()
        np.testing.assert_array_equal(np.sort(part.infos("s")), rows)
    take(table(HEADER, ROWS[:-1]), **USES, keep=["s"], overwrite=True)
    with pytest.raises(DataError, match="has been written anew since it was loaded"):
        dataset.infos("s")


def test_flags_are_kept_as_flags(take, table, episodes) -> None:
    take(
        table("s,a,ok", [[1, 0.5, "true"], [2, 0.5, "false"], [3, 0.5, "true"]]),
        observation=["s"],
        action=["a"],
        keep=["ok"],
    )
    assert episodes()[0].infos["ok"].tolist() == [True, False] and episodes()[0].infos["ok"].dtype == bool


def test_a_pattern_keeps_no_column_that_has_a_use(take, table) -> None:
    assert (
        take(table(HEADER, ROWS), **USES, keep=["*"], dry_run=True).meaning["kept with the steps"].startswith("t, p, ")
    )


def test_a_program_gives_the_probabilities_with_its_episodes() -> None:
    steps = {"observation": np.zeros((4, 2)), "action": np.array([0, 1, 1]), "reward": np.ones(3)}
    agents.import_dataset([{**steps, "action_probability": np.array([0.5, 0.25, 1.0])}], "a1/b1-v0", progress=False)
    assert read_infos("a1/b1-v0", "action_probability")[0].tolist() == [0.5, 0.25, 1.0]


@pytest.mark.parametrize("value", [0, -0.1, 1.5, None])
def test_what_was_done_had_a_probability(take, table, value) -> None:
    rows = [[*row[:5], value if index == 4 else row[5], *row[6:]] for index, row in enumerate(ROWS)]
    with pytest.raises(DataError, match=r"line 6 of .*log.csv: the probability of the action is .*one above 0"):
        take(table(HEADER, rows), **USES, action_probability="p")


def test_amounts_have_densities() -> None:
    steps = {"observation": np.zeros((3, 2)), "action": np.array([0.5, 0.25]), "action_probability": np.array([0.5, 9])}
    agents.import_dataset([steps], "a1/b1-v0", progress=False)
    assert read_infos("a1/b1-v0", "action_probability")[0].tolist() == [0.5, 9.0]


def test_what_is_not_there_is_named(take, table) -> None:
    log = table(HEADER, ROWS)
    with pytest.raises(ConfigError, match=r"columns.keep: log.csv has no column 'prise' \(did you mean price\?\)"):
        take(log, **USES, keep=["prise"])
    take(log, **USES)
    with pytest.raises(DataError, match=r"have no 'price' in their infos; import the log with columns.keep=\[price\]"):
        read_infos("robot/arm-v0", "price")
    with pytest.raises(DataError, match="import the log with columns.action_probability=COLUMN"):
        read_infos("robot/arm-v0", "action_probability")
    short = {"observation": np.zeros((4, 2)), "action": np.zeros(3), "action_probability": np.ones(2)}
    with pytest.raises(DataError, match="2 values of 'action_probability' for 3 actions"):
        agents.import_dataset([short], "a1/b1-v0", progress=False)


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet"])
def test_infos_of_other_programs_begin_at_the_reset(data_format) -> None:
    steps = episode(3)
    create({**steps, "infos": {"p": np.array([9.0, 0.1, 0.2, 0.3])}}, dataset_id="a1/b1-v0", data_format=data_format)
    assert read_infos("a1/b1-v0", "p")[0].tolist() == [0.1, 0.2, 0.3]


def test_a_value_of_an_episode_is_kept_with_each_step(take, episodes) -> None:
    """From Python and from a table of lists; rewards are of steps."""
    episode = {"observation": np.zeros((3, 1)), "action": np.full((3, 1), 0.5), "patient": 7, "ward": "icu"}
    take([episode], keep=["patient", "ward"])
    pyarrow.parquet.write_table(
        pa.table({"s": [[1.0, 2.0, 3.0]], "a": [[0.1, 0.2, 0.3]], "patient": [7], "ward": ["icu"]}), "log.parquet"
    )
    take("log.parquet", "robot/arm-v1", observation=["s"], action=["a"], keep=["patient", "ward"])
    for dataset in ("robot/arm-v0", "robot/arm-v1"):
        infos = episodes(dataset)[0].infos
        assert infos["patient"].tolist() == [7, 7] and [ward.decode() for ward in infos["ward"]] == ["icu", "icu"]
    with pytest.raises(DataError, match="'reward' is one value of an episode, where each step needs its own"):
        take([episode | {"reward": 3.0}], "robot/arm-v2")


def test_numbers_that_would_lose_digits_are_refused(take, table) -> None:
    rows = [[0, 0.5, 1234567890123456789], [1, 0.5, 1234567890123456790]]
    with pytest.raises(DataError, match="'id' holds numbers of more than 15 digits.*put a letter before them"):
        take(table("s,a,id", rows), observation=["s"], action=["a"], keep=["id"])
