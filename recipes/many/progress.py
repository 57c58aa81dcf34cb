"""How far a pool of runs is: a table that is kept up to date in a terminal, a line per event elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from agents.errors import printable
from recipes.reporting.results import ESTIMATE, measures
from recipes.reporting.terminal import inert
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
    valid_from: float = 0.0  # modification time of its files; older ones are of the run that it overwrites
    until: float | None = None  # time of its end
    reason: str = ""

    @property
    def seconds(self) -> float:
        """From its start to its end, or to now."""
        return 0.0 if self.since is None else (self.until or time.monotonic()) - self.since

    @property
    def step(self) -> int:
        return int(last_row(self.folder.metrics_file, self.valid_from).get("step", 0))

    @property
    def score(self) -> str:
        """The shortest word on how good it is so far; empty before its first evaluation."""
        row = last_row(self.folder.evaluations_file, self.valid_from)
        key = next((measure.key for measure in (*measures(), ESTIMATE) if measure.key in row), None)
        return f"{key.removeprefix('eval/').replace('_', ' ')} {float(row[key]):.1f}" if key else ""


class Board:
    """The table of a pool's runs, each a folder and a number of updates by its name; printed if shown."""

    def __init__(self, runs: Mapping[str, tuple[Path, int]], show: bool = True) -> None:
        self._rows = {name: _Row(RunFolder(path), total, name.split("/")[0]) for name, (path, total) in runs.items()}
        self._show, self._drawn, self._since = show, 0.0, time.monotonic()
        self._live: Live | None = None
        if show and sys.stdout.isatty() and (console := Console()).is_interactive:
            # warnings stand above the table, or where the errors of the command go
            redirect = sys.stderr.isatty()
            self._live = Live(console=console, get_renderable=self.table, auto_refresh=False, redirect_stderr=redirect)

    def __enter__(self) -> Board:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._live.stop()  # draws it once more, and whole

    def started(self, name: str, *, anew: bool = False) -> None:
        row = self._rows[name]
        row.valid_from = time.time() if anew else 0.0
        row.state, row.first, row.since = "running", row.step, time.monotonic()
        self._tell(f"started {name}" + (f" after step {row.first}" if row.first else ""))

    def ended(self, name: str, state: str, reason: str = "") -> None:
        row = self._rows[name]
        row.state, row.reason, row.until = state, reason, time.monotonic()
        text = {"done": row.score, "failed": reason}.get(state, f"after step {row.step}")
        self._tell(f"{state} {name} in {duration(row.seconds)}" + (f": {text}" if text else ""))

    def draw(self) -> None:
        """Draw the table anew, unless that was done less than a second ago."""
        if self._live and time.monotonic() - self._drawn >= DRAW_EVERY:
            self._live.refresh()
            self._drawn = time.monotonic()

    def table(self) -> RenderableType:
        """The sum, runs that are running, and runs that failed; what a terminal has no room for is at the end."""
        running = Table.grid(padding=(0, 2, 0, 0))
        running.add_column(no_wrap=True)
        running.add_column(max_width=BAR)  # alone it is smaller on a narrow terminal
        for justify in ("right", "right", "left"):
            running.add_column(justify=justify, no_wrap=True)
        for name in self._in_state("running"):
            row = self._rows[name]
            step = row.step
            rate = f"{(step - row.first) / row.seconds:.0f}/s" if step > row.first else ""
            texts = map(inert, (f"{step} of {row.total}", rate, row.score))
            bar = ProgressBar(row.total, step, complete_style="cyan", finished_style="cyan")  # not red, as a failure
            running.add_row(inert(name), bar, *texts)
        failed = [inert(f"{name} failed: {self._rows[name].reason}") for name in self._in_state("failed")]
        return Group(inert(self.summary()), *([running] if running.row_count else []), *failed)

    def summary(self) -> str:
        """One line: how many are in which state, and the time that is left."""
        counts = {state: len(self._in_state(state)) for state in ("running", "done", "failed", "stopped", "waiting")}
        shown = [f"{count} {state}" for state, count in counts.items() if count or state in ("running", "done")]
        left = self._seconds_left()
        return ", ".join(shown) + ("" if left is None else f"; {duration(left)} left")

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
            print(printable(f"{text} ({self.summary()})"), flush=True)


def last_row(path: Path, valid_from: float = 0.0) -> dict[str, str]:
    """The last whole row of a CSV file of numbers by its columns; nothing as long as there is none, or an old file."""
    try:
        if os.path.getmtime(path) < valid_from:
            return {}
        with open(path, "rb") as file:
            header = file.readline()
            file.seek(max(os.path.getsize(path) - TAIL, len(header)))
            rows = [line for line in file.read().split(b"\n")[:-1] if line[:1].isdigit()]
    except OSError:
        return {}
    return dict(zip(*(line.decode().strip().split(",") for line in (header, rows[-1])))) if rows else {}


def duration(seconds: float) -> str:
    """Seconds in the two units that matter."""
    minutes, seconds = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
