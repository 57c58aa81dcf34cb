"""LeRobot's datasets, versions 2 and 3: a folder with tables, videos, and the description of both in ``meta/``.

Legend: ``R`` rows of an episode.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from agents.data.importers.arrow import Ragged, to_numpy
from agents.data.importers.frames import Frames
from agents.data.importers.lerobot_info import AGAIN, EpisodeFiles, Info, read_info
from agents.data.importers.parquet_tables import read_rows, read_table
from agents.data.importers.rows import Array, Log, Rows
from agents.data.importers.settings import ColumnsConfig
from agents.data.importers.videos import read_frames, require_decoder
from agents.errors import DataError

OBSERVATION, ACTION, TASK = "observation", "action", "task"
MOST_TASKS = 100  # that observations tell apart
SHOWN = 4  # of them, to a person
UNLIKE = 0.1  # by which the steps of time may differ from the rate, as a share
FLAGS = {
    "next.done": "where the episode ends, by success, a time limit or by hand; nothing says which, so it ends nothing",
    "next.success": "columns.terminated=next.success, if the task is over where it is reached",
}


def is_lerobot(folder: Path) -> bool:
    """Whether a folder is laid out so; a DataError where its description is missing."""
    if (folder / "meta" / "info.json").is_file():
        return True
    if (folder / "meta").is_dir() and any((folder / "data").glob("chunk-*")):
        raise DataError(f"{folder} is laid out as LeRobot's, and has no meta/info.json, which describes it; {AGAIN}")
    return False


def lerobot_files(folder: Path) -> list[Path]:
    """The description, and all that belongs to it."""
    description = folder / "meta" / "info.json"
    files = [each for name in ("meta", "data", "videos") for each in sorted((folder / name).rglob("*"))]
    return [description, *(each for each in files if each.is_file() and each != description)]


@dataclass(frozen=True, kw_only=True)
class LeRobot(Log):
    """A LeRobot dataset; ``task`` is a column of its own, where there are several."""

    info: Info

    @classmethod
    def open(cls, files: Sequence[Path]) -> LeRobot:
        """The dataset to which ``meta/info.json``, the first of the files, belongs; a DataError where it is broken."""
        info = read_info(files[0].parents[1])
        features = info.features
        numbers = {name: feature for name, feature in features.items() if feature.is_vector}
        observed = [name for name in numbers if name.startswith(f"{OBSERVATION}.")]
        actions = [ACTION] if ACTION in numbers else [name for name in numbers if name.startswith(f"{ACTION}.")]
        if not (observed and actions):
            lacks = "states" if actions else "actions"
            raise DataError(f"{info.folder} has no {lacks} to learn from; its features are {', '.join(features)}")
        types = {name: f"{each.dtype}{[*each.shape]}" for name, each in features.items()}
        labels = {**_labels(info, observed), **_labels(info, actions)}
        if len(info.tasks) > 1:
            types[TASK] = f"float32[{len(info.tasks)}]"
            labels[TASK] = [f"{TASK}={task}" for task in info.tasks]
        uses = {"reward": "next.reward", "success": "next.success", "terminated": "next.terminated"}
        uses |= {"truncated": "next.truncated", "time": "timestamp"}
        preset = ColumnsConfig(
            observation=[*observed, *([TASK] if 1 < len(info.tasks) <= MOST_TASKS else [])],
            action=actions,
            picture=[name for name, feature in features.items() if feature.is_picture],
            **{use: name for use, name in uses.items() if name in numbers},  # pyright: ignore
        )
        metadata = {"steps_per_second": info.fps, "tasks": [*info.tasks], "robot_type": info.robot}
        splits = {name: last - first for name, (first, last) in info.splits.items()}
        details: dict[str, Any] = {
            "labels": labels,
            "facts": _facts(info, preset.observation),
            "metadata": metadata,
            "subsets": splits if len(splits) > 1 else {},
        }
        total = sum(episode.length for episode in info.episodes)
        return cls([info.folder], f"LeRobot {info.version}", types, total, preset, info=info, **details)

    def read(self, uses: Mapping[str, str]) -> Iterator[Rows]:
        cameras = [name for name, use in uses.items() if use == "picture"]
        videos = [name for name in cameras if self.info.features[name].dtype == "video"]
        if videos:
            require_decoder()
        first, last = self.info.splits[self.subset] if self.subset else (0, math.inf)
        episodes = [each for each in self.info.episodes if first <= each.index < last and each.length]
        _require_files(episodes, videos)
        numbers = {"timestamp", "task_index", *uses} - {TASK, *cameras}
        tables = _Tables(self.info, [name for name in self.info.features if name in numbers])
        for episode in episodes:
            place = f"episode {episode.index} of {self.info.folder}"
            columns = tables.columns(episode, place)
            for name in cameras:
                columns[name] = self._pictures(name, episode, columns["timestamp"])
            if TASK in uses:
                columns[TASK] = self._one_hot(columns["task_index"], place)
            yield Rows({name: columns[name] for name in uses}, place, whole=True)

    def _pictures(self, name: str, episode: EpisodeFiles, times: Array) -> Frames:
        """Read when they are written."""
        if self.info.features[name].dtype == "image":
            rows = slice(episode.first, episode.first + episode.length)
            return Frames(episode.length, partial(_images, episode.table, name, rows))
        path, start = episode.videos[name]
        seconds = (start + times.astype(np.float64)).tolist()
        return Frames(episode.length, partial(read_frames, path, seconds, 0.5 / self.info.fps))

    def _one_hot(self, numbers: Array, place: str) -> Array:
        """Numbers of tasks ``[R]`` as observations ``[R, tasks]``."""
        if len(unknown := numbers[(numbers < 0) | (numbers >= len(self.info.tasks))]):
            raise DataError(f"{place} is of task {unknown[0]}, and meta/tasks names {len(self.info.tasks)}; {AGAIN}")
        return np.eye(len(self.info.tasks), dtype=np.float32)[numbers]


class _Tables:
    """The numbers of the episodes; of the tables, one is in memory."""

    def __init__(self, info: Info, names: Sequence[str]) -> None:
        self._info, self._names = info, names
        self._path: Path | None = None

    def columns(self, episode: EpisodeFiles, place: str) -> dict[str, Any]:
        """Of an episode, ``[R, ...]`` each; a DataError where the description says something else of them."""
        if episode.table != self._path:
            self._table = read_table(episode.table, [*dict.fromkeys([*self._names, "episode_index"])])
            self._episodes, self._path = to_numpy(self._table["episode_index"].combine_chunks()), episode.table
        rows = np.flatnonzero(self._episodes == episode.index)
        if not np.array_equal(rows, episode.first + np.arange(episode.length)):
            has = f"{len(rows)} rows from {rows[0]} on" if len(rows) else "no row"
            says = f"{episode.length} from {episode.first} on"
            raise DataError(f"{place} has {has} in {episode.table}, where meta/ says {says}; {AGAIN}")
        table = self._table.slice(episode.first, episode.length)
        columns = {name: self._column(table[name], name, place) for name in self._names}
        pace = float(np.diff(columns["timestamp"]).mean()) if episode.length > 1 else 1 / self._info.fps
        if abs(pace * self._info.fps - 1) > UNLIKE:
            says = f"meta/info.json says {self._info.fps:g} a second; correct fps there"
            raise DataError(f"{place}: its steps are {pace:.3g} s apart, and {says}")
        return columns

    def _column(self, column: Any, name: str, place: str) -> Array:
        shape = self._info.features[name].shape
        try:
            array = to_numpy(column.combine_chunks())
        except Ragged as error:
            _, width, other = error.args
            raise DataError(f"{place}: {name!r} has {other} numbers, and {width} in the row before; {AGAIN}") from error
        if array[:1].size != math.prod(shape):
            says = f"meta/info.json says {math.prod(shape)}"
            raise DataError(f"{place}: {name!r} has {array[:1].size} numbers in a row, where {says}; {AGAIN}")
        return array


def _images(table: Path, name: str, rows: slice) -> Iterator[bytes]:
    """Of a column, the pictures that are in the table themselves."""
    for index, value in enumerate(read_rows(table, name, rows)):
        content = value.get("bytes") if isinstance(value, dict) else None
        if not content:
            raise DataError(
                f"row {rows.start + index} of {table} has no picture {name!r} in it; leave it out by pictures=drop"
            )
        yield content


def _require_files(episodes: Sequence[EpisodeFiles], videos: Sequence[str]) -> None:
    files = [file for each in episodes for file in (each.table, *(each.videos[name][0] for name in videos))]
    if missing := [file for file in dict.fromkeys(files) if not file.is_file()]:
        others = f", and {len(missing) - 1} more files" if len(missing) > 1 else ""
        way_out = f"{AGAIN}, or set pictures=drop" if missing[0].suffix == ".mp4" else AGAIN
        raise DataError(f"{missing[0]} is missing{others}; {way_out}")


def _labels(info: Info, columns: Sequence[str]) -> dict[str, list[str]]:
    """Names of the motors, with the column in front where two columns have a name in common."""
    counts = Counter(name for column in columns for name in info.features[column].names)
    labels: dict[str, list[str]] = {}
    for column in columns:
        if names := info.features[column].names:
            short = column.removeprefix(f"{OBSERVATION}.")
            labels[column] = [f"{short}.{name}" if counts[name] > 1 else name for name in names]
    return labels


def _facts(info: Info, observed: Sequence[str]) -> dict[str, str]:
    facts = {"robot": info.robot} if info.robot else {}
    facts["rate"] = f"{info.fps:g} steps a second, by meta/info.json"
    tasks = info.tasks
    if len(tasks) == 1:
        facts["task"] = tasks[0]
    elif tasks:
        how = "told apart by a number for each in the observation" if TASK in observed else "too many to be told apart"
        facts["tasks"] = f"{len(tasks):,}, {how} (columns.observation chooses): {', '.join(tasks[:SHOWN])}"
    facts |= {name: text for name, text in FLAGS.items() if name in info.features}
    other = [
        name
        for name, feature in info.features.items()
        if name.startswith(f"{OBSERVATION}.") and name not in observed and not feature.is_picture
    ]
    return facts | ({"not observed": ", ".join(other)} if other else {})
