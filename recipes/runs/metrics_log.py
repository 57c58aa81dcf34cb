"""The logs of a run as CSV files, of which a kill leaves whole rows."""

from __future__ import annotations

import csv
import io
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.errors import ConfigError, one_line
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
        return csv_text(self._columns, rows, header=header)


def csv_text(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], *, header: bool = True) -> str:
    """Rows as such a file has them; nothing without columns."""
    if not columns:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_csv(path: Path, last_step: int | None = None) -> list[dict[str, str]]:
    """Whole rows of a CSV log up to a step, values as they were written; none where there is no file.

    Raises:
        ConfigError: if it holds anything else; one line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        reader = csv.DictReader(line for line in lines if line.endswith("\n"))
        if "step" not in (reader.fieldnames or ["step"]):
            raise ValueError("its first line does not name the columns")
        rows = [*reader]
        for row in rows:
            _check_row(row)
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError(f"{path} is damaged ({one_line(error)}); mend it, or go on in another folder") from error
    return [row for row in rows if last_step is None or int(row["step"]) <= last_step]


def _check_row(row: Mapping[Any, Any]) -> None:
    """Raise a ValueError where a row is not what a :class:`CsvLog` writes."""
    step = row.get("step") or ""
    if not (step.isascii() and step.isdecimal()):
        raise ValueError(f"{step!r} is no step")
    if None in row or None in row.values():
        raise ValueError(f"the row of step {step} has not the columns of the first line")
    for value in row.values():
        float(value or 0)  # empty: not known of this row


def tell_of_lost_rows(path: Path, steps: Iterable[int]) -> None:
    """Say which of the steps that were written have no row."""
    known = {int(row["step"]) for row in read_csv(path)}
    if lost := [step for step in steps if step not in known]:
        what = "it lacks rows" if known else "it is empty"
        what = what if path.exists() else "it is missing"
        which = f"step {lost[0]}" if len(lost) == 1 else f"{len(lost)} steps from {lost[0]} to {lost[-1]}"
        print(f"warning: {path}: {what}; the values of {which} are lost, the run itself goes on", file=sys.stderr)


def minutes(rows: Sequence[Mapping[str, str]], steps: Sequence[float]) -> list[float]:
    """Minutes from the first update until some steps, by the rows of metrics.csv; NaN where there are none.

    They follow from speed and shares of time, evaluations included, and so leave out pauses of a run that was resumed.
    """
    clock, last, pace = {0.0: 0.0}, 0, math.nan
    for row in rows:
        step, parts = int(row["step"]), ("time/sample_share", "time/update_share")
        rate = float(row.get("time/updates_per_second") or 0) * sum(float(row.get(name) or 0) for name in parts)
        pace = 1 / rate / 60 if rate else math.nan
        clock[step] = clock[last] + (step - last) * pace
        last = step
    if (end := max(steps)) > last:
        clock[end] = clock[last] + (end - last) * pace
    return np.interp(steps, [*clock], [*clock.values()]).tolist()
