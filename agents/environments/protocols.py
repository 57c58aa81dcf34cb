"""Score protocols: what turns the record of an episode into a return, a score and a success."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agents.errors import DataError


@dataclass(frozen=True)
class Reference:
    """Two returns that fix a normalised scale: ``min`` scores 0, ``max`` scores 100."""

    min: float
    max: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.min) and math.isfinite(self.max) and self.min < self.max):
            raise DataError(f"reference returns must be finite with min < max, got {self.min} and {self.max}")

    def score(self, returns: ArrayLike) -> NDArray[np.float64]:
        return 100.0 * (np.asarray(returns, dtype=np.float64) - self.min) / (self.max - self.min)
