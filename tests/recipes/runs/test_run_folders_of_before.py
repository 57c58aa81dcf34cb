"""Run folders that version 0.1.0 left, before its modules had rooms, go on to where that version would have ended.

``resumable/<algorithm>`` is a run stopped at its first checkpoint, ``finished.safetensors`` what the code of then made
of it. The data are noise from a seed, the same bits on every machine; products may round differently elsewhere.
"""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import minari
import numpy as np
import pytest
from minari.data_collector.episode_buffer import EpisodeBuffer
from safetensors import safe_open

RESUMABLE = Path(__file__).with_name("resumable")
ATOL = 1e-6  # other batches move a parameter by the learning rate, 3e-4


def write_noise(dataset_id: str, *, discrete: bool) -> None:
    """Six episodes of uniform noise in the spaces of CartPole-v1 or Pendulum-v1."""
    rng, episodes = np.random.default_rng(0), []
    ends = np.arange(25) == 24
    for _ in range(6):
        observations = rng.uniform(-1.0, 1.0, (26, 4 if discrete else 3)).astype(np.float32)
        actions = rng.integers(2, size=25) if discrete else rng.uniform(-2.0, 2.0, (25, 1)).astype(np.float32)
        rewards = rng.uniform(-8.0, 0.0, 25)
        episodes.append(EpisodeBuffer(None, None, None, observations, actions, rewards, ends & False, ends))
    env = gym.make("CartPole-v1" if discrete else "Pendulum-v1", max_episode_steps=25)
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that no author and no code is named
        minari.create_dataset_from_buffers(
            dataset_id, episodes, env=env.spec, **spaces, ref_min_score=-300.0, ref_max_score=-50.0
        )


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["metadata"])


@pytest.mark.parametrize("algorithm", ["iql", "bc_top", "dqn"])
def test_a_run_folder_of_before_is_resumed_to_where_it_would_have_ended(algorithm, train_as_is, tmp_path) -> None:
    shutil.copytree(RESUMABLE / algorithm, tmp_path / "run")
    store = str(tmp_path / "minari")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", store)
        write_noise("test/choices-v0" if algorithm == "dqn" else "test/noise-v0", discrete=algorithm == "dqn")
    done = train_as_is("resume=run", MINARI_DATASETS_PATH=store)
    assert done.code == 0, done.err
    (said,) = [line for line in done.err.splitlines() if "does not say" in line]  # what that version did not know
    assert "action_bounds=declared" in said and "trust_env" not in said
    expected, before = read(RESUMABLE / algorithm / "finished.safetensors")
    tensors, metadata = read(tmp_path / "run/checkpoints/last.safetensors")
    assert tensors.keys() == expected.keys()
    for name, value in expected.items():
        if name.startswith("generators/"):
            np.testing.assert_array_equal(tensors[name], value)
        np.testing.assert_allclose(tensors[name], value, rtol=1e-5, atol=ATOL, err_msg=name)
    assert metadata["num_updates"] == before["num_updates"] == 20
    for name in ("algorithm", "dataset", "dataset_fingerprint", "reference", "devices"):
        assert metadata["extra"][name] == before["extra"][name]
    columns = (tmp_path / "run/metrics.csv").read_text().splitlines()[0]
    assert columns.startswith(header(algorithm))  # statistics that it did not know come behind


def header(algorithm: str) -> str:
    return (RESUMABLE / algorithm / "metrics.csv").read_text().splitlines()[0]
