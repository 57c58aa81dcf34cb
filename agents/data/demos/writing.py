"""The episodes of a built-in dataset as Minari's files.

Shapes: ``T`` steps of an episode, ``O`` observation.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from agents.data.demos.demo import FIRST_SEED, Demo
from agents.environments.recording import Episode


def write(folder: Path, dataset_id: str, demo: Demo, episodes: list[Episode]) -> None:
    """Through Minari's storage: its ``create_dataset_from_buffers`` writes only where an environment variable says."""
    import minari
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    num_bytes = sum(episode.observations.nbytes + episode.actions.nbytes for episode in episodes)
    if shutil.disk_usage(folder).free < 1.2 * num_bytes + 1e6:  # HDF5 would crash the process on a full disk
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with demo.env.borrow(1) as (gym_env,):
        observations, actions = gym_env.observation_space, gym_env.action_space
    storage = MinariStorage.new(folder / "data", observations, actions, env_spec=demo.env.spec)
    metadata = {
        "dataset_id": dataset_id,
        "minari_version": minari.__version__,
        "algorithm_name": demo.algorithm,
        "description": demo.description,
        "ref_min_score": demo.reference.min,
        "ref_max_score": demo.reference.max,
        "num_episodes_average_score": 100,
    }
    if demo.eval_spec is not None:
        metadata["eval_env_spec"] = demo.eval_spec.to_json()
    storage.update_metadata(metadata)
    buffers = []
    for index, episode in enumerate(episodes):
        last = np.arange(len(episode.rewards)) == len(episode.rewards) - 1
        arrays: dict[str, Any] = {  # which EpisodeBuffer takes, though its annotations have lists
            "observations": _parts(observations, episode.observations),
            "actions": episode.actions,
            "rewards": episode.rewards,
            "terminations": last & episode.terminated,
            "truncations": last & episode.truncated,
        }
        infos = None if episode.success is None else {"success": episode.success}
        buffers.append(EpisodeBuffer(seed=FIRST_SEED + index, **arrays, infos=infos))
    storage.update_episodes(buffers)


def _parts(space: gym.Space, observations: NDArray[Any]) -> Any:
    """Observations ``[T + 1, O]`` as the space has them: vectors of a Dict lie side by side while they are recorded."""
    if not isinstance(space, gym.spaces.Dict):
        return observations
    ends = np.cumsum([gym.spaces.flatdim(part) for part in space.values()])
    return dict(zip(space, np.split(observations, ends[:-1], axis=1)))
