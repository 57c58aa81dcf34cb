"""The built-in datasets ``demo/{pen,hammer,door,relocate}/{expert,mixed}-v0``, for machines without a network.

Each is made on first use by rolling out small policies that ship with the package, and is an ordinary Minari dataset in
the local store afterwards. ``expert`` is one good policy with its own Gaussian noise; ``mixed`` is a share of that and,
for the rest, an early stage of the same policy's training, so that an offline method has to tell good from bad.
``agents/policies/README.md`` says where the policies come from.

Shapes: ``O`` observation, ``A`` action.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from tqdm import tqdm

from agents.environments.adroit import ADROIT_TASKS
from agents.environments.environment import EvaluationEnv
from agents.environments.recording import Episode, record, record_all
from agents.errors import DataError

NAMESPACE = "demo"
KINDS = ("expert", "mixed")
NUM_EPISODES = 200
FIRST_SEED = 1_000_000  # evaluations count from 0: no initial state of the data is ever evaluated on
POLICIES = Path(__file__).parent / "policies"


@dataclass(frozen=True)
class BundledPolicy:
    """A tanh perceptron on scaled observations, its mean squashed into [-1, 1], plus Gaussian noise on every action."""

    mean: NDArray[np.float32]  # [O], subtracted from the observation
    scale: NDArray[np.float32]  # [O], multiplied with the difference
    weights: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]
    noise_std: NDArray[np.float32]  # [A]

    def __call__(self, observation: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float32]:
        """``[O] -> [A]``, clipped to [-1, 1]."""
        hidden = (observation.astype(np.float32) - self.mean) * self.scale
        for weight, bias in zip(self.weights[:-1], self.biases[:-1]):
            hidden = np.tanh(weight @ hidden + bias)
        mean = np.tanh(self.weights[-1] @ hidden + self.biases[-1])
        noise = rng.standard_normal(mean.shape).astype(np.float32)
        return np.clip(mean + self.noise_std * noise, -1.0, 1.0)


@dataclass(frozen=True)
class Bundle:
    """The parts that ship for one task: two policies, the expert's share in ``mixed``, and the reference returns."""

    expert: BundledPolicy
    weak: BundledPolicy
    expert_share: float  # of the episodes of mixed, in (0, 1)
    ref_min_score: float  # mean return of a random policy
    ref_max_score: float  # mean return of the expert without noise


def dataset_ids() -> list[str]:
    return [f"{NAMESPACE}/{task}/{kind}-v0" for task in ADROIT_TASKS for kind in KINDS]


@functools.lru_cache
def load_bundle(task: str) -> Bundle:
    """The policies of a task, from the package."""
    with safe_open(POLICIES / f"{task}.safetensors", framework="numpy") as file:
        facts = json.loads(file.metadata()["facts"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}

    def policy(name: str) -> BundledPolicy:
        layers = range(sum(key.startswith(f"{name}/weight") for key in tensors))
        weights, biases = (tuple(tensors[f"{name}/{kind}{i}"] for i in layers) for kind in ("weight", "bias"))
        return BundledPolicy(tensors[f"{name}/mean"], tensors[f"{name}/scale"], weights, biases, tensors["noise_std"])

    return Bundle(policy("expert"), policy("weak"), **facts)


def make(dataset_id: str, *, progress: bool = True) -> None:
    """Make a built-in dataset in the local store, with a bar on a terminal; it appears there whole or not at all."""
    if dataset_id not in dataset_ids():
        raise DataError(f"no built-in dataset {dataset_id!r}; there are {', '.join(dataset_ids())}")
    _, task, kind = dataset_id.removesuffix("-v0").split("/")
    bundle = load_bundle(task)
    num_expert = NUM_EPISODES if kind == "expert" else round(bundle.expert_share * NUM_EPISODES)
    policies = [bundle.expert] * num_expert + [bundle.weak] * (NUM_EPISODES - num_expert)
    env = EvaluationEnv(ADROIT_TASKS[task].env_id, num_envs=os.cpu_count() or 1)
    try:
        with (
            _destination(dataset_id) as staging,
            env,
            tqdm(total=NUM_EPISODES, desc=f"making {dataset_id}", unit="episode", disable=not progress or None) as bar,
        ):
            _write(staging, dataset_id, _record(env, policies, bar.update), env, bundle)
    except OSError as error:
        advice = "free some space or set MINARI_DATASETS_PATH"
        raise DataError(f"could not write {dataset_id}: {error}; {advice}") from error


def _record(env: EvaluationEnv, policies: list[BundledPolicy], report: Callable[[], object]) -> list[Episode]:
    """One whole episode per policy in the list, several at a time; episode ``i`` is seeded by ``i`` alone."""

    def run(gym_env: gym.Env, index: int, on_state: Callable[[], None]) -> Episode:
        def act(observation: NDArray[np.float64], _: float | None, rng: np.random.Generator) -> NDArray[np.float32]:
            return policies[index](observation, rng)

        seed = FIRST_SEED + index
        episode = record(gym_env, act, np.random.default_rng(seed), seed=seed, index=index, on_state=on_state)
        report()
        return episode

    with env.borrow(env.num_envs) as gym_envs:
        return record_all(gym_envs, len(policies), run)


@contextlib.contextmanager
def _destination(dataset_id: str) -> Iterator[Path]:
    """A hidden folder of the store to fill, since Minari writes in place; after the block, it becomes the dataset."""
    from minari.storage.datasets_root_dir import get_dataset_path

    destination = get_dataset_path(dataset_id)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=get_dataset_path()) as hidden:  # Minari overlooks such
        staging = Path(hidden, "dataset")
        staging.mkdir()
        yield staging
        destination.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(staging, destination)
        except OSError:
            if not (destination / "data").is_dir():  # else another process was faster: its dataset is the same
                raise


def _write(folder: Path, dataset_id: str, episodes: list[Episode], env: EvaluationEnv, bundle: Bundle) -> None:
    """Through Minari's storage: its ``create_dataset_from_buffers`` writes only where an environment variable says."""
    import minari
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    num_bytes = sum(episode.observations.nbytes + episode.actions.nbytes for episode in episodes)
    if shutil.disk_usage(folder).free < 1.2 * num_bytes + 1e6:  # HDF5 would crash the process on a full disk
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with env.borrow(1) as (gym_env,):
        storage = MinariStorage.new(folder / "data", gym_env.observation_space, gym_env.action_space, env_spec=env.spec)
    storage.update_metadata(
        {
            "dataset_id": dataset_id,
            "minari_version": minari.__version__,
            "algorithm_name": "behaviour cloning of the DAPG expert",
            "description": f"{env.spec.id}, made by offline-agents from its bundled policies",
            "ref_min_score": bundle.ref_min_score,
            "ref_max_score": bundle.ref_max_score,
            "num_episodes_average_score": 100,
        }
    )
    buffers = []
    for index, episode in enumerate(episodes):
        last = np.arange(len(episode.rewards)) == len(episode.rewards) - 1
        arrays: dict[str, Any] = {  # which EpisodeBuffer takes, though its annotations have lists
            "observations": episode.observations,
            "actions": episode.actions,
            "rewards": episode.rewards,
            "terminations": last & episode.terminated,
            "truncations": last & episode.truncated,
        }
        buffers.append(EpisodeBuffer(seed=FIRST_SEED + index, **arrays, infos={"success": episode.success}))
    storage.update_episodes(buffers)
