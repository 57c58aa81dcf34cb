"""The range of the actions of a log, added up episode by episode.

Legend: ``A`` action.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.data.importers.rows import Array


@dataclass
class Extent:
    """The range of the actions, and how often they are at its ends."""

    low: Array  # [A]
    high: Array
    at_low: NDArray[np.int64]
    at_high: NDArray[np.int64]

    @classmethod
    def of(cls, actions: Array) -> Extent:
        low, high = actions.min(0), actions.max(0)
        return cls(low, high, (actions == low).sum(0), (actions == high).sum(0))

    def add(self, other: Extent) -> Extent:
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        at_low = self.at_low * (self.low == low) + other.at_low * (other.low == low)
        at_high = self.at_high * (self.high == high) + other.at_high * (other.high == high)
        return Extent(low, high, at_low, at_high)
