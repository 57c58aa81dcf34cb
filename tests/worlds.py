"""A small environment of every kind of observations and actions, and data recorded in it."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import minari
import numpy as np
from gymnasium import spaces
from minari.data_collector.episode_buffer import EpisodeBuffer

from agents.data.dataset import OfflineDataset
from agents.data.loading import load_dataset

VECTOR = spaces.Box(-1.0, 1.0, (3,))
GOAL = spaces.Dict({"achieved_goal": VECTOR, "desired_goal": VECTOR, "observation": spaces.Box(-9.0, 9.0, (2,))})
TABLE = spaces.Discrete(6, start=2)
FORCE = spaces.Box(np.float32([-1.0, 0.0]), np.float32([2.0, 0.5]))
WORLDS = {  # observations and actions
    "goal-box": (GOAL, FORCE),
    "table-whole-numbers": (TABLE, spaces.Box(-2, 3, (2,), np.int64)),
    "table-discrete": (TABLE, spaces.Discrete(3, start=1)),
    "goal-multidiscrete": (GOAL, spaces.MultiDiscrete([3, 2], start=[0, 5])),
    "vector-multibinary": (VECTOR, spaces.MultiBinary(3)),
}


class World(gym.Env):
    """Shows samples of its observations, pays at random, and takes actions of its space alone."""

    def __init__(self, kind: str) -> None:
        self.observation_space, self.action_space = WORLDS[kind]

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        if not self.action_space.contains(action):
            raise ValueError(f"{action!r} is not in {self.action_space}")
        return self.observation_space.sample(), self.np_random.normal(), self.np_random.random() < 0.1, False, {}


def environment_id(kind: str) -> str:
    """Of an environment of this kind, at most five steps long, which Gymnasium knows from now on."""
    name = f"World-{kind}-v0"
    if name not in gym.registry:
        gym.register(name, "tests.worlds:World", max_episode_steps=5, kwargs={"kind": kind})
    return name


def record(kind: str) -> OfflineDataset:
    """Eight episodes of random actions, from a Minari dataset in the folder of the moment."""
    env = gym.make(environment_id(kind))
    env.action_space.seed(0)
    episodes = [episode(env, seed) for seed in range(8)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that no author and no code is named
        minari.create_dataset_from_buffers(f"test/{kind}-v0", episodes, env=env.spec)
    return load_dataset(f"test/{kind}-v0", progress=False)


def episode(env: gym.Env, seed: int) -> EpisodeBuffer:
    observations, actions, steps = [env.reset(seed=seed)[0]], [], []
    while not steps or not any(steps[-1][1:]):
        actions.append(env.action_space.sample())
        observation, *step, _ = env.step(actions[-1])
        observations.append(observation)
        steps.append(step)
    rewards, terminations, truncations = (list(column) for column in zip(*steps))
    parts = isinstance(observations[0], dict)
    columns = {name: np.array([row[name] for row in observations]) for name in observations[0]} if parts else {}
    return EpisodeBuffer(
        observations=columns or np.array(observations),
        actions=np.array(actions),
        rewards=rewards,
        terminations=terminations,
        truncations=truncations,
    )
