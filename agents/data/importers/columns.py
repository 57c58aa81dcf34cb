"""Which columns of a log are what: names, patterns and what the format says -> a part of every row for each use.

Legend: ``n`` rows of a piece, ``O`` observation, ``A`` action.
"""

from __future__ import annotations

import difflib
import fnmatch
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np

from agents.data.importers.categories import no_words_yet, read_words
from agents.data.importers.expressions import Expression, parse
from agents.data.importers.rows import Array, Log, Rows
from agents.data.importers.settings import ColumnsConfig, MeaningConfig
from agents.data.importers.values import as_it_is, numbers_of, pictures_of, single_of
from agents.errors import ConfigError, DataError

VECTORS = ("action", "next_observation", "observation")  # patterns leave out what those before have chosen
INFOS, PICTURES = "infos", "pictures"  # in the names of parts, before those of columns that are kept
SEEN = 16  # names of columns in a message


@dataclass(frozen=True)
class Block:
    """Rows by their use."""

    # observation [n, O], action [n, A]; reward, episode, time, flags and action_probability [n], if there;
    # infos/name and pictures/name [n, ...]
    parts: Mapping[str, Array]
    rows: Rows

    def cut(self, start: int, stop: int) -> Block:
        """Some of the rows of a table."""
        parts = {name: part[start:stop] for name, part in self.parts.items()}
        return Block(parts, replace(self.rows, columns={}, first=self.rows.first + start))


@dataclass(frozen=True)
class Selection:
    """The columns of a log that are used, each for what."""

    vectors: Mapping[str, Sequence[str]]  # observation, action, next_observation
    single: Mapping[str, str]  # reward, episode, time, flags, action_probability
    expression: Expression | None = None  # of the reward
    kept: Sequence[str] = ()  # as they are, with the steps
    pictures: Sequence[str] = ()
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)  # of the numbers of a column
    words: Mapping[str, dict[str, int]] = field(default_factory=dict)  # of each category, in the order they come
    units: Mapping[str, str] = field(default_factory=dict)  # of columns, as far as they are known

    @property
    def uses(self) -> dict[str, str]:
        """What every column is read as: of several uses, as numbers."""
        kinds = {"reward": "number", "action_probability": "number", "episode": "label", "time": "time"}
        uses = {column: "any" for column in self.kept} | {column: "picture" for column in self.pictures}
        uses |= {column: kinds.get(use, "flag") for use, column in self.single.items()}
        uses |= {column: "number" for column in (self.expression.columns.values() if self.expression else ())}
        uses |= {column: "number" for columns in self.vectors.values() for column in columns}
        return uses | {column: "label" for column in self.words}

    def blocks(self, pieces: Iterator[Rows]) -> Iterator[Block]:
        """Pieces of the log by use.

        Raises:
            DataError: what should be a number or a flag is none, or not all have as many rows.
        """
        for rows in pieces:
            parts = {use: self._vector(rows, columns) for use, columns in self.vectors.items()}
            parts |= {use: single_of(rows, use, column) for use, column in self.single.items()}
            if self.expression is not None:
                inputs = {name: single_of(rows, "reward", name) for name in self.expression.columns.values()}
                parts["reward"] = self.expression.evaluate(inputs)
            parts |= {f"{INFOS}/{name}": as_it_is(rows.columns[name]) for name in self.kept}
            parts |= {f"{PICTURES}/{name}": pictures_of(rows, name) for name in self.pictures}
            yield Block(parts, rows)

    def names(self, use: str, block: Block) -> list[str]:
        """Of the dimensions of a vector; none where it is one column that is a vector itself."""
        columns = self.vectors[use]
        parts = {name: self._column(block.rows, name) for name in columns}
        if len(columns) == 1 and parts[columns[0]].ndim > 1:
            return [*self.labels.get(columns[0], ())]
        names = []
        for name, part in parts.items():
            places = [name] if part.ndim == 1 else [f"{name}.{index}" for index in range(part.shape[1])]
            names += self.labels.get(name, places)
        return names

    def units_of(self, use: str, block: Block) -> list[str | None]:
        """Of each number of a vector, that of its column."""
        widths = {name: math.prod(block.rows.columns[name].shape[1:]) for name in self.vectors[use]}
        return [self.units.get(name) for name, width in widths.items() for _ in range(width)]

    def _column(self, rows: Rows, name: str) -> Array:
        """Numbers; of a category, those of its words."""
        return read_words(rows, name, self.words[name]) if name in self.words else numbers_of(rows, name)

    def _vector(self, rows: Rows, columns: Sequence[str]) -> Array:
        """Columns side by side, ``[n, O]``; one that is a vector or a picture as it is."""
        parts = [self._column(rows, column) for column in columns]
        if len(parts) == 1 and parts[0].ndim > 1:
            return parts[0]
        if unlike := next((name for name, part in zip(columns, parts) if len(part) != len(parts[0])), None):
            lengths = f"{len(rows.columns[unlike])} rows for the {len(parts[0])} of {columns[0]!r}"
            raise DataError(f"{rows.file}: the column {unlike!r} has {lengths}")
        if deep := next((name for name, part in zip(columns, parts) if part.ndim > 2), None):
            raise DataError(
                f"{rows.file}: {deep!r} has more than one dimension, and is an observation of its own alone"
            )
        return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def select(log: Log, columns: ColumnsConfig, meaning: MeaningConfig) -> Selection:
    """The columns to use.

    Raises:
        ConfigError: no observation or no action is chosen, a column is not there, or two settings contradict.
    """
    merged = _merge(log.preset, columns)
    expression = None
    if meaning.reward is not None:
        if columns.reward is not None:
            raise ConfigError("reward and columns.reward both say what is earned: leave one of them out")
        merged["reward"] = None
        expression = None if meaning.reward == "last" else parse(meaning.reward)
    single = {use: value for use, value in merged.items() if isinstance(value, str)}
    for use, column in single.items():
        _require(log, f"columns.{use}", column)
    for column in expression.columns.values() if expression else ():
        _require(log, "reward", column)
    pictures = _match(log, "picture", merged["picture"], {*single.values()})
    taken = {*single.values(), *pictures, *merged["keep"]}
    vectors: dict[str, list[str]] = {}
    for use in VECTORS:
        if merged[use]:
            vectors[use] = _match(log, use, merged[use], {*taken, *chain(*vectors.values())})
    known = [*log.preset.observation]
    if known and vectors.get("observation") != known and not columns.next_observation:
        vectors.pop("next_observation", None)  # what the format says follows other observations
    for use in ("observation", "action"):
        if not vectors.get(use):
            alone = "; pictures alone are not learned from" if pictures and use == "observation" else ""
            raise ConfigError(f"columns.{use} must name the columns of the {use}s, as [a,b*]{alone}; {_listing(log)}")
    if twice := [name for name in vectors["observation"] if name in vectors["action"]]:
        problem = f"columns.observation and columns.action both name {twice[0]!r}"
        raise ConfigError(f"{problem}, which nobody can see before it is chosen; leave it out of one")
    taken = {*single.values(), *pictures, *chain(*vectors.values())}
    kept = _match(log, "keep", merged["keep"], taken)
    _check(meaning, single)
    words = no_words_yet(_match(log, "category", merged["category"], set()), vectors, meaning)
    given = {column: unit for column, _, unit in (pair.rpartition("=") for pair in columns.units)}
    for column in given:
        _require(log, "columns.units", column)
    pictures = pictures if meaning.pictures == "keep" else []
    units = {**log.units, **given}
    return Selection(vectors, single, expression, kept, pictures, log.labels, words, units)


def _merge(preset: ColumnsConfig, columns: ColumnsConfig) -> dict[str, Any]:
    """What the user says before what the format says; a column that he uses otherwise is not used twice."""
    own = {use: value for use, value in vars(columns).items() if value and use != "units"}
    taken = {*(name for value in own.values() for name in ([value] if isinstance(value, str) else value))}
    of_format: dict[str, Any] = {}
    chosen = {*chain(*(own.get(use, ()) for use in VECTORS))}
    for use, value in vars(preset).items():
        if isinstance(value, list):
            of_format[use] = [name for name in value if name not in chosen]
        elif isinstance(value, str) and value not in taken:
            of_format[use] = value
    return {**vars(ColumnsConfig()), **of_format, **own}


def _match(log: Log, use: str, patterns: Sequence[str], others: set[str]) -> list[str]:
    """The columns that names and patterns choose, in the log's order for each; of patterns none that is another's."""
    chosen: dict[str, None] = {}
    for pattern in patterns:
        if pattern.startswith("!"):
            for name in fnmatch.filter(log.columns, pattern[1:]):
                chosen.pop(name, None)
        elif pattern in log.columns:
            chosen[pattern] = None
        elif names := [name for name in log.columns if fnmatch.fnmatchcase(name, pattern) and name not in others]:
            chosen.update(dict.fromkeys(names))
        else:
            _require(log, f"columns.{use}", pattern)
    return [*chosen]


def _check(meaning: MeaningConfig, single: Mapping[str, str]) -> None:
    if meaning.reward == "last" and "success" not in single:
        raise ConfigError("reward=last is 1 at the end of episodes with a success: name its flag by columns.success")
    for setting in ("gap", "time_step"):
        if getattr(meaning, setting) is not None and "time" not in single:
            raise ConfigError(f"{setting} is one in time: name its column by columns.time")
    if meaning.time_step is not None and "action_probability" in single:
        raise ConfigError("time_step makes steps at which nobody chose: leave out columns.action_probability")


def _require(log: Log, setting: str, column: str) -> None:
    if column not in log.columns:
        alike = [name for name in log.columns if name.lower() == column.lower()]
        close = alike or difflib.get_close_matches(column, log.columns, n=1, cutoff=0.5)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ConfigError(f"{setting}: {log.name} has no column {column!r}{hint}; {_listing(log)}")


def _listing(log: Log) -> str:
    return f"there are {listing([*log.columns])}"


def listing(names: Sequence[str]) -> str:
    """The first of many names."""
    return ", ".join(names[:SEEN]) + (f" and {len(names) - SEEN} more" if len(names) > SEEN else "")
