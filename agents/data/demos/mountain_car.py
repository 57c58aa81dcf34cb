"""``demo/mountaincar/mixed-v1``: a car in a valley, for 60 steps from anywhere, stopped more than it is swung up.

Of the small control tasks with discrete actions this is the one whose best recordings mislead. Those that arrive began
high up, or near the goal, and push towards it; from the bottom that does not lead up the hill: the car has to go the
other way first, which only recordings that do not arrive show. And as the driver mostly does the wrong thing, so does a
clone of them all. (Of CartPole and Acrobot the best recordings show the way, and their simulations call numpy's sine,
which differs between processors; this one calls the C library's, and is recorded in float32, far coarser.)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from agents.data.demos.demo import FIRST_SEED, Demo
from agents.data.demos.pieces import record_piece
from agents.environments.environment import EvaluationEnv
from agents.environments.recording import Episode
from agents.environments.scoring import Reference

NUM_EPISODES = 1000
MAX_STEPS = 60  # of a recording: from the bottom of the valley it takes a good driver twice as many
ANYWHERE = {"low": -1.2, "high": 0.5}  # positions to begin at, at rest; an evaluation begins in [-0.6, -0.4]
SWINGS = 0.4  # share of the time in which the driver does the right thing
HOLD = (5, 31)  # steps until he may change his mind: at least, and below
LEFT, RIGHT = 0, 2
REFERENCE = Reference(-200.0, -120.0)  # of a random policy, and of always pushing to where the car moves


def demo() -> Demo:
    return Demo(
        env=EvaluationEnv("MountainCar-v0"),
        num_episodes=NUM_EPISODES,
        record=_record,
        reference=REFERENCE,
        algorithm="pushes to where the car moves, or to the other side",
        description=f"MountainCar-v0, made by offline-agents: {MAX_STEPS} steps from anywhere",
    )


def _record(env: EvaluationEnv, report: Callable[[], object]) -> list[Episode]:
    """Piece ``i`` is seeded by ``i`` alone."""
    episodes = []
    with env.borrow(1) as (gym_env,):
        for seed in range(FIRST_SEED, FIRST_SEED + NUM_EPISODES):
            start, _ = gym_env.reset(seed=seed, options=ANYWHERE)
            episodes.append(record_piece(gym_env, start, Driver(np.random.default_rng(seed)), max_steps=MAX_STEPS))
            report()
    return episodes


class Driver:
    """Pushes to where the car moves, which swings it up, or to the other side, which stops it; drawn anew at times."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.steps_left = 0

    def __call__(self, observation: NDArray[np.float32]) -> int:
        if self.steps_left == 0:
            self.swings, self.steps_left = self.rng.random() < SWINGS, int(self.rng.integers(*HOLD))
        self.steps_left -= 1
        moves_right = observation[1] >= 0.0
        return RIGHT if moves_right == self.swings else LEFT
