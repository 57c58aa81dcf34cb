"""The result of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.environments.protocols import PROTOCOLS
from agents.environments.recording import Episode


@dataclass(frozen=True)
class EvalResult:
    """Returns, scores and successes; every array has an entry per episode, ``[E]``, in the order of the seeds.

    A protocol that the environment does not have, or that asks for longer episodes, is in none of the mappings.
    """

    returns: NDArray[np.float64]  # the environment's own, undiscounted
    lengths: NDArray[np.int64]  # steps
    success: NDArray[np.bool_] | None  # at the goal at any step; None without info["success"], as the next one
    success_last: NDArray[np.bool_] | None  # at the goal at the last step
    scores: Mapping[str, NDArray[np.float64]]  # by protocol
    protocol_returns: Mapping[str, NDArray[np.float64]]  # by protocol, undiscounted
    protocol_success: Mapping[str, NDArray[np.bool_]]  # by the protocols that have a criterion, if success is known
    episodes: tuple[Episode, ...] | None = None  # only if they were to be recorded

    def summary(self) -> str:
        """Two lines for a person: mean and standard deviation over episodes."""
        parts = [f"return {_spread(self.returns)}", f"length {_spread(self.lengths)}"]
        parts += [f"{name} score {_spread(scores)}" for name, scores in self.scores.items()]
        held = {protocol.success: self.protocol_success.get(protocol.name) for protocol in PROTOCOLS}
        shares = {"any step": self.success, **held, "last step": self.success_last}
        known = [f"{name} {100 * share.mean():.0f} %" for name, share in shares.items() if share is not None]
        first = f"{len(self.returns)} episodes: {', '.join(parts)}"
        return f"{first}\nsuccess: {', '.join(known)}" if known else first


def _spread(values: NDArray[Any]) -> str:
    return f"{values.mean():.1f} ± {values.std():.1f}"
