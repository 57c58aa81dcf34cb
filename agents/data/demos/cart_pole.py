"""``demo/cartpole/mixed-v1``: a cart that is mostly let drift to the right, and cut into pieces.

Two drivers take turns, a coin says which. Both keep the pole up, but only one of them minds where the cart is. Within a
piece of 50 steps nothing else can be seen than that the pole stays up, so all pieces but those at the track's end are
equally good, and the majority's way, which is what a clone learns, leads off the track. That keeping to the middle
lasts longer has to be learned from the ends of a few pieces, over the pieces before them.

Whatever the simulation's sine and cosine differ by between processors is far below the grid that observations are
rounded to, and the drivers act on these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from agents.data.demos.arithmetic import on_grid
from agents.data.demos.demo import FIRST_SEED, Demo
from agents.data.demos.pieces import record_piece
from agents.environments.environment import EvaluationEnv
from agents.environments.recording import Episode
from agents.environments.scoring import Reference

NUM_EPISODES = 1200
MAX_STEPS = 50  # of a piece
MINDS = 0.3  # share of the pieces whose driver minds where the cart is
RANDOM = 0.1  # share of actions that are drawn
LEAN = 0.05  # angle, rad, at which the other driver holds the pole
LEFT, RIGHT = 0, 1
REFERENCE = Reference(22.0, 500.0)  # of a random policy, and of the driver who minds


def demo() -> Demo:
    return Demo(
        env=EvaluationEnv("CartPole-v1"),
        num_episodes=NUM_EPISODES,
        record=_record,
        reference=REFERENCE,
        algorithm="two controllers, one of which lets the cart drift",
        description=f"CartPole-v1, made by offline-agents: pieces of {MAX_STEPS} steps by one of two controllers",
    )


def _record(env: EvaluationEnv, report: Callable[[], object]) -> list[Episode]:
    """Pieces one after the other; when the pole or the track is lost, or the time is over, the cart begins anew."""
    episodes: list[Episode] = []
    with env.borrow(1) as (gym_env,):
        rng, over = np.random.default_rng(FIRST_SEED), True
        while len(episodes) < NUM_EPISODES:
            if over:
                observation, steps_left = gym_env.reset(seed=FIRST_SEED + len(episodes))[0], env.spec.max_episode_steps
            driver = Driver(rng, minds=rng.random() < MINDS)
            episode = record_piece(gym_env, observation, driver, max_steps=min(MAX_STEPS, steps_left))
            observation, steps_left = episode.observations[-1], steps_left - len(episode.actions)
            over = episode.terminated or steps_left == 0
            observations = on_grid(episode.observations).astype(np.float32)
            episodes.append(dataclasses.replace(episode, observations=observations))
            report()
    return episodes


class Driver:
    """Pushes towards where the pole falls, as measured from the angle at which it is to be held."""

    def __init__(self, rng: np.random.Generator, *, minds: bool) -> None:
        self.rng, self.minds = rng, minds

    def __call__(self, observation: NDArray[np.float32]) -> int:
        if self.rng.random() < RANDOM:
            return int(self.rng.integers(2))
        position, speed, angle, turning = on_grid(observation)
        held = -0.05 * position - 0.1 * speed if self.minds else LEAN
        return RIGHT if angle + 0.5 * turning > held else LEFT
