"""How far a pool of runs is: a table that is kept up to date in a terminal, a line per event elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.reporting.results import measures
from recipes.runs.folder import RunFolder

DRAW_EVERY = 1.0  # seconds
BAR = 16  # characters
TAIL = 4096  # bytes at the end of a CSV file that hold its last row
ANY = ""  # kind of all runs


@dataclass
class _Row:
    folder: RunFolder
    total: int  # updates
    kind: str  # the first part of its name, in a comparison the algorithm: these are as fast as each other
    state: str = "waiting"
    first: int = 0  # updates that were done before
    since: float | None = None  # time of its start
    until: float | None = None  # time of its end
    reason: str = ""

    @property
    def seconds(self) -> float:
        """From its start to its end, or to now."""
        return 0.0 if self.since is None else (self.until or time.monotonic()) - self.since

    @property
    def step(self) -> int:
        return int(last_row(self.folder.metrics_file).get("step", 0))


class Board:
    """The table of a pool's runs, each a folder and a number of updates by its name; printed if shown."""

    def __init__(self, runs: Mapping[str, tuple[Path, int]], show: bool = True) -> None:
        self._rows = {name: _Row(RunFolder(path), total, name.split("/")[0]) for name, (path, total) in runs.items()}
        self._show = show
        self._live = show and sys.stdout.isatty()
        self._height, self._drawn, self._since = 0, 0.0, time.monotonic()

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *exception: object) -> None:
        self.draw(at_once=True)

    def started(self, name: str) -> None:
        row = self._rows[name]
        row.state, row.first, row.since = "running", row.step, time.monotonic()
        self._tell(f"started {name}" + (f" after step {row.first}" if row.first else ""))

    def ended(self, name: str, state: str, reason: str = "") -> None:
        row = self._rows[name]
        row.state, row.reason, row.until = state, reason, time.monotonic()
        text = {"done": latest_score(row.folder), "failed": reason}.get(state, f"after step {row.step}")
        self._tell(f"{state} {name} in {duration(row.seconds)}" + (f": {text}" if text else ""))

    def draw(self, *, at_once: bool = False) -> None:
        """Draw the table anew, unless that was done less than a second ago."""
        if not self._live or (time.monotonic() - self._drawn < DRAW_EVERY and not at_once):
            return
        width, height = shutil.get_terminal_size()
        lines = [line[: width - 1] for line in self.lines(height - 2)]
        up = f"\x1b[{self._height}F" if self._height else ""
        print(up + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J", end="", flush=True)
        self._height, self._drawn = len(lines), time.monotonic()

    def lines(self, at_most: int) -> list[str]:
        """The table: runs that failed, runs that are running, and the sum."""
        shown = [name for state in ("failed", "running") for name in self._in_state(state)][: max(at_most - 1, 0)]
        width = max(map(len, shown), default=0)
        return [*(self._line(name, width) for name in shown), self.summary()]

    def summary(self) -> str:
        """One line: how many are in which state, and the time that is left."""
        counts = {state: len(self._in_state(state)) for state in ("running", "done", "failed", "stopped", "waiting")}
        shown = [f"{count} {state}" for state, count in counts.items() if count or state in ("running", "done")]
        left = self._seconds_left()
        return ", ".join(shown) + ("" if left is None else f"; {duration(left)} left")

    def _line(self, name: str, width: int) -> str:
        row = self._rows[name]
        if row.state == "failed":
            return f"{name:{width}}  failed: {row.reason}"
        step = row.step
        bar = "━" * round(BAR * step / row.total)
        rate = f"{(step - row.first) / row.seconds:6.0f}/s" if step > row.first else f"{'':8}"
        return f"{name:{width}}  {bar:─<{BAR}}  {step:>8} of {row.total}  {rate}  {latest_score(row.folder)}"

    def _in_state(self, state: str) -> list[str]:
        return [name for name, row in self._rows.items() if row.state == state]

    def _seconds_left(self) -> float | None:
        """Of all runs, at the pace so far of those of the same kind, else of all; None as long as nothing is known."""
        seconds: defaultdict[str, float] = defaultdict(float)
        steps: Counter[str] = Counter()
        for row in self._rows.values():
            if row.since is not None:
                row.first = min(row.first, row.step)  # one that was killed goes back to its last checkpoint
                for kind in (row.kind, ANY):
                    seconds[kind] += row.seconds
                    steps[kind] += row.step - row.first
        if not steps[ANY]:
            return None
        pace = {kind: seconds[kind] / count for kind, count in steps.items() if count}  # seconds per update
        unfinished = [row for row in self._rows.values() if row.state in ("running", "waiting")]
        left = [(row.total - row.step) * pace.get(row.kind, pace[ANY]) for row in unfinished]
        at_once = seconds[ANY] / max(time.monotonic() - self._since, 1e-9)  # runs, on average
        return max(sum(left) / at_once, *left, 0.0) or None  # no two workers share a run

    def _tell(self, text: str) -> None:
        if self._show and not self._live:
            print(f"{text} ({self.summary()})", flush=True)


def last_row(path: Path) -> dict[str, str]:
    """The last whole row of a CSV file of numbers by its columns; nothing as long as there is none."""
    try:
        with open(path, "rb") as file:
            header = file.readline()
            file.seek(max(os.path.getsize(path) - TAIL, len(header)))
            rows = [line for line in file.read().split(b"\n")[:-1] if line[:1].isdigit()]
    except OSError:
        return {}
    return dict(zip(*(line.decode().strip().split(",") for line in (header, rows[-1])))) if rows else {}


def latest_score(folder: RunFolder) -> str:
    """The shortest word on how good a run is so far; empty before its first evaluation."""
    row = last_row(folder.evaluations_file)
    key = next((measure.key for measure in measures() if measure.key in row), None)
    return f"{key.removeprefix('eval/').replace('_', ' ')} {float(row[key]):.1f}" if key else ""


def duration(seconds: float) -> str:
    """Seconds in the two units that matter."""
    minutes, seconds = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
