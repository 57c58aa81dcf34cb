"""A piece of the way: an episode that begins anywhere and is cut off before it has been everywhere.

Shapes: ``T`` steps of a piece, ``O`` observation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from agents.environments.recording import Episode


def record_piece(env: gym.Env, start: Any, act: Callable[[Any], Any], *, max_steps: int) -> Episode:
    """From an observation on, until the environment ends the episode or the recording is cut off.

    Args:
        start: of the state that the environment is in.
        act: observation -> action; None cuts the recording off.
        max_steps: after as many it is cut off too.
    """
    observations, actions, rewards, success = [start], [], [], []
    terminated = truncated = False
    while not (terminated or truncated):
        action = act(observations[-1])
        if action is None:
            break
        observation, reward, terminated, truncated, info = env.step(action)
        observations.append(observation)
        actions.append(action)
        rewards.append(float(reward))
        success.append(info.get("success"))
        truncated = truncated or len(actions) == max_steps
    flags = None if None in success else np.array(success, np.bool_)
    arrays = np.array(observations), np.array(actions), np.array(rewards)
    return Episode(*arrays, flags, terminated, truncated=not terminated)
