"""D4RL's score protocol (arXiv 2004.07219) on antmaze: 100 for an episode that reaches the goal, 0 for any other.

D4RL's episode ends within 0.5 of the goal, with a return of 1, or after 700 steps (umaze) or 1000, with 0. AntMaze of
Gymnasium-Robotics goes on at the goal and pays 1 at each step within 0.45: its own return is no such score. The rule
here is D4RL's, on its mazes, with its start and goal; an episode begins and leads up to 1 m beside the cells' centres
(D4RL: begins up to 0.1 m beside, leads up to 1.5 m). Minari's script evaluates umaze in the mirrored maze, D4RL's
eval-umaze, although the data are of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from agents.environments import mazes
from agents.environments.mazes import Maze, goal_columns, goal_distances, read_maze
from agents.environments.scoring import Reference, Scoring

REFERENCE = Reference(0.0, 1.0)
HORIZONS = {
    Maze(mazes.UMAZE, (1, 1), (3, 1)): 700,
    Maze(mazes.UMAZE_MIRRORED, (1, 3), (3, 3)): 700,
    Maze(mazes.MEDIUM, (1, 1), (6, 6)): 1000,
    Maze(mazes.LARGE, (1, 1), (7, 9)): 1000,
}  # steps
DATASET_IDS = tuple(
    f"D4RL/antmaze/{name}-v1"
    for name in ("umaze", "umaze-diverse", "medium-play", "medium-diverse", "large-play", "large-diverse")
)


def d4rl_return(
    columns: tuple[list[int], list[int]], horizon: int, observations: NDArray[Any], rewards: NDArray[Any]
) -> float:
    """1 where the goal is reached within the horizon, else 0; whatever the rewards are."""
    return float(np.any(goal_distances(columns, observations)[:horizon] <= mazes.RADIUS))


def scoring(spec: EnvSpec, names: Sequence[str] | None) -> Scoring | None:
    """D4RL's protocol on an environment whose observations have these names; None: it is none of D4RL's antmazes."""
    maze, columns = read_maze(spec) if spec.id.startswith("AntMaze_") else None, goal_columns(names)
    if maze is None or maze not in HORIZONS or columns is None:
        return None
    horizon = HORIZONS[maze]
    return Scoring(REFERENCE, partial(d4rl_return, columns, horizon), horizon=horizon)
