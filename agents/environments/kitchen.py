"""D4RL's score protocol (arXiv 2004.07219) on kitchen: the share of its four subtasks that are completed in 280 steps.

Each counts once. FrankaKitchen pays 1 once for each as well, unless ``remove_task_when_completed`` is false, as in
Minari's data, where it pays at each step that a subtask stays completed. So they are counted here from the observation,
as D4RL does: one is completed when the joints of its object are within 0.3 of where they are to be.

Shapes: ``T`` steps of an episode, ``O`` observation.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from agents.environments.scoring import Reference, Scoring, find_columns

REFERENCE = Reference(0.0, 4.0)
HORIZON = 280  # steps; Minari's episodes of partial and mixed may have 450
COMPLETED = 0.3  # distance of the joints from the goal below which a subtask is
GOALS = {
    "bottom burner": {20: -0.88, 21: -0.01},
    "light switch": {26: -0.69, 27: -0.05},
    "slide cabinet": {28: 0.37},
    "microwave": {31: -0.75},
    "kettle": {32: -0.23, 33: 0.75, 34: 1.62, 35: 0.99, 36: 0.0, 37: 0.0, 38: -0.06},
}  # of each subtask, where which dimension of the part "observation" is to be
SUBTASKS = (
    ["kettle", "light switch", "microwave", "slide cabinet"],  # complete and partial
    ["bottom burner", "kettle", "light switch", "microwave"],  # mixed
)
KEYWORDS = {"tasks_to_complete", "remove_task_when_completed", "terminate_on_tasks_completed"}  # none changes the count
DATASET_IDS = tuple(f"D4RL/kitchen/{kind}-v2" for kind in ("complete", "partial", "mixed"))


def d4rl_return(columns: dict[str, list[int]], observations: NDArray[Any], rewards: NDArray[Any]) -> float:
    """Number of subtasks that are completed at some step; ``columns`` are those of each subtask's joints."""
    after = np.asarray(observations[1 : HORIZON + 1], dtype=np.float64)  # [T, O]
    distances = [np.linalg.norm(after[:, where] - [*GOALS[name].values()], axis=1) for name, where in columns.items()]
    return float(sum(np.any(distance < COMPLETED) for distance in distances))


def scoring(spec: EnvSpec, names: Sequence[str] | None) -> Scoring | None:
    """D4RL's protocol on an environment whose observations have these names; None: it is no kitchen of D4RL's."""
    given = spec.kwargs.get("tasks_to_complete")
    subtasks = next((each for each in SUBTASKS if isinstance(given, list) and sorted(map(str, given)) == each), None)
    if spec.id != "FrankaKitchen-v1" or subtasks is None or not spec.kwargs.keys() <= KEYWORDS:
        return None
    columns = {name: find_columns(names, [f"observation.{index}" for index in GOALS[name]]) for name in subtasks}
    known = {name: where for name, where in columns.items() if where is not None}
    return Scoring(REFERENCE, partial(d4rl_return, known), horizon=HORIZON) if known.keys() == {*subtasks} else None
