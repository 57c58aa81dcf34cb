"""D4RL's score protocol (arXiv 2004.07219) on the Adroit tasks, with DAPG's criterion of success (arXiv 1709.10087).

Shapes: ``T`` steps of an episode, ``O`` observation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import ArrayLike, NDArray

from agents.environments.reward_sign import DistanceFit
from agents.environments.scoring import Reference, Scoring

PEN_HEIGHT = 26  # column of the pen's height in the pen observation, metres
PEN_DROPPED = 0.075  # D4RL ends the episode below this height, metres


@dataclass(frozen=True)
class AdroitTask:
    """Facts of ``AdroitHand*-v1`` with dense reward, and of how D4RL and DAPG use it."""

    name: str
    env_id: str
    num_observations: int  # size of the observation that the columns below are taken from
    d4rl_reference: Reference  # mean returns of a random policy and of the DAPG expert under D4RL's protocol
    d4rl_horizon: int = 200  # steps
    success_steps: int = 25  # an episode counts as solved with more steps than this at the goal
    hand: int | None = None  # first of three observation columns: the palm's position, or palm minus object
    object: int | None = None  # first of three observation columns: the object's position; None if subtracted already


ADROIT_TASKS: dict[str, AdroitTask] = {
    task.name: task
    for task in (
        AdroitTask(
            "pen", "AdroitHandPen-v1", 45, Reference(96.262799, 3076.8331017826877), d4rl_horizon=100, success_steps=20
        ),
        AdroitTask("hammer", "AdroitHandHammer-v1", 46, Reference(-274.856578, 12794.134825156867), hand=33, object=36),
        AdroitTask("door", "AdroitHandDoor-v1", 39, Reference(-56.512833, 2880.5693087298737), hand=35),
        AdroitTask("relocate", "AdroitHandRelocate-v1", 39, Reference(-6.425911, 4233.877797728884), hand=30),
    )
}


def adroit_task(env_id: str | None) -> AdroitTask | None:
    """The task of a Gymnasium id; None for anything but the four dense-reward v1 environments."""
    return next((task for task in ADROIT_TASKS.values() if task.env_id == env_id), None)


def d4rl_return(task: AdroitTask, observations: NDArray[Any], rewards: NDArray[Any]) -> float:
    """Return of one recorded episode under D4RL's protocol.

    Pen: at most 100 steps, and the step after which the pen lies below 0.075 m is the last one counted. The others:
    200 steps of the reward minus 0.2 x the distance from palm to object, because gymnasium-robotics 1.2.1 to 1.4.2
    adds 0.1 x that distance where D4RL subtracts it.

    Args:
        observations: shape ``[T + 1, O]``; row ``t + 1`` is what reward ``t`` was computed from.
        rewards: shape ``[T]``, of that environment: dense and unscaled.
    """
    rewards = np.asarray(rewards, dtype=np.float64)[: task.d4rl_horizon]
    after = np.asarray(observations, dtype=np.float64)[1 : len(rewards) + 1]  # [T, O]
    if task.hand is None:
        dropped = np.flatnonzero(after[:, PEN_HEIGHT] < PEN_DROPPED)
        return float(rewards[: dropped[0] + 1].sum() if dropped.size else rewards.sum())
    return float((rewards - 0.2 * np.linalg.norm(palm_to_object(task, after), axis=1)).sum())


def palm_to_object(task: AdroitTask, observations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Offset from the object to the palm, metres, ``[T, O] -> [T, 3]``; not for pen, whose observation has none."""
    assert task.hand is not None
    offset = observations[:, task.hand : task.hand + 3]
    return offset if task.object is None else offset - observations[:, task.object : task.object + 3]


def success_held(task: AdroitTask, success: ArrayLike) -> bool:
    """DAPG's criterion: more than ``task.success_steps`` steps up to D4RL's horizon (``[T]`` bool) are at the goal."""
    return int(np.count_nonzero(np.asarray(success)[: task.d4rl_horizon])) > task.success_steps


def scoring(spec: EnvSpec, names: Sequence[str] | None) -> Scoring | None:
    """D4RL's protocol on an environment whose observations have these names; None: it is no task of Adroit."""
    task = adroit_task(spec.id) if spec.kwargs.get("reward_type", "dense") == "dense" else None
    if task is None or (names is not None and len(names) != task.num_observations):
        return None
    check = None if task.hand is None else partial(DistanceFit, task.name, partial(palm_to_object, task))
    rules = partial(d4rl_return, task), partial(success_held, task)
    return Scoring(task.d4rl_reference, *rules, horizon=task.d4rl_horizon, reward_check=check)


DATASET_IDS = tuple(f"D4RL/{task}/{kind}-v2" for task in ADROIT_TASKS for kind in ("human", "cloned", "expert"))
