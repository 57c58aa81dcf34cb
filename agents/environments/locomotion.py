"""D4RL's score protocol (arXiv 2004.07219) on the runners of MuJoCo: the return of up to 1000 steps.

D4RL ran v2 of gym's environments. v3 and v4 have their models, rewards and ends; MuJoCo itself is newer there. Of v5
HalfCheetah has them too, and Hopper but for the step in which it falls, where it earns 1 less, which is added here.
Walker2d-v5 has another friction under one foot, and Ant-v5 pays for contacts, which cost nothing in MuJoCo 2.0 as D4RL
called it (openai/gym, issue 1541): these are other tasks and have no such score. Nor has an environment with keyword
arguments.

Shapes: ``T`` steps of an episode, ``O`` observation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from agents.environments.scoring import Reference, Scoring

HORIZON = 1000  # steps
HOPPER_HEIGHT, HOPPER_ANGLE = 0, 1  # columns of the observation
DATASET_IDS = tuple(f"mujoco/{name}/{kind}-v0" for name in ("halfcheetah", "hopper") for kind in ("expert", "medium"))


@dataclass(frozen=True)
class Runner:
    """D4RL's facts on a runner, and the versions of its environment in which they mean the same."""

    name: str
    reference: Reference  # mean returns of a random policy and of a trained SAC
    versions: tuple[str, ...] = ("v2", "v3", "v4")


RUNNERS = (
    Runner("HalfCheetah", Reference(-280.178953, 12135.0), ("v2", "v3", "v4", "v5")),
    Runner("Hopper", Reference(-20.272305, 3234.3), ("v2", "v3", "v4", "v5")),
    Runner("Walker2d", Reference(1.629008, 4592.3)),
    Runner("Ant", Reference(-325.6, 3879.7)),
)


def d4rl_return(observations: NDArray[Any], rewards: NDArray[Any]) -> float:
    """Return of one recorded episode; its observations do not count."""
    return float(rewards[:HORIZON].sum(dtype=np.float64))


def hopper_v5_return(observations: NDArray[Any], rewards: NDArray[Any]) -> float:
    """Return of one recorded episode of Hopper-v5, with the 1 that v2 gives for the step in which it falls too."""
    height, angle = np.asarray(observations[1 : HORIZON + 1, [HOPPER_HEIGHT, HOPPER_ANGLE]], dtype=np.float64).T
    fallen = (height <= 0.7) | (abs(angle) >= 0.2)
    return d4rl_return(observations, rewards) + float(np.count_nonzero(fallen))


def scoring(spec: EnvSpec, names: Sequence[str] | None) -> Scoring | None:
    """D4RL's protocol on an environment; None: it is no runner, or another one than D4RL's."""
    name, _, version = spec.id.partition("-")
    runner = next((runner for runner in RUNNERS if runner.name == name and version in runner.versions), None)
    if runner is None or spec.kwargs:
        return None
    rule = hopper_v5_return if spec.id == "Hopper-v5" else d4rl_return
    return Scoring(runner.reference, rule, horizon=HORIZON)
