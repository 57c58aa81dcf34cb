"""The time that an action takes, of one thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict
from tensordict.nn import TensorDictModuleBase

from agents.deployment.acting import parts_of
from agents.deployment.contract import REWARD
from agents.deployment.observing import arrays_of
from agents.deployment.policy import DeployedPolicy
from agents.evaluation.rollouts import begin_of, one_deterministic_thread

BATCHES = (1, 64)
SECONDS, MOST = 1.0, 2_000  # that a measurement takes, and its calls


@dataclass(frozen=True)
class Latency:
    """Quantiles over calls, in microseconds of wall time."""

    runner: str  # who acts
    batch: int
    p50: float
    p99: float


def measure(
    policy: TensorDictModuleBase, files: Mapping[str, DeployedPolicy], observations: NDArray[np.float32]
) -> list[Latency]:
    """Of the policy as it is evaluated and of files, by the names of what runs them.

    Args:
        observations: as policies see them, ``[B, O]``, at least as many as the largest batch.
    """
    with one_deterministic_thread(), torch.inference_mode():
        rows = [*_of_policy(policy, observations)]
        for name, file in files.items():
            rows += _of_file(name, file, observations)
    return rows


def _of_policy(policy: TensorDictModuleBase, observations: NDArray[np.float32]) -> Iterator[Latency]:
    single, rng = observations[0], np.random.default_rng(0)
    act, remembers = begin_of(policy, single.shape)(), policy.in_keys != ["observation"]
    reward = 0.0 if remembers else None
    act(single, None, rng)
    yield _timed("torch, as evaluated", 1, lambda: act(single, reward, rng))
    batch = torch.from_numpy(observations[: BATCHES[-1]])
    memory: dict[Any, Any] = {}

    def act_in_batch() -> None:
        before = {"reward": torch.zeros(len(batch), 1)} if memory else {}
        step = policy(TensorDict({"observation": batch, **before, **memory}, [len(batch)]))
        memory.update({key: step[key] for key in policy.in_keys if key in policy.out_keys})

    yield _timed("torch, as evaluated", len(batch), act_in_batch)


def _of_file(name: str, file: DeployedPolicy, observations: NDArray[np.float32]) -> Iterator[Latency]:
    for size in BATCHES:
        parts = parts_of(file.contract, observations[:size])
        rewards = np.zeros(size) if file.contract.takes_reward else None
        file.reset()
        yield _timed(f"{name}, with agents.deployment's checks", size, partial(file.batch, parts, rewards))
        inputs = arrays_of(file.contract, parts, batch=True)
        inputs |= file.memory_at_reset(size)
        inputs |= {} if rewards is None else {REWARD: np.zeros((size, 1), np.float32)}
        yield _timed(name, size, partial(file.run, inputs))


def _timed(runner: str, batch: int, call: Callable[[], Any]) -> Latency:
    for _ in range(10):  # the first ones allocate
        call()
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < MOST and (not times or time.perf_counter() < end):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    p50, p99 = 1e6 * np.quantile(times, (0.5, 0.99))
    return Latency(runner, batch, float(p50), float(p99))
