"""Small specs, batches and a dataset with discrete actions that the tests share."""

from __future__ import annotations

import dataclasses
import functools
import gc
import signal
import subprocess
import warnings
from collections.abc import Callable

import gymnasium as gym
import minari
import numpy as np
import pytest
import torch
from minari.data_collector.episode_buffer import EpisodeBuffer
from tensordict import TensorDict
from torch import Tensor
from torchrl.data import Bounded, Categorical, MultiCategorical, Unbounded

import agents

NUM_OBSERVATIONS, NUM_ACTIONS = 5, 3
# presets that were algorithms of their own in version 0.1, without their YAML's learning rates
PRESETS = {
    "bc_top": functools.partial(agents.BCConfig, best_episodes=0.1),
    "dqn": functools.partial(agents.DiscreteCQLConfig, alpha=None),
}
ACTION_LOW, ACTION_HIGH = (-1.0, -2.0, 0.0), (1.0, 0.5, 4.0)


def pytest_configure() -> None:
    """Ctrl-C reaches the tests that send it, and their processes, also if a shell started pytest in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What is imported is no garbage, and tests leave little: to look for it as usual is a tenth of their time."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture
def specs() -> agents.Specs:
    """Five observations, and three actions whose bounds are neither +-1 nor symmetric."""
    generator = torch.Generator().manual_seed(7)
    return agents.Specs(
        observation=Unbounded((NUM_OBSERVATIONS,)),
        action=Bounded(torch.tensor(ACTION_LOW), torch.tensor(ACTION_HIGH), (NUM_ACTIONS,)),
        observation_mean=torch.randn(NUM_OBSERVATIONS, generator=generator),
        observation_std=torch.rand(NUM_OBSERVATIONS, generator=generator) + 0.5,
        max_return=7.0,
    )


@pytest.fixture
def discrete_specs(specs: agents.Specs) -> agents.Specs:
    """The same observations and three discrete actions."""
    return dataclasses.replace(specs, action=Categorical(NUM_ACTIONS))


@pytest.fixture
def factored_specs(specs: agents.Specs) -> agents.Specs:
    """The same observations and actions of three parts, with three, two and four values."""
    return dataclasses.replace(specs, action=MultiCategorical(torch.tensor([3, 2, 4])))


def make_batch(size: int = 16, seed: int = 0, *, discrete: bool = False, parts: Tensor | None = None) -> TensorDict:
    """Random transitions inside the bounds, a quarter of them terminal.

    Args:
        parts: numbers of values of each part, where discrete actions have parts.
    """
    generator = torch.Generator().manual_seed(seed)
    low, high = torch.tensor(ACTION_LOW), torch.tensor(ACTION_HIGH)

    def random_actions() -> Tensor:
        if parts is not None:
            return (torch.rand(size, len(parts), generator=generator) * parts).long()
        if discrete:
            return torch.randint(NUM_ACTIONS, (size,), generator=generator)
        return low + (high - low) * torch.rand(size, NUM_ACTIONS, generator=generator)

    return TensorDict(
        {
            "observation": torch.randn(size, NUM_OBSERVATIONS, generator=generator),
            "action": random_actions(),
            "next": {
                "observation": torch.randn(size, NUM_OBSERVATIONS, generator=generator),
                "reward": torch.randn(size, 1, generator=generator),
                "terminated": torch.rand(size, 1, generator=generator) < 0.25,
                "action": random_actions(),
            },
            "discounted_return": torch.randn(size, 1, generator=generator),
        },
        [size],
    )


def make_windows(size: int, seed: int, context_length: int) -> TensorDict:
    """As many windows of random transitions as the size allows, ``[B, K]``; the first of them is half padding."""
    num_windows = max(size // context_length, 1)
    generator = torch.Generator().manual_seed(seed)
    windows = make_batch(num_windows * context_length, seed).reshape(num_windows, context_length)
    steps = torch.arange(context_length).expand(num_windows, -1)
    windows["return_to_go"] = torch.randn(num_windows, context_length, 1, generator=generator)
    windows["step_count"] = (steps + torch.randint(100, (num_windows, 1), generator=generator))[..., None]
    windows["mask"] = steps < torch.tensor([(context_length + 1) // 2] + [context_length] * (num_windows - 1))[:, None]
    return windows


@pytest.fixture
def batch() -> TensorDict:
    return make_batch()


@pytest.fixture
def batches() -> Callable[..., TensorDict]:
    """A different batch for every seed."""
    return lambda seed, size=16: make_batch(size, seed)


@pytest.fixture
def discrete_batches() -> Callable[..., TensorDict]:
    """A different batch with discrete actions for every seed."""
    return lambda seed, size=16: make_batch(size, seed, discrete=True)


@pytest.fixture
def batches_for() -> Callable[[agents.Specs, agents.Agent], Callable[..., TensorDict]]:
    """A different batch for every seed, of the kind that an agent trains on."""

    def choose(specs: agents.Specs, agent: agents.Agent) -> Callable[..., TensorDict]:
        if agent.sampling.context_length is not None:
            return lambda seed, size=16: make_windows(size, seed, agent.sampling.context_length)
        parts = specs.action.nvec if isinstance(specs.action, MultiCategorical) else None
        return lambda seed, size=16: make_batch(size, seed, discrete=specs.discrete, parts=parts)

    return choose


@pytest.fixture(scope="session")
def write_cartpole() -> Callable[[str], None]:
    """Writes a Minari dataset of 200 episodes of CartPole-v1, at most 200 steps long; their mean return is below 30.

    Sixteen are of a controller that acts at random in two steps of five. In the others, four steps of five are random
    and in the fifth the pole is pushed over: they outnumber the good ones wherever both have been.
    """

    def write(dataset_id: str) -> None:
        env = gym.make("CartPole-v1", max_episode_steps=200)
        episodes = [cartpole_episode(env, index, good=index < 16) for index in range(200)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that no author and no code is named
            minari.create_dataset_from_buffers(dataset_id, episodes, env=env.spec)

    return write


def cartpole_episode(env: gym.Env, index: int, *, good: bool) -> EpisodeBuffer:
    rng = np.random.default_rng(index)
    observations, actions, rewards, ended = [env.reset(seed=10_000 + index)[0]], [], [], False
    while not ended:
        position, velocity, angle, angular_velocity = observations[-1]
        righting = angle + 0.5 * angular_velocity + 0.1 * position + 0.2 * velocity > 0
        random = rng.random() < (0.4 if good else 0.8)
        actions.append(rng.integers(2) if random else int(righting == good))
        observation, reward, terminated, truncated, _ = env.step(actions[-1])
        observations.append(observation)
        rewards.append(reward)
        ended = terminated or truncated
    last = np.arange(len(rewards)) == len(rewards) - 1
    return EpisodeBuffer(
        observations=np.array(observations),
        actions=np.array(actions),
        rewards=rewards,
        terminations=last & terminated,
        truncations=last & truncated,
    )


@pytest.fixture
def dead_pid() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        return process.pid
