"""The logs of a run as CSV files, of which a kill leaves whole rows."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.files import write_atomically


class CsvLog:
    """A CSV file of one row per step; a row with further columns, as of a first success, adds them to the file.

    Args:
        last_step: rows after it, or broken off by a kill, are dropped; they will be written again. None: a new file.
    """

    def __init__(self, path: Path, *, last_step: int | None = None) -> None:
        self.path = path
        rows = [] if last_step is None else read_csv(path, last_step)
        self._columns = [*rows[0]] if rows else []
        write_atomically(path, self._to_text(rows).encode())

    def write(self, step: int, values: Mapping[str, float]) -> None:
        row = {"step": step, **values}
        if further := [name for name in row if name not in self._columns]:
            self._columns += further
            write_atomically(self.path, self._to_text(read_csv(self.path)).encode())
        with open(self.path, "a", newline="") as file:
            file.write(self._to_text([row], header=False))
            file.flush()
            os.fsync(file.fileno())  # as of a checkpoint: after a power cut a resume would not make the row again

    def _to_text(self, rows: Sequence[Mapping[str, Any]], *, header: bool = True) -> str:
        if not self._columns:
            return ""
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()


def read_csv(path: Path, last_step: int | None = None) -> list[dict[str, str]]:
    """Whole rows of a CSV log up to a step, values as they were written; none where there is no file."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    rows = csv.DictReader(line for line in lines if line.endswith("\n"))
    whole = [row for row in rows if (row.get("step") or "").isdigit()]
    return [row for row in whole if last_step is None or int(row["step"]) <= last_step]


def minutes(rows: Sequence[Mapping[str, str]], steps: Sequence[float]) -> list[float]:
    """Minutes from the first update until some steps, by the rows of metrics.csv; NaN where there are none.

    They follow from speed and shares of time, evaluations included, and so leave out pauses of a run that was resumed.
    """
    clock, last, pace = {0.0: 0.0}, 0, math.nan
    for row in rows:
        step, share = int(row["step"]), float(row["time/sample_share"]) + float(row["time/update_share"])
        pace = 1 / float(row["time/updates_per_second"]) / share / 60
        clock[step] = clock[last] + (step - last) * pace
        last = step
    if (end := max(steps)) > last:
        clock[end] = clock[last] + (end - last) * pace
    return np.interp(steps, [*clock], [*clock.values()]).tolist()
