"""What an evaluation measured.

Shapes: ``E`` episodes, ``T`` steps of an episode, ``O`` observation, ``A`` action.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.environments.adroit import AdroitTask
from agents.environments.protocols import Reference


@dataclass(frozen=True)
class Episode:
    """One recorded rollout."""

    observations: NDArray[Any]  # [T + 1, O], as the environment gave them
    actions: NDArray[Any]  # [T, A], as the environment received them
    rewards: NDArray[np.float64]  # [T]
    success: NDArray[np.bool_] | None  # [T], info["success"]; None when the environment gives none


@dataclass(frozen=True)
class EvalResult:
    """What an evaluation measured; every array is ``[E]``, in the order of the seeds."""

    returns: NDArray[np.float64]  # the environment's own, undiscounted
    lengths: NDArray[np.int64]  # steps
    success: NDArray[np.bool_] | None  # at the goal at any step; None without info["success"], as the next two
    success_held: NDArray[np.bool_] | None  # DAPG's criterion; None when not Adroit
    success_last: NDArray[np.bool_] | None  # at the goal at the last step
    d4rl_returns: NDArray[np.float64] | None  # None when not Adroit, or cut before D4RL's horizon
    task: AdroitTask | None
    reference: Reference | None  # the dataset's, for minari_scores
    episodes: tuple[Episode, ...] | None  # only when asked to record

    @property
    def minari_scores(self) -> NDArray[np.float64] | None:
        return None if self.reference is None else self.reference.score(self.returns)

    @property
    def d4rl_scores(self) -> NDArray[np.float64] | None:
        return None if self.d4rl_returns is None else self.task.d4rl_reference.score(self.d4rl_returns)

    def summary(self) -> str:
        """Two lines for a person: mean and standard deviation over episodes."""
        parts = [f"return {_spread(self.returns)}", f"length {_spread(self.lengths)}"]
        shares = {"any step": self.success, "held": self.success_held, "last step": self.success_last}
        known = [f"{name} {100 * share.mean():.0f} %" for name, share in shares.items() if share is not None]
        scores = {"d4rl": self.d4rl_scores, "minari": self.minari_scores}
        parts += [f"{name} score {_spread(score)}" for name, score in scores.items() if score is not None]
        first = f"{len(self.returns)} episodes: {', '.join(parts)}"
        return f"{first}\nsuccess: {', '.join(known)}" if known else first


def _spread(values: NDArray[Any]) -> str:
    return f"{values.mean():.1f} ± {values.std():.1f}"
