"""Whole episodes of an environment as arrays, several recorded at a time.

Shapes: ``T`` steps of an episode, ``O`` observation, ``A`` action.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from agents.errors import AgentsError, DataError

MAX_STEPS = 100_000  # of an episode: one that lasts longer would never end
Worker = TypeVar("Worker")
SUCCESS_KEYS = ("success", "is_success")  # of infos, the first that there is: Gymnasium-Robotics' and Fetch's
# observation [O], reward of the step before (None at the first), the episode's own generator -> action [A]
Step = Callable[[NDArray[Any], float | None, np.random.Generator], Any]


@dataclass(frozen=True)
class Episode:
    """One recorded rollout."""

    observations: NDArray[Any]  # [T + 1, O], as the environment gave them
    actions: NDArray[Any]  # [T, A], as the environment received them
    rewards: NDArray[np.float64]  # [T]
    success: NDArray[np.bool_] | None  # [T], of several flags all; None when the environment gives none
    terminated: bool = False  # flags of the last step
    truncated: bool = True
    success_key: str | None = None  # of ``SUCCESS_KEYS``, in the infos


def record(
    gym_env: gym.Env, act: Step, rng: np.random.Generator, *, seed: int, index: int, on_state: Callable[[], None]
) -> Episode:
    """Run an episode to its end; ``index`` is for the message, ``on_state`` is called at every state, the first too."""
    space = gym_env.action_space
    observation, _ = gym_env.reset(seed=seed)
    on_state()
    observations, actions, rewards, success = [np.array(observation)], [], [], []
    reward, terminated, truncated, success_key = None, False, False, None
    while not (terminated or truncated):
        if len(actions) == MAX_STEPS:
            raise DataError(
                f"episode {index} has not ended after {MAX_STEPS:,} steps, and no time limit cuts it off; give one by "
                "max_episode_steps=N"
            )
        action = np.array(act(observation, reward, rng), dtype=space.dtype).reshape(space.shape)
        if not np.isfinite(action).all():  # MuJoCo would reset the simulation and go on
            raise AgentsError(f"the policy returned a non-finite action in episode {index}, step {len(actions)}")
        observation, given, terminated, truncated, info = gym_env.step(action)
        reward = float(given)
        on_state()
        observations.append(np.array(observation))
        actions.append(action)
        rewards.append(reward)
        key = next((key for key in SUCCESS_KEYS if info.get(key) is not None), None)
        success.append(key is not None and bool(np.all(info[key])))  # bools or numbers, one or an array
        success_key = success_key or key
    steps = None if success_key is None else np.array(success)
    arrays = np.array(observations), np.array(actions), np.array(rewards)
    return Episode(*arrays, steps, terminated, truncated, success_key)


def record_all(
    workers: Sequence[Worker], num_episodes: int, run: Callable[[Worker, int, Callable[[], None]], Episode]
) -> list[Episode]:
    """Episodes 0, 1, ..., each on a worker that is free; an error in one, or Ctrl-C, ends the others early.

    ``run`` records the episode of an index on a worker, and hands the last argument on as ``on_state``.
    """
    indices, stop = iter(range(num_episodes)), threading.Event()  # one iterator: no two workers get the same index
    episodes: dict[int, Episode] = {}

    def cancel_when_stopped() -> None:
        if stop.is_set():
            raise concurrent.futures.CancelledError

    def run_several(worker: Worker) -> None:
        for index in indices:
            episodes[index] = run(worker, index, cancel_when_stopped)

    with concurrent.futures.ThreadPoolExecutor(len(workers)) as pool:
        futures = [pool.submit(run_several, worker) for worker in workers]
        try:
            for future in concurrent.futures.as_completed(futures):
                future.result()
        finally:  # also on Ctrl-C: the pool waits for its threads
            stop.set()
    return [episodes[index] for index in range(num_episodes)]
