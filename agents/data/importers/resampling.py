"""The rows of an episode -> rows at even times: the last values before each, the sum of rewards until the next.

Nothing is interpolated: what was not known yet is not observed. Legend: ``R`` rows, ``K`` rows at even times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.data.importers.splitting import Recording, seconds
from agents.data.importers.values import FLAGS
from agents.errors import ConfigError, DataError

SLACK = 1e-6  # of a step: times this close to an even one are that; or as close as they can be written
MOST = 10_000_000  # rows of an episode


@dataclass(frozen=True)
class EvenRecording(Recording):
    """A recording at even times, whose places are those of the rows that gave the values."""

    rows: NDArray[np.int64]  # [K]

    def place(self, index: int) -> str:
        return super().place(int(self.rows[index]))


def resample(recording: Recording, step: float) -> Recording:
    """Rows each ``step`` (in the unit of the times, or seconds) from the first on.

    Raises:
        ConfigError: the episode has an observation more than rows, or would have too many rows.
    """
    num_rows = len(recording.parts["time"])
    if unlike := next((use for use, part in recording.parts.items() if len(part) != num_rows), None):
        raise ConfigError(f"{recording.place(0)}: time_step needs a time for each row, and {unlike} has more or less")
    written = recording.parts["time"]
    times = seconds(written - written[0]).astype(np.float64) / step  # [R] in steps
    rounding = 2 * float(np.spacing(np.abs(written).max())) / step if written.dtype.kind == "f" else 0.0
    slack = max(SLACK, rounding)  # seconds since 1970 are known to a quarter of a microsecond
    if times[-1] >= MOST:
        raise DataError(
            f"{recording.place(0)}: an episode of {times[-1]:.3g} steps of {step:g}; is the unit of time right?"
        )
    count = int(times[-1] + slack) + 1
    rows = np.searchsorted(times, np.arange(count) + slack, side="right") - 1  # [K] last at or before
    until = np.minimum((times + slack).astype(np.int64), count - 1)  # [R] the step in which each row is
    parts = {use: part[rows] for use, part in recording.parts.items()}
    for use, part in recording.parts.items():
        if use == "reward":
            parts[use] = np.bincount(until, part, count)
        elif use in FLAGS:
            parts[use] = np.bincount(until, part, count) > 0
    return EvenRecording(parts, recording.blocks, rows)
