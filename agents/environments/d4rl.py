"""D4RL's score (arXiv 2004.07219): one scale, 0 to 100 between two references, over the families that have a file here.

A file says of the environments of its family whether D4RL's number means the same there, and how the record of an
episode becomes D4RL's return. Published numbers are of D4RL's data, too: Minari's of antmaze, pointmaze and MuJoCo are
others.
"""

from __future__ import annotations

from collections.abc import Sequence

from gymnasium.envs.registration import EnvSpec

from agents.environments import adroit, antmaze, kitchen, locomotion, pointmaze
from agents.environments.scoring import Reference, ScoreProtocol, Scoring

FAMILIES = (adroit, locomotion, antmaze, pointmaze, kitchen)


def _scoring(spec: EnvSpec | None, reference: Reference | None, names: Sequence[str] | None) -> Scoring | None:
    if spec is None:
        return None
    return next(filter(None, (family.scoring(spec, names) for family in FAMILIES)), None)


D4RL = ScoreProtocol(
    name="d4rl",
    label="D4RL",
    definition="D4RL's protocol",
    meaning="This is the score that papers report: the return under D4RL's protocol, 0 for a random policy (of antmaze "
    "and kitchen: for nothing reached) and 100 for D4RL's expert (for the goal, for all four subtasks). Pen runs 100 "
    "steps and ends when the pen drops; other tasks run as long as D4RL has them run.",
    scoring=_scoring,
    own_return=True,
    success="held",
    dataset_ids=tuple(dataset_id for family in FAMILIES for dataset_id in family.DATASET_IDS),
)
