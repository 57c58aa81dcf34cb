"""The score protocols that there are, of which an environment may have several: to add one, add it to the list here.

All are computed from the same rollout: Gymnasium-Robotics and D4RL, say, score one simulation differently.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from gymnasium.envs.registration import EnvSpec

from agents.environments.d4rl import D4RL
from agents.environments.scoring import Reference, ScoreProtocol, Scoring


def _minari_scoring(spec: EnvSpec | None, reference: Reference | None, names: Sequence[str] | None) -> Scoring | None:
    limit = None if spec is None else spec.max_episode_steps  # a recording may be longer than an evaluation
    return reference and Scoring(reference, lambda _, rewards: float(rewards[:limit].sum(dtype=np.float64)))


MINARI = ScoreProtocol(
    name="minari",
    label="Minari",
    definition="the environment's own protocol",
    meaning="The environment's own return over its whole episode, between the reference scores in the dataset's "
    "metadata. It is another scale than D4RL's: numbers of the two sections cannot be compared.",
    scoring=_minari_scoring,
)
PROTOCOLS: list[ScoreProtocol] = [D4RL, MINARI]  # where one number stands for a policy, it is that of the first known


def scorings(
    spec: EnvSpec | None, reference: Reference | None, names: Sequence[str] | None = None
) -> dict[str, Scoring]:
    """The rules of all protocols that score an environment, by protocol; arguments as of ``ScoreProtocol.scoring``."""
    bound = {protocol.name: protocol.scoring(spec, reference, names) for protocol in PROTOCOLS}
    return {name: scoring for name, scoring in bound.items() if scoring is not None}
