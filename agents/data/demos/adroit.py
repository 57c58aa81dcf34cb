"""``demo/{pen,hammer,door,relocate}/{expert,mixed}-v1``: rollouts of small policies that ship with the package.

``expert`` is one good policy with its own Gaussian noise; ``mixed`` is a share of that and, for the rest, an early
stage of the same policy's training, so that an offline method has to tell good from bad.
``agents/data/policies/README.md`` says where the policies come from.

They are the same on every x86-64 machine, though simulated contacts make a last bit into another episode within
seconds: the policies compute by the operations of ``arithmetic``, and whatever passes through other code (the
environments' norms and angles, the tail of the Gaussian) is rounded to its grid. What is left is the simulator and the
C library's sine, the same on all machines with fused multiply-add (x86-64-v3). Version 0 of the datasets left the sums
to BLAS, and differed between processors.

Shapes: ``O`` observation, ``A`` action, ``I`` and ``H`` inputs and outputs of a layer.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from agents.cores import usable_cores
from agents.data.demos.arithmetic import on_grid, tanh, weighted_sum
from agents.data.demos.demo import FIRST_SEED, Demo
from agents.environments.adroit import ADROIT_TASKS
from agents.environments.environment import EvaluationEnv
from agents.environments.recording import Episode, record, record_all
from agents.environments.scoring import Reference

KINDS = ("expert", "mixed")
NUM_EPISODES = 200
POLICIES = Path(__file__).parents[1] / "policies"


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


@dataclass(frozen=True)
class Bundle:
    """The parts that ship for one task: two policies, the expert's share in ``mixed``, and the reference returns."""

    expert: BundledPolicy
    weak: BundledPolicy
    expert_share: float  # of the episodes of mixed, in (0, 1)
    ref_min_score: float  # mean return of a random policy
    ref_max_score: float  # mean return of the expert without noise


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


def demo(task: str, kind: str) -> Demo:
    """The dataset of a task, ``expert`` or ``mixed``."""
    bundle = load_bundle(task)
    num_expert = NUM_EPISODES if kind == "expert" else round(bundle.expert_share * NUM_EPISODES)
    env = EvaluationEnv(ADROIT_TASKS[task].env_id, num_envs=usable_cores())
    return Demo(
        env=env,
        num_episodes=NUM_EPISODES,
        record=functools.partial(_record, [bundle.expert] * num_expert + [bundle.weak] * (NUM_EPISODES - num_expert)),
        reference=Reference(bundle.ref_min_score, bundle.ref_max_score),
        algorithm="behaviour cloning of the DAPG expert",
        description=f"{env.spec.id}, made by offline-agents from its bundled policies",
    )


def _record(policies: list[BundledPolicy], env: EvaluationEnv, report: Callable[[], object]) -> list[Episode]:
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
