"""D4RL's score protocol (arXiv 2004.07219) on maze2d, version 1: steps near the goal, of 300, 600 or 800.

The ball of PointMaze is that of maze2d, and as there an episode goes on at the goal: where ``continuing_task`` is false
it is another task, as with a goal that is drawn from all cells. D4RL counts steps within 0.5 of the goal (the
environment: 0.45), or sums ``exp(-distance)``; both are computed here from the positions.

Starts differ: D4RL begins in the goal's cell too, up to 0.1 beside a cell's centre, and has no noise on the goal;
PointMaze has 0.25 on both. That is a few points: a controller like D4RL's, which plans anew in each episode, returns
219, 426 and 541 on umaze, medium and large from D4RL's starts, 212, 428 and 561 from these (150 episodes each). All of
these score well above 100: the controller of D4RL's references kept the way of its first episode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from agents.environments.mazes import LARGE, MEDIUM, RADIUS, UMAZE, Maze, goal_columns, goal_distances, read_maze
from agents.environments.scoring import Reference, Scoring


@dataclass(frozen=True)
class Maze2d:
    """D4RL's facts on one of its mazes."""

    horizon: int  # steps
    sparse: Reference  # mean returns of a random policy and of D4RL's controller
    dense: Reference


MAZES = {
    Maze(UMAZE, None, (1, 1)): Maze2d(300, Reference(23.85, 161.86), Reference(68.537689, 193.66285642381482)),
    Maze(MEDIUM, None, (6, 6)): Maze2d(600, Reference(13.13, 277.39), Reference(44.264742, 297.4552547777125)),
    Maze(LARGE, None, (7, 9)): Maze2d(800, Reference(6.7, 273.99), Reference(30.569041, 303.4857382709002)),
}
DATASET_IDS = tuple(
    f"D4RL/pointmaze/{name}{kind}-v2" for name in ("open", "umaze", "medium", "large") for kind in ("", "-dense")
)


def d4rl_return(
    columns: tuple[list[int], list[int]],
    horizon: int,
    dense: bool,
    observations: NDArray[Any],
    rewards: NDArray[Any],
) -> float:
    """Return of one recorded episode, from the positions behind its steps."""
    distances = goal_distances(columns, observations)[:horizon]  # [T]
    return float(np.exp(-distances).sum() if dense else np.count_nonzero(distances <= RADIUS))


def scoring(spec: EnvSpec, names: Sequence[str] | None) -> Scoring | None:
    """D4RL's protocol on an environment whose observations have these names; None: it is none of D4RL's maze2d."""
    maze = read_maze(spec) if spec.id.startswith("PointMaze_") else None
    columns = goal_columns(names, "observation")  # for those who leave out achieved_goal, which is the same
    if maze is None or maze not in MAZES or columns is None or not spec.kwargs.get("continuing_task", True):
        return None
    task, dense = MAZES[maze], spec.kwargs.get("reward_type") == "dense"
    rule = partial(d4rl_return, columns, task.horizon, dense)
    return Scoring(task.dense if dense else task.sparse, rule, horizon=task.horizon)
