"""What a built-in dataset is made from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from gymnasium.envs.registration import EnvSpec

from agents.environments.environment import EvaluationEnv
from agents.environments.recording import Episode
from agents.environments.scoring import Reference

FIRST_SEED = 1_000_000  # evaluations count from 0: no initial state of the data is ever evaluated on


@dataclass(frozen=True)
class Demo:
    """A built-in dataset as it is made, and the words of its metadata."""

    env: EvaluationEnv  # that it is recorded in
    num_episodes: int
    record: Callable[[EvaluationEnv, Callable[[], object]], list[Episode]]  # calls its last argument at each episode
    reference: Reference  # returns that score 0 and 100
    algorithm: str  # whose episodes these are
    description: str
    eval_spec: EnvSpec | None = None  # of the environment to evaluate in, where it is another


def digest(episodes: list[Episode]) -> str:
    """A hexadecimal digest of all that was recorded."""
    sums = hashlib.sha256()
    for episode in episodes:
        for array in (episode.observations, episode.actions, episode.rewards, episode.success):
            if array is not None:
                sums.update(np.ascontiguousarray(array).tobytes())
    return sums.hexdigest()[:16]
