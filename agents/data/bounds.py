"""Bounds of the actions that say nothing of the data: networks squash into them, and errors grow with them.

Legend: ``A`` action.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agents.data.source import Source

WIDE = 100.0  # times the range of the data's actions


def wide_bounds(source: Source, least: NDArray[np.floating], most: NDArray[np.floating]) -> tuple[str, str] | None:
    """Which action dimensions have bounds far wider than the data, which use ``least`` to ``most`` ``[A]``, and advice.

    Of a dimension that never changes the size of its value stands for the range; one that is always 0 has none.
    """
    extent = np.where(most > least, most.astype(np.float64) - least, np.abs(most))
    declared = source.high.astype(np.float64) - source.low
    wide = np.flatnonzero(np.isfinite(declared) & (extent > 0) & (declared > WIDE * extent))
    if source.discrete or not len(wide):
        return None
    first = wide[0]
    says = (
        f"the action space is more than {WIDE:g} times as wide as the data in dimensions {wide.tolist()} (in {first}, "
        f"[{source.low[first]:g}, {source.high[first]:g}] for [{least[first]:g}, {most[first]:g}])"
    )
    return says, "action_bounds=data takes the data's own bounds: policies are scaled to them"
