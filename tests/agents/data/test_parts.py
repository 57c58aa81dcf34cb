"""Datasets whose observations have parts, and whose actions are of every kind, through file, rows, batch and file."""

from __future__ import annotations

import hashlib
from typing import Any

import gymnasium as gym
import h5py
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torchrl.data import Categorical, MultiCategorical

from agents.data.layout import DEFAULT_KEYS, END_KEYS, NEXT_ACTION
from agents.errors import ConfigError
from tests.agents.handmade import DATASET, create, load, refusal, stacked

pytestmark = pytest.mark.usefixtures("root")

SPACE = spaces.Dict(
    {
        "achieved_goal": spaces.Box(-9.0, 9.0, (2,), np.float64),
        "cell": spaces.Discrete(4, start=1),
        "memory": spaces.Tuple([spaces.MultiBinary(2), spaces.Box(-9.0, 9.0, (), np.float32)]),
        "modes": spaces.MultiDiscrete([2, 3]),
    }
)
GEARS = spaces.MultiDiscrete([2, 3])
LENGTHS = (3, 1, 4)


def episodes(action_space: gym.Space = GEARS, space: gym.Space = SPACE) -> list[dict[str, Any]]:
    space.seed(3), action_space.seed(4)
    made = []
    for index, length in enumerate(LENGTHS):
        ends = np.arange(length) == length - 1
        arrays = {"rewards": np.arange(length) + 10.0 * index, "terminations": ends & (index == 0)}
        arrays["observations"] = stacked(space, [space.sample() for _ in range(length + 1)])
        arrays["actions"] = np.array([action_space.sample() for _ in range(length)])
        made.append({**arrays, "truncations": ends & (index != 0)})
    return made


def vectors(space: gym.Space, observations: Any) -> np.ndarray:
    """``[T + 1, O]``, by gymnasium's own flattening."""
    rows = range(len(next(iter(leaves(observations)))))
    return np.array([gym.spaces.flatten(space, at(observations, row)) for row in rows], np.float32)


def leaves(values: Any) -> Any:
    inner = values.values() if isinstance(values, dict) else values if isinstance(values, tuple) else None
    if inner is None:
        yield values
    else:
        for value in inner:
            yield from leaves(value)


def at(values: Any, row: int) -> Any:
    if isinstance(values, dict):
        return {name: at(value, row) for name, value in values.items()}
    return tuple(at(value, row) for value in values) if isinstance(values, tuple) else values[row]


def whole(keys: tuple = DEFAULT_KEYS + END_KEYS, **options: Any) -> Any:
    return load(**options).replay_buffer(1, keys=keys)[:]


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet"])
@pytest.mark.parametrize("storage", ["memory", "memmap"])
def test_a_batch_has_the_flattened_observations_of_the_episodes(data_format: str, storage: str) -> None:
    made = episodes()
    create(*made, observation_space=SPACE, action_space=GEARS, data_format=data_format)
    batch = whole(storage=storage)
    expected = [vectors(SPACE, episode["observations"]) for episode in made]
    np.testing.assert_array_equal(batch["observation"], np.concatenate([rows[:-1] for rows in expected]))
    np.testing.assert_array_equal(batch["next", "observation"], np.concatenate([rows[1:] for rows in expected]))
    np.testing.assert_array_equal(batch["action"], np.concatenate([episode["actions"] for episode in made]))
    assert batch["action"].dtype == torch.int64
    assert batch["next", "reward"].flatten().tolist() == [0, 1, 2, 10, 20, 21, 22, 23]
    assert batch["next", "terminated"].flatten().nonzero().flatten().tolist() == [2]
    assert batch["next", "truncated"].flatten().nonzero().flatten().tolist() == [3, 7]


@pytest.mark.parametrize("data_format", ["hdf5", "arrow", "parquet"])
def test_matrices_are_read_from_every_format(data_format: str) -> None:
    space, action_space = spaces.Dict({"board": spaces.MultiBinary((2, 3))}), spaces.Box(-1.0, 1.0, (2, 2))
    made = episodes(action_space, space)
    create(*made, observation_space=space, action_space=action_space, data_format=data_format)
    boards = [episode["observations"]["board"][:-1].reshape(-1, 6) for episode in made]
    np.testing.assert_array_equal(whole()["observation"], np.concatenate(boards))
    actions = [episode["actions"].reshape(-1, 4) for episode in made]
    np.testing.assert_array_equal(whole()["action"], np.concatenate(actions))


def test_rows_hold_no_observation_twice_and_categories_as_indices() -> None:
    create(*episodes(), observation_space=SPACE, action_space=GEARS)
    dataset = load()
    assert dataset.rows.shape == (sum(LENGTHS) + len(LENGTHS), 8 + 2 + 2) and len(dataset) == sum(LENGTHS)
    assert len(dataset.specs.observation_names) == dataset.specs.observation.shape[-1] == 2 + 4 + 2 + 1 + 2 + 3


def test_one_hots_are_never_scaled_and_the_rest_as_ever() -> None:
    create(*episodes(), observation_space=SPACE, action_space=GEARS)
    specs, observation = load().specs, whole()["observation"]
    mean, std = observation.mean(0), observation.std(0, unbiased=False)
    one_hot = torch.tensor(["=" in name for name in specs.observation_names])
    assert one_hot.sum() == 4 + 2 + 3
    torch.testing.assert_close(specs.observation_mean, torch.where(one_hot, 0.0, mean))
    torch.testing.assert_close(specs.observation_std, torch.where(one_hot, 1.0, std))


def test_windows_and_next_actions_are_the_same_as_of_vectors() -> None:
    made = episodes()
    create(*made, observation_space=SPACE, action_space=GEARS)
    windows = load().replay_buffer(1, context_length=3, keys=("observation", "action", "mask", "return_to_go"))[:]
    steps = whole(keys=("observation", "action"))
    assert windows["mask"].sum(1).tolist() == [3, 2, 1, 1, 3, 3, 2, 1]
    torch.testing.assert_close(windows["observation"][4], steps["observation"][4:7])
    assert windows["return_to_go"][:, 0, 0].tolist() == [3, 3, 2, 10, 86, 66, 45, 23]
    following = whole(keys=("action", NEXT_ACTION))
    actions = np.concatenate([episode["actions"] for episode in made])
    # steps 3 and 7 were cut off; the last of the first episode terminated: what it has there means nothing
    assert following["next", "action"].tolist() == actions[[1, 2, 2, 5, 6, 7]].tolist()


@pytest.mark.parametrize(
    ("space", "spec", "low"),
    [
        (spaces.Discrete(3, start=-1), Categorical(3), -1),
        (spaces.MultiBinary(2), MultiCategorical(torch.tensor([2, 2])), 0),
        (spaces.MultiDiscrete([2, 3], start=[4, 5]), MultiCategorical(torch.tensor([2, 3])), [4, 5]),
    ],
)
def test_discrete_actions_count_from_zero(space: gym.Space, spec: Any, low: Any) -> None:
    made = episodes(space)
    create(*made, observation_space=SPACE, action_space=space)
    assert load().specs.action == spec and load().specs.discrete
    actions = np.concatenate([episode["actions"] for episode in made]) - np.array(low)
    assert whole()["action"].tolist() == actions.tolist()


@pytest.mark.parametrize("space", [spaces.Box(0, 9, (2,), np.int64), spaces.Box(-1.0, 1.0, (2, 2), np.float64)])
def test_a_box_of_any_type_and_shape_becomes_a_vector(space: spaces.Box) -> None:
    made = episodes(space)
    create(*made, observation_space=SPACE, action_space=space)
    actions = np.concatenate([episode["actions"] for episode in made]).reshape(sum(LENGTHS), -1)
    np.testing.assert_array_equal(whole()["action"], actions.astype(np.float32))
    assert load().specs.action.space.low.tolist() == space.low.astype(np.float32).flatten().tolist()


def test_chosen_parts_are_data_of_their_own() -> None:
    create(*episodes(), observation_space=SPACE, action_space=GEARS)
    every, some = load(), load(include=["cell", "memory"], exclude=["memory.0"])
    assert some.specs.observation_names == ("cell=1", "cell=2", "cell=3", "cell=4", "memory.1")
    assert some.fingerprint != every.fingerprint == load().fingerprint
    torch.testing.assert_close(whole(exclude=["achieved_goal"])["observation"], whole()["observation"][:, 2:])
    goal, bits = (whole(include=[part])["observation"] for part in ("achieved_goal", "memory.0"))  # equally wide
    torch.testing.assert_close(torch.cat([goal, bits], -1), whole()["observation"][:, [0, 1, 6, 7]])
    with pytest.raises(
        ConfigError, match=f"'{DATASET}': observations.include: the data have no part 'goal'; there are"
    ):
        load(include=["goal"])


def test_text_is_left_out_and_said() -> None:
    space = spaces.Dict({"height": spaces.Box(0.0, 1.0, (1,)), "mission": spaces.Text(5)})
    made = episodes(spaces.Discrete(2), space)
    create(*made, observation_space=space, action_space=spaces.Discrete(2))
    with pytest.warns(UserWarning, match=rf"'{DATASET}': left out of training: mission \(no number\) of its"):
        assert load().specs.observation_names == ("height.0",)


def test_keys_that_change_between_episodes_are_named() -> None:
    path = create(*episodes(), observation_space=SPACE, action_space=GEARS)
    with h5py.File(path / "main_data.hdf5", "a") as file:
        file.move("episode_1/observations/cell", "episode_1/observations/room")
    message = refusal()
    assert "episode 1: its observations have no 'cell'" in message and "equal keys in all episodes" in message


@pytest.mark.parametrize(("value", "says"), [(0, "category -1 of 4"), (5, "category 4 of 4")])
def test_a_category_that_the_space_has_not_is_named(value: int, says: str) -> None:
    path = create(*episodes(), observation_space=SPACE, action_space=GEARS)
    with h5py.File(path / "main_data.hdf5", "a") as file:
        cells = file["episode_2/observations/cell"]
        assert isinstance(cells, h5py.Dataset)
        cells[3] = value
    assert f"episode 2: 'cell' is {says}, counted from 0, at step 3" in refusal()


@pytest.mark.parametrize("bounds", [(-2.0, 3.0), ([-2.0, -1.0], [3.0, 4.0])])
def test_bounds_of_one_s_own(bounds: Any) -> None:
    space = spaces.Box(-1.0, 1.0, (2,))
    create(*episodes(space), observation_space=SPACE, action_space=space)
    found = load(action_bounds=bounds).specs.action.space
    assert found.low.tolist() == np.broadcast_to(bounds[0], 2).tolist()
    assert found.high.tolist() == np.broadcast_to(bounds[1], 2).tolist()


@pytest.mark.parametrize("bounds", [(1.0, -1.0), (1.0,), ("a", 1.0), ([1.0] * 3, 2.0), "own", 3.0])
def test_bounds_that_are_none_are_refused(bounds: Any) -> None:
    space = spaces.Box(-1.0, 1.0, (2,))
    create(*episodes(space), observation_space=SPACE, action_space=space)
    with pytest.raises(ConfigError, match="action_bounds"):
        load(action_bounds=bounds)


def test_data_that_leave_bounds_of_one_s_own_are_refused_or_clipped() -> None:
    space = spaces.Box(-1.0, 1.0, (2,))
    create(*episodes(space), observation_space=SPACE, action_space=space)
    assert "outside [-0.5, 0.5]" in refusal(action_bounds=(-0.5, 0.5))
    assert whole(action_bounds=(-0.5, 0.5), clip_actions=True)["action"].abs().max() == 0.5
    assert whole()["action"].abs().max() > 0.5  # another cache


def test_the_fingerprint_of_vectors_is_what_it_always_was() -> None:
    """So runs of earlier versions resume: rows with their next observation, and the layout's text of then."""
    space = spaces.Box(-9.0, 9.0, (2,), np.float64)
    made = episodes(spaces.Discrete(2), space)
    create(*made, observation_space=space, action_space=spaces.Discrete(2))
    digest = hashlib.blake2b(b"Layout(observation=2, action=1, discrete=True)", digest_size=16)
    for episode in made:
        observations, columns = episode["observations"], ("actions", "rewards", "terminations")
        action, reward, terminated = (np.reshape(episode[name], (-1, 1)) for name in columns)
        rows = np.concatenate([observations[:-1], action, observations[1:], reward, terminated], axis=1)
        digest.update(rows.astype(np.float32).tobytes())
    assert load().fingerprint == digest.hexdigest()
