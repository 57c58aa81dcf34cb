"""Spaces as numbers: every kind of observation becomes one vector, every kind of action numbers from 0, and back."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from minari.serialization import deserialize_space, serialize_space

from agents.environments.adapter import Spaces
from agents.environments.spaces import actions_of, bounds_of, observations_of
from agents.errors import ConfigError, DataError

NESTED = spaces.Dict(
    {
        "goal": spaces.Box(-1.0, 1.0, (2,)),
        "state": spaces.Tuple([spaces.Discrete(3, start=5), spaces.Dict({"flags": spaces.MultiBinary(2)})]),
        "height": spaces.Box(0.0, 9.0, ()),
        "gears": spaces.MultiDiscrete([2, 4]),
        "matrix": spaces.Box(-1.0, 1.0, (2, 2)),
        "mission": spaces.Text(9),
    }
)
ACTION_SPACES = {
    "vector": spaces.Box(-1.0, 2.0, (3,)),
    "scalar": spaces.Box(-1.0, 2.0, ()),
    "matrix": spaces.Box(-1.0, 2.0, (2, 2)),
    "whole numbers": spaces.Box(0, 9, (2,), np.int64),
    "bytes": spaces.Box(0, 255, (2,), np.uint8),
    "switches": spaces.Box(0, 1, (2,), np.bool_),
    "index": spaces.Discrete(4),
    "index from two": spaces.Discrete(4, start=2),
    "indices": spaces.MultiDiscrete([2, 5], start=[1, 3]),
    "bits": spaces.MultiBinary(3),
}


class World(gym.Env):
    """Shows samples of its spaces, and keeps the actions that it is given."""

    def __init__(self, observation_space: gym.Space, action_space: gym.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.shown: list[Any] = []
        self.actions: list[Any] = []

    def reset(self, **kwargs: Any) -> tuple[Any, dict]:
        self.shown.append(self.observation_space.sample())
        return self.shown[-1], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        self.actions.append(action)
        self.shown.append(self.observation_space.sample())
        return self.shown[-1], 0.0, False, False, {}


def spaces_of(observation_space: gym.Space, action_space: gym.Space) -> Spaces:
    return Spaces(observations_of(observation_space)[0], actions_of(action_space))


def test_the_vector_is_gymnasium_s_of_what_can_be_learned_from() -> None:
    observations, left_out = observations_of(NESTED)
    assert left_out == ["mission (no number)"]
    learned = spaces.Dict({name: space for name, space in NESTED.spaces.items() if name != "mission"})
    assert observations.size == len(observations.names) == spaces.flatdim(learned)
    NESTED.seed(0)
    for _ in range(20):
        sample = NESTED.sample()
        without = {name: value for name, value in sample.items() if name != "mission"}
        np.testing.assert_array_equal(observations.vector(sample), spaces.flatten(learned, without))


def test_each_dimension_has_a_name() -> None:
    names = observations_of(NESTED)[0].names
    assert names[:6] == ("gears.0=0", "gears.0=1", "gears.1=0", "gears.1=1", "gears.1=2", "gears.1=3")
    assert names[6:13] == ("goal.0", "goal.1", "height", "matrix.0.0", "matrix.0.1", "matrix.1.0", "matrix.1.1")
    assert names[13:] == ("state.0=5", "state.0=6", "state.0=7", "state.1.flags.0", "state.1.flags.1")
    assert observations_of(spaces.Box(0.0, 1.0, (2,)))[0].names == ("observation.0", "observation.1")
    assert observations_of(spaces.Discrete(2))[0].names == ("observation=0", "observation=1")


def test_categories_are_kept_as_indices_from_zero() -> None:
    observations, _ = observations_of(spaces.Discrete(500, start=7))
    assert observations.num_columns == 1 and observations.size == 500
    assert observations.columns([np.array([7, 9])]).tolist() == [[0], [2]]


def test_a_key_with_a_period_is_no_part_of_another() -> None:
    number = ACTION_SPACES["scalar"]
    space = spaces.Dict({"a": spaces.Dict({"c": number, "d": number}), "a.b": number, "e": number})
    for exclude, names in (["a"], ("a.b", "e")), (["a.b"], ("a.c", "a.d", "e")), (["a.c", "e"], ("a.d", "a.b")):
        assert observations_of(space, exclude=exclude)[0].names == names
        assert observations_of(space, include=exclude)[0].names == tuple(
            name for name in ("a.c", "a.d", "a.b", "e") if name not in names
        )


@pytest.mark.parametrize(
    ("include", "exclude", "parts"),
    [
        (["goal", "height"], [], ["goal", "height"]),
        ([], ["mission", "gears", "state", "matrix"], ["goal", "height"]),
        (["state"], ["state.0"], ["state.1.flags"]),
        (["state.1"], [], ["state.1.flags"]),
    ],
)
def test_parts_are_chosen_by_name(include: list[str], exclude: list[str], parts: list[str]) -> None:
    observations, left_out = observations_of(NESTED, include=include, exclude=exclude)
    assert [part.name for part in observations.parts] == parts and not left_out


def test_a_choice_of_nothing_is_refused_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match="observations.include: the data have no part 'goals'; there are gears, goal"):
        observations_of(NESTED, include=["goals"])
    with pytest.raises(ConfigError, match="observations.exclude: the data have no part 'sta'"):
        observations_of(NESTED, exclude=["sta"])
    with pytest.raises(ConfigError, match="leave nothing to learn from; there are observation"):
        observations_of(spaces.Discrete(3), exclude=["observation"])


@pytest.mark.parametrize("name", ACTION_SPACES)
def test_actions_become_numbers_and_what_they_were(name: str) -> None:
    space, world = ACTION_SPACES[name], World(NESTED, ACTION_SPACES[name])
    numbers = spaces_of(NESTED, space)
    env = numbers.adapt(world)
    space.seed(0)
    recorded = [space.sample() for _ in range(20)]
    columns = numbers.actions.columns(np.array(recorded))
    assert columns.shape == (20, numbers.actions.size)
    if numbers.actions.categories:
        assert columns.min() == 0 and (columns.max(0) < numbers.actions.categories).all()
    env.reset()
    for action, expected in zip(columns, recorded):
        policy = action.item() if numbers.actions.single else action
        observation, *_ = env.step(policy)
        assert env.observation_space.contains(observation)
        np.testing.assert_array_equal(world.actions[-1], expected)
        assert space.contains(world.actions[-1])
    assert env.action_space.shape == (() if numbers.actions.single else (numbers.actions.size,))


def test_a_category_that_its_space_has_not_is_no_observation() -> None:
    observations, _ = observations_of(
        spaces.Dict({"cell": spaces.Discrete(3, start=2), "height": ACTION_SPACES["scalar"]})
    )
    assert observations.vector({"cell": 4, "height": 0.5}).tolist() == [0.0, 0.0, 1.0, 0.5]
    with pytest.raises(ValueError, match="'cell' is category 3 of 3, counted from 0"):
        observations.vector({"cell": 5, "height": 0.5})


def test_whole_numbers_are_rounded_to() -> None:
    numbers = spaces_of(spaces.Discrete(2), ACTION_SPACES["whole numbers"])
    assert numbers.actions.for_environment(np.float32([1.4, 8.6])).tolist() == [1, 9]


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        (np.int64, [-np.inf, -3.0], [np.inf, np.inf]),
        (np.int32, [-np.inf, -3.0], [np.inf, np.inf]),
        (np.int8, [-128.0, -3.0], [127.0, 127.0]),  # so few are a range of values, and not the lack of one
        (np.uint8, [0.0, 3.0], [255.0, 255.0]),
        (np.uint32, [0.0, 3.0], [np.inf, np.inf]),
        (np.float32, [-np.inf, -3.0], [np.inf, np.inf]),
    ],
)
def test_the_ends_of_a_type_are_no_bounds(dtype, low, high) -> None:
    limits = np.iinfo(dtype) if np.issubdtype(dtype, np.integer) else None
    least, most = (limits.min, limits.max) if limits else (-np.inf, np.inf)
    space = spaces.Box(np.array([least, low[1]], dtype), np.full(2, most, dtype), dtype=dtype)
    for each in (space, deserialize_space(serialize_space(space))):
        assert [bound.tolist() for bound in bounds_of(each)] == [low, high]


def test_an_environment_of_whole_numbers_without_bounds_gets_those_given() -> None:
    space = spaces.Box(-np.inf, np.inf, (1,), np.int64)
    world = World(spaces.Discrete(2), space)
    env = spaces_of(spaces.Discrete(2), space).adapt(world, bounds=(np.float32([-3.0]), np.float32([3.0])))
    assert isinstance(env.action_space, spaces.Box) and env.action_space.high.tolist() == [3.0]
    env.step(np.float32([2.6]))
    assert world.actions[-1].tolist() == [3]


def test_bounds_of_one_s_own_do_not_overflow_a_byte() -> None:
    world = World(spaces.Discrete(2), ACTION_SPACES["bytes"])
    env = spaces_of(world.observation_space, world.action_space).adapt(world)
    env.step(np.float32([-1.0, 300.0]))
    assert world.actions[-1].tolist() == [0, 255]


def test_where_an_environment_has_no_bounds_those_given_are_taken() -> None:
    space = spaces.Box(np.float32([-np.inf, -1.0]), np.float32([2.0, np.inf]))
    env = spaces_of(spaces.Discrete(2), space).adapt(
        World(spaces.Discrete(2), space), bounds=(np.float32([-3.0, -4.0]), np.float32([3.0, 4.0]))
    )
    assert isinstance(env.action_space, spaces.Box)
    assert env.action_space.low.tolist() == [-3.0, -1.0] and env.action_space.high.tolist() == [2.0, 4.0]


def test_what_needs_no_change_is_not_wrapped() -> None:
    for action_space in (ACTION_SPACES["vector"], ACTION_SPACES["index"]):
        world = World(spaces.Box(-1.0, 1.0, (4,)), action_space)
        assert spaces_of(world.observation_space, action_space).adapt(world) is world


@pytest.mark.parametrize("name", ACTION_SPACES)
def test_they_are_the_same_after_a_journey_through_json(name: str) -> None:
    numbers = spaces_of(NESTED, ACTION_SPACES[name])
    assert Spaces.from_json(json.loads(json.dumps(numbers.to_json(), allow_nan=False))) == numbers


@pytest.mark.parametrize("damage", [{}, {"shape": [-1]}, {"shape": 3}, {"categories": [2, "a"]}, {"more": 1}])
def test_numbers_that_are_none_are_refused(damage: dict[str, Any]) -> None:
    values = spaces_of(NESTED, ACTION_SPACES["bits"]).to_json()
    values["actions"] = {**values["actions"], **damage} if damage else None
    with pytest.raises((KeyError, TypeError, ValueError)):
        Spaces.from_json(values)


@pytest.mark.parametrize(
    ("changes", "what", "theirs", "ours"),
    [
        ({"goal": spaces.Box(-1.0, 1.0, (3,))}, "'goal' among its observations", r"Box of shape \(3,\)", r"\(2,\)"),
        ({"gears": spaces.MultiDiscrete([2, 5])}, "'gears' among", r"\[2 5\]", r"categories of \[2, 4\]"),
        ({"goal": None}, "observations", "a Dict of 'gears', 'height'", "something with 'goal'"),
    ],
)
def test_an_environment_that_does_not_fit_is_described(changes: dict, what: str, theirs: str, ours: str) -> None:
    numbers = spaces_of(NESTED, ACTION_SPACES["vector"])
    changed = {name: space for name, space in {**NESTED.spaces, **changes}.items() if space is not None}
    difference = numbers.mismatch(World(spaces.Dict(changed), ACTION_SPACES["vector"]))
    assert difference is not None
    for part, pattern in zip(difference, (what, theirs, ours)):
        assert re.search(pattern, part), difference


def test_one_that_shows_more_than_is_learned_from_fits() -> None:
    numbers = Spaces(observations_of(NESTED, include=["goal"])[0], actions_of(ACTION_SPACES["bits"]))
    world = World(NESTED, ACTION_SPACES["bits"])
    assert numbers.mismatch(world) is None
    observation, _ = numbers.adapt(world).reset()
    assert observation.tolist() == world.shown[-1]["goal"].tolist()
    assert dataclasses.replace(numbers, actions=actions_of(spaces.MultiBinary(4))).mismatch(world) is not None


def test_a_picture_alone_is_refused_by_name_and_text_too() -> None:
    picture = spaces.Box(0, 255, (8, 8), np.uint8)
    with pytest.raises(DataError, match=r"'observation' is a picture, a Box of shape \(8, 8\).*use data of vectors"):
        observations_of(picture)
    both = spaces.Dict({"image": picture, "direction": spaces.Discrete(4)})
    observations, left_out = observations_of(both)
    assert (observations.names, left_out) == (tuple(f"direction={n}" for n in range(4)), ["image (a picture)"])
    assert observations_of(both, exclude=["image"])[1] == []
    with pytest.raises(DataError, match="'image' is a picture.*take it out of observations.include"):
        observations_of(both, include=["image", "direction"])
    with pytest.raises(DataError, match="not learned from"):
        observations_of(spaces.Text(4))
