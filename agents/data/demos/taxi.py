"""``demo/taxi/mixed-v1``: a driver who goes from stand to stand, and at each tries the passenger.

The planner is good, its aims are not: it drives to another stand by a shortest way, there takes a passenger in or lets
one out, and has nothing else in mind than the next stand, drawn anew. Every way to a stand is an episode of its own,
and a share of the actions is random. So hardly any has a passenger fetched and delivered; and where the ways to
several stands part, most recordings take a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from agents.data.demos.demo import FIRST_SEED, Demo
from agents.data.demos.pieces import record_piece
from agents.environments.environment import EvaluationEnv
from agents.environments.recording import Episode
from agents.environments.scoring import Reference

NUM_EPISODES = 5000
MAX_STEPS = 200  # of a passenger's time, as in an evaluation
RANDOM = 0.2  # share of actions that are drawn from all six
MOVES, PICKUP, DROPOFF = range(4), 4, 5
# A taxi that carries nobody for 200 steps, and the optimal policy: a random one returns -777, because what is not
# allowed costs 10, beside which delivering (20) could not be seen
REFERENCE = Reference(-200.0, 7.7)


def demo() -> Demo:
    return Demo(
        env=EvaluationEnv("Taxi-v4"),
        num_episodes=NUM_EPISODES,
        record=_record,
        reference=REFERENCE,
        algorithm="shortest ways to random stands",
        description="Taxi-v4, made by offline-agents: ways from stand to stand, with random steps among them",
    )


def _record(env: EvaluationEnv, report: Callable[[], object]) -> list[Episode]:
    """Ways one after the other; when a passenger is delivered or the time is over, the taxi begins anew."""
    episodes: list[Episode] = []
    with env.borrow(1) as (gym_env,):
        roads, rng = Roads(gym_env), np.random.default_rng(FIRST_SEED)
        state, steps_left = 0, 0
        while len(episodes) < NUM_EPISODES:
            if not steps_left:
                state, steps_left = int(gym_env.reset(seed=FIRST_SEED + len(episodes))[0]), MAX_STEPS
            episode = record_piece(gym_env, state, Driver(roads, rng, state), max_steps=steps_left)
            state = int(episode.observations[-1])
            steps_left = 0 if episode.terminated else steps_left - len(episode.actions)
            episodes.append(episode)
            report()
    return episodes


class Roads:
    """The taxi's town: where the stands are and how far it is to them."""

    def __init__(self, gym_env: gym.Env) -> None:
        self.town: Any = gym_env.unwrapped
        self.stands = list(self.town.locs)
        self.to_go = [self._distances(stand) for stand in self.stands]  # of each: from every place

    def place(self, state: int) -> tuple[int, int]:
        row, column, *_ = self.town.decode(state)
        return row, column

    def next_place(self, place: tuple[int, int], move: int) -> tuple[int, int]:
        ((_, state, _, _),) = self.town.P[self.town.encode(*place, 0, 0)][move]
        return self.place(state)

    def _distances(self, stand: tuple[int, int]) -> dict[tuple[int, int], int]:
        """Numbers of steps to a stand; every move can be undone, so they are those from it."""
        away = {stand: 0}
        for place in (frontier := [stand]):
            for move in MOVES:
                if (other := self.next_place(place, move)) not in away:
                    away[other] = away[place] + 1
                    frontier.append(other)
        return away


class Driver:
    """On the way to another stand than the one where it is, until it has tried to take in or let out the passenger."""

    def __init__(self, roads: Roads, rng: np.random.Generator, state: int) -> None:
        self.roads, self.rng = roads, rng
        others = [k for k, stand in enumerate(roads.stands) if stand != roads.place(state)]
        self.aim = others[rng.integers(len(others))]
        self.arrived = False

    def __call__(self, state: int) -> int | None:
        if self.arrived:
            return None
        if self.rng.random() < RANDOM:
            return int(self.rng.integers(6))
        place, to_go = self.roads.place(state), self.roads.to_go[self.aim]
        if not to_go[place]:
            self.arrived = True
            _, _, passenger, _ = self.roads.town.decode(state)
            return DROPOFF if passenger == len(self.roads.stands) else PICKUP
        nearer = [move for move in MOVES if to_go[self.roads.next_place(place, move)] < to_go[place]]
        return nearer[self.rng.integers(len(nearer))]
