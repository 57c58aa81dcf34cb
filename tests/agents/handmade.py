"""Hand-made Minari datasets, whole and damaged, and the transitions that they should become.

Shapes: ``T`` steps of an episode, ``O`` observation, ``A`` action, ``N`` steps of the dataset.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import minari
import numpy as np
import pytest
import torch
from minari.data_collector.episode_buffer import EpisodeBuffer

from agents.data.dataset import OfflineDataset
from agents.data.layout import DEFAULT_KEYS, END_KEYS
from agents.data.loading import load_dataset
from agents.errors import DataError

NUM_OBSERVATIONS, NUM_ACTIONS = 3, 2
OBSERVATION_SPACE = gym.spaces.Box(-np.inf, np.inf, (NUM_OBSERVATIONS,), np.float64)
ACTION_SPACE = gym.spaces.Box(np.float32([-1.0, 0.0]), np.float32([1.0, 4.0]))
DATASET = "test/hand-v0"


def episode(num_steps: int, *, seed: int = 0, terminated: bool = False, truncated: bool = False, **other: Any) -> dict:
    """Random values; observation ``t`` of episode ``seed`` has ``1000 * seed + t`` in its first column."""
    rng = np.random.default_rng(seed)
    observations = rng.standard_normal((num_steps + 1, NUM_OBSERVATIONS))
    observations[:, 0] = 1000 * seed + np.arange(num_steps + 1)
    ends = np.arange(num_steps) == num_steps - 1
    arrays = {
        "observations": observations,
        "actions": rng.uniform(ACTION_SPACE.low, ACTION_SPACE.high, (num_steps, NUM_ACTIONS)).astype(np.float32),
        "rewards": rng.standard_normal(num_steps),
        "terminations": ends & terminated,
        "truncations": ends & truncated,
    }
    return {**arrays, **other}


def create(*episodes: dict, dataset_id: str = DATASET, **options: Any) -> Path:
    """Write a dataset with Minari and return its data folder."""
    options = {"observation_space": OBSERVATION_SPACE, "action_space": ACTION_SPACE, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(dataset_id, [EpisodeBuffer(**arrays) for arrays in episodes], **options)
    return Path(os.environ["MINARI_DATASETS_PATH"], dataset_id, "data")


def stacked(space: gym.Space, samples: list[Any]) -> Any:
    """Samples in the form of Minari's buffers: arrays at the leaves."""
    if isinstance(space, gym.spaces.Dict):
        return {name: stacked(part, [sample[name] for sample in samples]) for name, part in space.spaces.items()}
    if isinstance(space, gym.spaces.Tuple):
        return tuple(stacked(part, [sample[i] for sample in samples]) for i, part in enumerate(space.spaces))
    return samples if isinstance(space, gym.spaces.Text) else np.array(samples)


def load(dataset_id: str = DATASET, **options: Any) -> OfflineDataset:
    return load_dataset(dataset_id, progress=False, **options)


def refusal(dataset_id: str = DATASET, **options: Any) -> str:
    """The message of the DataError that loading ends in: one line that names the dataset."""
    with pytest.raises(DataError) as caught:
        load(dataset_id, **options)
    message = str(caught.value)
    assert repr(dataset_id) in message
    assert "\n" not in message
    return message


def edit_metadata(path: Path, **changes: Any) -> None:
    """Change entries of metadata.json; None removes one."""
    metadata = {**json.loads((path / "metadata.json").read_text()), **changes}
    (path / "metadata.json").write_text(
        json.dumps({key: value for key, value in metadata.items() if value is not None})
    )


def edit_episode(path: Path, index: int, **arrays: Any) -> None:
    """Replace arrays of an episode by others of any shape; None removes one."""
    with h5py.File(path / "main_data.hdf5", "a") as file:
        for name, array in arrays.items():
            del file[f"episode_{index}"][name]
            if array is not None:
                file[f"episode_{index}"][name] = array


def caches(root: Path) -> list[str]:
    """What conversions have left of the dataset, whole or not."""
    home = root / ".offline_agents" / DATASET.replace("/", "--")
    return sorted(path.name for path in home.iterdir() if path.is_dir()) if home.exists() else []


def whole(dataset: OfflineDataset) -> dict[Any, torch.Tensor]:
    """Every transition in order, through the replay buffer."""
    return dataset.replay_buffer(1, keys=DEFAULT_KEYS + END_KEYS)[:].flatten_keys(".").to_dict()


ENDS = [
    episode(4, seed=1, terminated=True),
    episode(3, seed=2, truncated=True),
    episode(5, seed=3, terminated=True, truncated=True),
    episode(2, seed=4),  # neither: the recording just stops
    episode(1, seed=5, terminated=True),
    episode(1, seed=6, truncated=True),
]


def expected(episodes: list[dict]) -> dict[str, np.ndarray]:
    """The transitions of the definition, written out step by step."""
    rows: dict[str, list] = {}
    for arrays in episodes:
        for t in range(len(arrays["rewards"])):
            last = t == len(arrays["rewards"]) - 1
            step = {
                "observation": arrays["observations"][t],
                "action": np.atleast_1d(arrays["actions"][t]),
                "next.observation": arrays["observations"][t + 1],
                "next.reward": [arrays["rewards"][t]],
                "next.terminated": [arrays["terminations"][t]],
                "next.done": [last],
                "next.truncated": [last and not arrays["terminations"][t]],
            }
            for key, value in step.items():
                rows.setdefault(key, []).append(value)
    return {key: np.array(values) for key, values in rows.items()}


def assert_transitions(dataset: OfflineDataset, episodes: list[dict]) -> None:
    for key, values in expected(episodes).items():
        found = whole(dataset)[key]
        assert found.dtype == (torch.bool if values.dtype == bool else torch.float32)
        np.testing.assert_array_equal(found.numpy(), values.astype(found.numpy().dtype), err_msg=key)


def adroit_env_spec(env_id: str = "AdroitHandPen-v1") -> str:
    entry_point = "gymnasium_robotics.envs.adroit_hand.adroit_pen:AdroitHandPenEnv"
    return gym.envs.registration.EnvSpec(env_id, entry_point, max_episode_steps=200, kwargs={}).to_json()
