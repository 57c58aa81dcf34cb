"""Settings of an import: what the columns of a log are, and what nothing in it says; nothing here loads NumPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.errors import require, require_choice

KINDS = ("auto", "continuous", "discrete")
ENDINGS = {  # of the files in each format
    "CSV": (".csv", ".tsv", ".csv.gz", ".tsv.gz"),
    "Parquet": (".parquet", ".pq"),
    "Arrow": (".arrow", ".feather"),
    "NPZ": (".npz",),
    "HDF5": (".hdf5", ".h5"),
    "TFRecord": (".tfrecord",),
}


@dataclass
class ColumnsConfig:
    """Which columns of a log are what; formats that describe themselves need none of it."""

    observation: list[str] = field(default_factory=list)  # names, or patterns of what has no other use: [s*,!s_raw]
    action: list[str] = field(default_factory=list)  # the same; a row holds what was done on its observation
    reward: str | None = None  # what the row's action earned
    next_observation: list[str] = field(default_factory=list)  # after the row's action; None of it: in the next row
    episode: str | None = None  # another value begins another episode
    time: str | None = None  # a number, or date and time; it grows within an episode
    terminated: str | None = None  # flag: behind this step the task was over, and nothing more could be earned
    truncated: str | None = None  # flag: behind this step a time limit cut the episode off
    done: str | None = None  # flag: the episode ends behind this step, nobody knows by which of the two
    success: str | None = None  # flag: the goal is reached at this step
    action_probability: str | None = None  # of the row's action, in (0, 1], when it was chosen; or its density
    keep: list[str] = field(default_factory=list)  # more columns that stay with the steps, and are not learned from
    category: list[str] = field(default_factory=list)  # observations and actions that are names, or numbers for such
    picture: list[str] = field(default_factory=list)  # names or patterns; kept in the dataset, not trained on
    units: list[str] = field(default_factory=list)  # of columns, for whoever reads them, as ['flow_in=l/s']

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, Sequence) and not isinstance(value, str):
                require(all(isinstance(each, str) for each in value), f"columns.{name}", "be a list of names", value)
        pairs = all(all(each.partition("=")) for each in self.units)
        require(pairs, "columns.units", "be a list of column=unit", self.units)


@dataclass(kw_only=True)
class MeaningConfig:
    """What nothing in a log says, or says only in part."""

    reward: str | None = None  # last: 1 at the end of episodes with a success; or an expression, as '-cost - 0.1*flow'
    gap: float | None = None  # in columns.time, beyond which a new episode begins; seconds of dates, > 0
    end: str = "truncated"  # what ends episodes without columns.terminated: truncated or terminated
    last_observation: str = "drop"  # where none follows a truncated end: drop that step, or repeat its observation
    action_kind: str = "auto"  # continuous, discrete, or auto: discrete where all are few whole numbers
    action_bounds: Any = "data"  # data: their range and 5 % on each side; [low,high]; of discrete ones first and last
    missing: str = "refuse"  # values: refuse, drop-episode, or forward-fill from the row before
    pictures: str = "keep"  # in the dataset, from which training leaves them out; or drop
    rows: str = "auto"  # a row is one of steps, or one of episodes with lists in it; auto: by the lists
    sort: bool = False  # rows by columns.episode and columns.time, in memory; else both have to be in order
    time_step: float | None = None  # resample each episode to even steps of columns.time; seconds of dates, > 0
    separator: str | None = None  # of the columns of CSV, a character; None: tab, ; , or |, by the header
    decimal: str = "auto"  # of numbers in CSV: point, comma, or auto: comma where the first numbers have one
    subset: str | None = None  # import these episodes alone: a split or filter key, by its name in the log

    def __post_init__(self) -> None:
        require(self.gap is None or 0.0 < self.gap < math.inf, "gap", "be positive", self.gap)
        positive = self.time_step is None or 0.0 < self.time_step < math.inf
        require(positive, "time_step", "be positive", self.time_step)
        one = self.separator is None or (len(self.separator) == 1 and self.separator not in '"\r\n')
        require(one, "separator", "be one character, as ';'", self.separator)
        require_choice("decimal", self.decimal, ("auto", "point", "comma"))
        require_choice("end", self.end, ("truncated", "terminated"))
        require_choice("last_observation", self.last_observation, ("drop", "repeat"))
        require_choice("action_kind", self.action_kind, KINDS)
        require_choice("missing", self.missing, ("refuse", "drop-episode", "forward-fill"))
        require_choice("pictures", self.pictures, ("keep", "drop"))
        require_choice("rows", self.rows, ("auto", "steps", "episodes"))
        if isinstance(self.action_bounds, str):
            require_choice("action_bounds", self.action_bounds, ("data",))
        else:
            pair = isinstance(self.action_bounds, Sequence) and len(self.action_bounds) == 2
            require(pair, "action_bounds", "be data or [low,high]", self.action_bounds)
