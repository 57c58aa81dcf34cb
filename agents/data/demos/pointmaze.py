"""``demo/pointmaze/{umaze,medium}-v1``: a point that is steered from one place of a maze to another one nearby.

As in D4RL's own data (arXiv 2004.07219) a planner finds the way over the maze's cells, a PD controller with noise
follows it, and the places that it heads for have nothing to do with the one goal that rewards and evaluations are
about. As in the ``stitch`` data of OGBench (arXiv 2410.20092) each recording ends after a few cells: none shows
the way from where an evaluation starts to the goal, so it has to be put together.

A cell is a row and a column of the maze's map; places are in metres.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import FlattenObservation
from numpy.typing import NDArray

from agents.data.demos.arithmetic import on_grid
from agents.data.demos.demo import FIRST_SEED, Demo
from agents.data.demos.pieces import record_piece
from agents.environments.environment import EvaluationEnv
from agents.environments.recording import Episode
from agents.environments.scoring import Reference
from agents.environments.spec import find_spec

Cell = tuple[int, int]
ACHIEVED, VELOCITY = slice(0, 2), slice(6, 8)  # columns of the flat observation: its parts lie in alphabetical order
NOISE = 0.5  # standard deviation of what is added to each action, as in D4RL
SPREAD = 0.2  # metres by which a waypoint may be beside its cell's centre, along each axis
PASSED, ARRIVED = 0.2, 0.1  # metres from a waypoint, and from the last one


@dataclass(frozen=True)
class Maze:
    """A maze of Gymnasium-Robotics, and how it is recorded and evaluated."""

    env_id: str
    goal: Cell
    start: Cell  # of evaluations
    num_episodes: int
    num_cells: int  # that a recording goes at most
    reference: Reference  # mean returns of a random policy and of the controller without noise over 100 evaluations

    @property
    def cells(self) -> list[list[Any]]:
        """The map: 1 is a wall, ``g`` the goal."""
        rows = [list(row) for row in find_spec(self.env_id).kwargs["maze_map"]]
        rows[self.goal[0]][self.goal[1]] = "g"
        return rows

    def spec(self, cells: list[list[Any]]) -> EnvSpec:
        """Of an environment that ends at the goal, with a reward of 1, as AntMaze does; all other rewards are 0."""
        spec = find_spec(self.env_id)
        return dataclasses.replace(spec, kwargs={**spec.kwargs, "maze_map": cells, "continuing_task": False})

    def eval_spec(self) -> EnvSpec:
        cells = self.cells
        cells[self.start[0]][self.start[1]] = "r"
        return self.spec(cells)


MAZES = {
    "umaze": Maze("PointMaze_UMaze-v3", (1, 1), (3, 1), 2000, 2, Reference(0.0, 1.0)),
    "medium": Maze("PointMaze_Medium-v3", (6, 6), (1, 1), 3000, 3, Reference(0.0, 1.0)),
}


def demo(name: str) -> Demo:
    maze = MAZES[name]
    return Demo(
        env=EvaluationEnv(maze.spec(maze.cells)),
        num_episodes=maze.num_episodes,
        record=partial(_record, maze),
        reference=maze.reference,
        algorithm="waypoints and a PD controller",
        description=f"{maze.env_id}, made by offline-agents: ways of at most {maze.num_cells} cells between any places",
        eval_spec=maze.eval_spec(),
    )


def _record(maze: Maze, env: EvaluationEnv, report: Callable[[], object]) -> list[Episode]:
    """Pieces from any cell to any other one that is not too far; piece ``i`` is seeded by ``i`` alone."""
    cells, episodes = maze.cells, []
    places = [(row, column) for row, line in enumerate(cells) for column, cell in enumerate(line) if cell != 1]
    with env.borrow(1) as (gym_env,):
        flat = FlattenObservation(gym_env)
        for seed in range(FIRST_SEED, FIRST_SEED + maze.num_episodes):
            rng = np.random.default_rng(seed)
            end = places[rng.integers(len(places))]
            away = distances(cells, end)
            near = [place for place in places if 0 < away[place] <= maze.num_cells and place != maze.goal]
            start = near[rng.integers(len(near))]
            way = path(cells, start, end)[1:]
            observation, _ = flat.reset(seed=seed, options={"reset_cell": start, "goal_cell": maze.goal})
            waypoints = [centre(cells, cell) + rng.uniform(-SPREAD, SPREAD, 2) for cell in way]
            controller = Controller(waypoints, rng)
            assert env.spec.max_episode_steps is not None
            episode = record_piece(flat, observation, controller, max_steps=env.spec.max_episode_steps)
            episodes.append(dataclasses.replace(episode, observations=on_grid(episode.observations)))
            report()
    return episodes


class Controller:
    """A PD controller that goes from waypoint to waypoint; without a generator it does so without noise."""

    def __init__(self, waypoints: list[NDArray[np.float64]], rng: np.random.Generator | None = None) -> None:
        self.waypoints = list(waypoints)
        self.rng = rng

    def __call__(self, observation: NDArray[np.float64]) -> NDArray[np.float32] | None:
        """``[8] -> [2]``, on the grid; None when the last waypoint is reached."""
        place, velocity = on_grid(observation[ACHIEVED]), on_grid(observation[VELOCITY])
        while self.waypoints and self._is_at(place):
            self.waypoints.pop(0)
        if not self.waypoints:
            return None
        force = 10.0 * (self.waypoints[0] - place) - velocity
        if self.rng is not None:
            force = force + NOISE * self.rng.standard_normal(2)
        return np.clip(on_grid(force), -1.0, 1.0).astype(np.float32)

    def _is_at(self, place: NDArray[np.float64]) -> bool:
        x, y = self.waypoints[0] - place
        return x * x + y * y < (PASSED if len(self.waypoints) > 1 else ARRIVED) ** 2


def centre(cells: list[list[Any]], cell: Cell) -> NDArray[np.float64]:
    """The place of a cell: the maze's own lies around zero, with a metre a cell."""
    row, column = cell
    return np.array([column + 0.5 - len(cells[0]) / 2, len(cells) / 2 - row - 0.5])


def distances(cells: list[list[Any]], origin: Cell) -> dict[Cell, int]:
    """Numbers of steps from a cell to all that can be reached from it, the nearest first."""
    away = {origin: 0}
    for row, column in (frontier := [origin]):
        for cell in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            if cells[cell[0]][cell[1]] != 1 and cell not in away:
                away[cell] = away[row, column] + 1
                frontier.append(cell)
    return away


def path(cells: list[list[Any]], start: Cell, end: Cell) -> list[Cell]:
    """The cells of a shortest way, both ends included."""
    to_go, way = distances(cells, end), [start]
    while way[-1] != end:
        row, column = way[-1]
        around = ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1))
        way.append(min((cell for cell in around if cell in to_go), key=to_go.__getitem__))
    return way
