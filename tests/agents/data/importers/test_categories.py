"""Columns of words: one-hots with their names as observations, choices with their names as actions."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import minari
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import agents
from agents.data.importers.categories import in_order
from agents.environments.adapter import Spaces
from agents.errors import ConfigError, DataError

HEADER = "ward,pulse,drug,run"
ROWS = [
    ["surgery", 80, "none", 1],
    ["icu", 90, "low", 1],
    ["icu", 95, "high", 1],
    ["surgery", 70, "none", 2],
    ["er", 75, "low", 2],
]
USES: dict[str, Any] = {"observation": ["ward", "pulse"], "action": ["drug"], "episode": "run", "end": "terminated"}


def test_words_are_categories_in_their_order(take, table, episodes) -> None:
    imported = take(table(HEADER, ROWS), **USES, category=["ward", "drug"])
    dataset = minari.load_dataset("robot/arm-v0")
    assert isinstance(dataset.observation_space, gym.spaces.Dict)
    assert dataset.observation_space["ward"] == gym.spaces.Discrete(3)
    assert dataset.action_space == gym.spaces.Discrete(3)
    first, second = episodes()
    assert first.observations["ward"].tolist() == [2, 1, 1, 1]  # er, icu, surgery; the last one is repeated
    assert second.observations["ward"].tolist() == [2, 0, 0]
    assert first.observations["observation"].ravel().tolist() == [80, 90, 95, 95]
    assert first.actions.tolist() == [2, 1, 0]  # high, low, none
    assert imported.meaning["categories"] == "ward (er, icu, surgery): a one-hot of each"
    assert imported.meaning["kind of actions"] == "discrete, since columns.category names them: high, low, none"
    assert imported.first_rows[1][:3] == ["surgery", "80", "none"]


def test_their_names_stay_with_the_dataset(take, table) -> None:
    take(table(HEADER, ROWS), **USES, category=["ward", "drug"])
    dataset = agents.load_dataset("robot/arm-v0", progress=False)
    assert dataset.specs.observation_names == ("pulse", "ward=er", "ward=icu", "ward=surgery")
    batch = dataset.replay_buffer(64).sample()
    assert batch["observation"].shape == (64, 4) and (batch["observation"][:, 1:].sum(1) == 1).all()
    spaces = dataset.specs.numbers
    again = Spaces.from_json(json.loads(json.dumps(spaces.to_json())))
    assert again.observations.names == dataset.specs.observation_names and again.actions.words == (
        "high",
        "low",
        "none",
    )
    assert agents.inspect_dataset("robot/arm-v0", progress=False).actions.counts == {"high": 1, "low": 2, "none": 2}
    broken = spaces.to_json()
    broken["actions"]["words"] = ["one"]
    with pytest.raises(ValueError, match="are no names"):
        Spaces.from_json(broken)


def test_rows_in_another_order_have_the_same_numbers(take, table, episodes) -> None:
    take(table(HEADER, [*ROWS[3:], *ROWS[:3]]), **USES, category=["ward", "drug"])
    second, first = episodes()
    assert first.observations["ward"].tolist() == [2, 1, 1, 1] and second.actions.tolist() == [2, 1]


def test_categories_alone_are_an_observation_and_several_an_action(take, table, episodes) -> None:
    uses = USES | {"observation": ["ward"], "action": ["drug", "pulse"]}
    take(table(HEADER, ROWS), **uses, category=["*a*", "drug", "pulse"])
    dataset = minari.load_dataset("robot/arm-v0")
    assert dataset.observation_space == gym.spaces.Dict({"ward": gym.spaces.Discrete(3)})
    assert dataset.action_space == gym.spaces.MultiDiscrete([3, 5])
    assert episodes()[0].actions.tolist() == [[2, 2], [1, 3], [0, 4]]


def test_next_observations_have_the_words_of_observations(take, table, episodes) -> None:
    rows = [["a", "b", 0.5], ["b", "c", 0.5]]
    take(table("s,s2,a", rows), observation=["s"], next_observation=["s2"], action=["a"], category=["s"])
    assert episodes()[0].observations["s"].tolist() == [0, 1, 2]


def test_a_missing_word_is_a_missing_value(take, table, episodes) -> None:
    rows = [[*row] for row in ROWS]
    rows[1][0] = None
    log = table(HEADER, rows)
    with pytest.raises(DataError, match="line 3 of log.csv: observation 'ward' is missing"):
        take(log, **USES, category=["ward", "drug"])
    take(log, **USES, category=["ward", "drug"], missing="forward-fill")
    assert episodes()[0].observations["ward"].tolist() == [2, 2, 1, 1]


def test_names_that_do_not_fit_are_left_out(take, table, store) -> None:
    take(table(HEADER, ROWS), **USES, category=["ward", "drug"])
    path = store / "robot/arm-v0/data/metadata.json"
    metadata = json.loads(path.read_text())
    for words in (["one"], "abc", [1, 2, 3], None):
        entries = {"observation_categories": {"ward": words}, "action_categories": [words]}
        path.write_text(json.dumps({**metadata, **entries}))
        source = agents.inspect_dataset("robot/arm-v0", progress=False).source
        assert source.observations.names[1] == "ward=0" and source.actions.words == ()


MISTAKES = {
    "unnamed": ({}, r"line 2 of log.csv: the column '\w+' holds '\w+', no number; .*columns.category"),
    "stray": ({"category": ["run"]}, "columns.category: 'run' is neither an observation nor an action"),
    "mixed": ({"action": ["drug", "pulse"], "observation": ["ward"], "category": ["drug", "ward"]},
              "actions are all categories or none: 'pulse' is none"),
    "bounds": ({"category": ["ward", "drug"], "action_bounds": [0, 1]}, "they have no action_bounds"),
    "many": ({"category": ["ward", "drug"]}, "the category '(ward|drug)' has more than 2 different values"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_what_does_not_fit_is_a_line(take, table, monkeypatch, name) -> None:
    settings, says = MISTAKES[name]
    if name == "many":
        monkeypatch.setattr("agents.data.importers.categories.MOST_WORDS", 2)
    with pytest.raises((ConfigError, DataError), match=says) as refusal:
        take(table(HEADER, ROWS), **USES | settings)
    assert "\n" not in str(refusal.value)


def test_numbers_may_be_names_in_the_order_of_their_size(take, table) -> None:
    rows = [[code, 0.5] for code in (300, 7, 10, 7, -20, -3)]
    take(table("code,a", rows), observation=["code"], action=["a"], category=["code"])
    names = agents.load_dataset("robot/arm-v0", progress=False).specs.observation_names
    assert names == ("code=-20", "code=-3", "code=7", "code=10", "code=300")
    assert in_order(["10", "2", "one"]) == ["10", "2", "one"]
    assert in_order(["nan", "10", "2.0", "2"]) == in_order(["2", "nan", "2.0", "10"]) == ["2", "2.0", "10", "nan"]


def test_numbers_beside_missing_ones_are_the_same_words(take, episodes, monkeypatch) -> None:
    monkeypatch.setattr("agents.data.importers.parquet_tables.BATCH", 3)
    wards = [1, 2, None, 1, 2, 1]
    pyarrow.parquet.write_table(pa.table({"s": np.arange(6.0), "ward": wards, "a": [0.5] * 6}), "log.parquet")
    take("log.parquet", observation=["s", "ward"], action=["a"], category=["ward"], missing="forward-fill")
    assert episodes()[0].observations["ward"].tolist() == [0, 1, 1, 0, 1, 0]
    assert minari.load_dataset("robot/arm-v0").observation_space["ward"] == gym.spaces.Discrete(2)
