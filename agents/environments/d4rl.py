"""D4RL's protocol (arXiv 2004.07219) on the Adroit tasks, with DAPG's criterion of success (arXiv 1709.10087)."""

from __future__ import annotations

import functools

from gymnasium.envs.registration import EnvSpec

from agents.environments.adroit import ADROIT_TASKS, adroit_task, d4rl_return, success_held
from agents.environments.reward_sign import DistanceFit
from agents.environments.scoring import Reference, ScoreProtocol, Scoring


def _scoring(spec: EnvSpec | None, reference: Reference | None, num_observations: int | None) -> Scoring | None:
    dense = spec is not None and spec.kwargs.get("reward_type", "dense") == "dense"
    task = adroit_task(spec.id) if spec is not None and dense else None
    if task is None or num_observations not in (None, task.num_observations):
        return None
    return Scoring(
        task.d4rl_reference,
        functools.partial(d4rl_return, task),
        functools.partial(success_held, task),
        horizon=task.d4rl_horizon,
        reward_check=None if task.hand is None else functools.partial(DistanceFit, task),
    )


D4RL = ScoreProtocol(
    name="d4rl",
    label="D4RL",
    definition="D4RL's protocol",
    meaning="This is the score that papers report: the return under D4RL's protocol, 0 for a random policy and 100 for "
    "D4RL's expert. Pen runs 100 steps and ends when the pen drops; the others run 200.",
    scoring=_scoring,
    own_return=True,
    success="held",
    dataset_ids=tuple(f"D4RL/{task}/{kind}-v2" for task in ADROIT_TASKS for kind in ("human", "cloned", "expert")),
)
