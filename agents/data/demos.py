"""The built-in datasets ``demo/{pen,hammer,door,relocate}/{expert,mixed}-v1``, for machines without a network.

Each is made on first use by rolling out small policies that ship with the package, and is an ordinary Minari dataset in
the local store afterwards. ``expert`` is one good policy with its own Gaussian noise; ``mixed`` is a share of that and,
for the rest, an early stage of the same policy's training, so that an offline method has to tell good from bad.
``agents/data/policies/README.md`` says where the policies come from.

They are the same on every x86-64 machine, though simulated contacts make a last bit into another episode within
seconds: the policies compute by single additions, multiplications and divisions, which IEEE 754 defines to the bit, in
an order that no BLAS and no vector unit chooses; and whatever passes through other code (the environments' norms and
angles, the tail of the Gaussian) is rounded to a grid that is ten digits coarser than a last bit. What is left is the
simulator and the C library's sine, the same on all machines with fused multiply-add (x86-64-v3). Version 0 of the
datasets left the sums to BLAS, and differed between processors.

Shapes: ``O`` observation, ``A`` action, ``I`` and ``H`` inputs and outputs of a layer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import os
import shutil
import tempfile
import warnings
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
from agents.files import remove_leftovers

NUM_EPISODES = 200
FIRST_SEED = 1_000_000  # evaluations count from 0: no initial state of the data is ever evaluated on
POLICIES = Path(__file__).parent / "policies"
DIGESTS = {  # of what is recorded, by dataset
    "demo/pen/expert-v1": "d6fb61f175dff068",
    "demo/pen/mixed-v1": "2e32b36a8a137df5",
    "demo/hammer/expert-v1": "44b3fe5705205602",
    "demo/hammer/mixed-v1": "5b1cc9dee5c77ee0",
    "demo/door/expert-v1": "7ced5023465db912",
    "demo/door/mixed-v1": "3fc6f696a1cb4e00",
    "demo/relocate/expert-v1": "76580ae76b9f4df4",
    "demo/relocate/mixed-v1": "b763c3c5ecbd655f",
}


def on_grid(array: NDArray[Any]) -> NDArray[np.float64]:
    """Rounded to multiples of 2^-20, which float32 holds exactly up to 16."""
    return np.round(np.asarray(array, np.float64) * 2.0**20) / 2.0**20


@dataclass(frozen=True)
class BundledPolicy:
    """A tanh perceptron on scaled observations, its mean squashed into [-1, 1], plus Gaussian noise on every action."""

    mean: NDArray[np.float64]  # [O], subtracted from the observation
    scale: NDArray[np.float64]  # [O], multiplied with the difference
    weights: tuple[NDArray[np.float64], ...]  # each [I, H]
    biases: tuple[NDArray[np.float64], ...]  # each [H]
    noise_std: NDArray[np.float64]  # [A]

    def __call__(self, observation: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float32]:
        """``[O] -> [A]``, on the grid and clipped to [-1, 1]."""
        hidden = (on_grid(observation) - self.mean) * self.scale
        for weight, bias in zip(self.weights, self.biases):
            hidden = tanh(weighted_sum(weight, hidden) + bias)
        noise = rng.standard_normal(hidden.shape)
        return np.clip(on_grid(hidden + self.noise_std * noise), -1.0, 1.0).astype(np.float32)


def weighted_sum(weight: NDArray[np.float64], inputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """``[I, H], [I] -> [H]``, a product with a matrix that adds up its inputs one after the other."""
    return np.add.accumulate(weight * inputs[:, None], axis=0)[-1]


def tanh(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The hyperbolic tangent to 14 digits, by operations that IEEE 754 defines to the bit.

    A continued fraction (Lambert 1770) at an eighth of the argument, which is then doubled three times.
    """
    x = np.clip(x, -20.0, 20.0) / 8.0
    square = x * x
    value = np.full_like(x, 15.0)
    for odd in (13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0):
        value = odd + square / value
    value = x / value
    for _ in range(3):
        value = 2.0 * value / (1.0 + value * value)
    return value


@dataclass(frozen=True)
class Bundle:
    """The parts that ship for one task: two policies, the expert's share in ``mixed``, and the reference returns."""

    expert: BundledPolicy
    weak: BundledPolicy
    expert_share: float  # of the episodes of mixed, in (0, 1)
    ref_min_score: float  # mean return of a random policy
    ref_max_score: float  # mean return of the expert without noise


def dataset_ids() -> list[str]:
    return [*DIGESTS]


@functools.lru_cache
def load_bundle(task: str) -> Bundle:
    """The policies of a task, from the package."""
    with safe_open(POLICIES / f"{task}.safetensors", framework="numpy") as file:
        facts = json.loads(file.metadata()["facts"])
        tensors = {name: file.get_tensor(name).astype(np.float64) for name in file.keys()}

    def policy(name: str) -> BundledPolicy:
        layers = range(sum(key.startswith(f"{name}/weight") for key in tensors))
        weights = tuple(np.ascontiguousarray(tensors[f"{name}/weight{i}"].T) for i in layers)
        biases = tuple(tensors[f"{name}/bias{i}"] for i in layers)
        return BundledPolicy(tensors[f"{name}/mean"], tensors[f"{name}/scale"], weights, biases, tensors["noise_std"])

    return Bundle(policy("expert"), policy("weak"), **facts)


def make(dataset_id: str, *, progress: bool = True) -> None:
    """Make a built-in dataset in the local store, with a bar on a terminal; it appears there whole or not at all."""
    if dataset_id not in dataset_ids():
        raise DataError(f"no built-in dataset {dataset_id!r}; there are {', '.join(dataset_ids())}")
    _, task, kind = dataset_id.removesuffix("-v1").split("/")
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
            episodes = _record(env, policies, bar.update)
            _write(staging, dataset_id, episodes, env, bundle)
    except OSError as error:
        advice = "free some space or set MINARI_DATASETS_PATH"
        raise DataError(f"could not write {dataset_id}: {error}; {advice}") from error
    if digest(episodes) != DIGESTS[dataset_id]:
        warnings.warn(
            f"{dataset_id} came out other than where its figures were made (a processor without fused multiply-add, "
            "another C library, mujoco or gymnasium-robotics): scores on it are not to be compared with those",
            stacklevel=2,
        )


def digest(episodes: list[Episode]) -> str:
    """A hexadecimal digest of all that was recorded."""
    sums = hashlib.sha256()
    for episode in episodes:
        for array in (episode.observations, episode.actions, episode.rewards, episode.success):
            sums.update(np.ascontiguousarray(array).tobytes())
    return sums.hexdigest()[:16]


def _record(env: EvaluationEnv, policies: list[BundledPolicy], report: Callable[[], object]) -> list[Episode]:
    """One whole episode per policy in the list, several at a time; episode ``i`` is seeded by ``i`` alone.

    A policy acts on the observations as they are recorded, on the grid.
    """

    def run(gym_env: gym.Env, index: int, on_state: Callable[[], None]) -> Episode:
        def act(observation: NDArray[np.float64], _: float | None, rng: np.random.Generator) -> NDArray[np.float32]:
            return policies[index](observation, rng)

        seed = FIRST_SEED + index
        episode = record(gym_env, act, np.random.default_rng(seed), seed=seed, index=index, on_state=on_state)
        report()
        observations, rewards = on_grid(episode.observations), on_grid(episode.rewards)
        return dataclasses.replace(episode, observations=observations, rewards=rewards)

    with env.borrow(env.num_envs) as gym_envs:
        return record_all(gym_envs, len(policies), run)


@contextlib.contextmanager
def _destination(dataset_id: str) -> Iterator[Path]:
    """A hidden folder of the store to fill, since Minari writes in place; after the block, it becomes the dataset."""
    from minari.storage.datasets_root_dir import get_dataset_path

    destination = get_dataset_path(dataset_id)
    making = Path(get_dataset_path(), "making")
    remove_leftovers(making)
    # Minari overlooks such folders
    with tempfile.TemporaryDirectory(prefix=".making.", suffix=f".{os.getpid()}.tmp", dir=making.parent) as hidden:
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
