"""The mazes of D4RL, as keyword arguments of Gymnasium-Robotics' AntMaze and PointMaze name them.

Shapes: ``T`` steps of an episode, ``O`` observation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from agents.environments.scoring import find_columns

UMAZE = ("11111", "10001", "11101", "10001", "11111")
UMAZE_MIRRORED = ("11111", "10001", "10111", "10001", "11111")
MEDIUM = ("11111111", "10011001", "10010001", "11000111", "10010001", "10100101", "10001001", "11111111")
LARGE = (
    "111111111111", "100001000001", "101101010101", "100000010001", "101111011101", "100101000001", "110101010111",
    "100100010001", "111111111111",
)  # fmt: skip
RADIUS = 0.5  # of the goal, in D4RL; the environments of Gymnasium-Robotics have 0.45
KEYWORDS = {"maze_map", "reward_type", "continuing_task", "reset_target"}  # whose meaning is known here
Cell = tuple[int, int]  # row and column


class Maze(NamedTuple):
    """Walls, and where an episode begins and leads to; None: in any free cell."""

    walls: tuple[str, ...]  # a row each, "1" is a wall
    start: Cell | None
    goal: Cell | None


def read_maze(spec: EnvSpec) -> Maze | None:
    """The maze of an environment; None: it has none, or several starts or goals, or further keyword arguments."""
    rows = spec.kwargs.get("maze_map")
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows) or spec.kwargs.keys() - KEYWORDS:
        return None
    text = ["".join(map(str, row)) for row in rows]
    cells = {mark: [(i, j) for i, row in enumerate(text) for j in range(len(row)) if row[j] == mark] for mark in "rg"}
    if any(len(several) > 1 for several in cells.values()):
        return None
    start, goal = (next(iter(cells[mark]), None) for mark in "rg")
    return Maze(tuple(row.replace("r", "0").replace("g", "0") for row in text), start, goal)


def goal_columns(names: Sequence[str] | None, *positions: str) -> tuple[list[int], list[int]] | None:
    """Where an observation has the position and the goal, two columns each; None: it has not both.

    ``positions``: parts that begin with the position, beside ``achieved_goal``.
    """
    for part in ("achieved_goal", *positions):
        columns = find_columns(names, [f"{part}.0", f"{part}.1", "desired_goal.0", "desired_goal.1"])
        if columns is not None:
            return columns[:2], columns[2:]
    return None


def goal_distances(columns: tuple[list[int], list[int]], observations: NDArray[Any]) -> NDArray[np.float64]:
    """Distance to the goal behind each step, ``[T + 1, O] -> [T]``."""
    position, goal = (np.asarray(observations[1:, part], dtype=np.float64) for part in columns)
    return np.linalg.norm(position - goal, axis=1)
