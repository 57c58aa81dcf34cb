"""LeRobot's description of a dataset: ``meta/info.json``, the episodes with their files, and the tasks.

Version 2 has a file for each episode, version 3 several episodes in each, of the tables as of the videos.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.data.importers.parquet_tables import read_table
from agents.errors import DataError, one_line

VERSIONS = ("v2.0", "v2.1", "v3.0")
BROKEN = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)  # of unfit entries
ALWAYS = ("timestamp", "episode_index", "task_index")  # columns of every dataset
LONGEST = 255  # letters of a file's name
AGAIN = "copy the whole folder again"


@dataclass(frozen=True)
class Feature:
    """A column, or the pictures of a camera."""

    dtype: str  # image, video, string, or a number's
    shape: tuple[int, ...]
    names: tuple[str, ...]  # of the numbers of a vector; (): they have none

    @property
    def is_picture(self) -> bool:
        return self.dtype in ("image", "video")

    @property
    def is_vector(self) -> bool:
        return not self.is_picture and self.dtype != "string" and len(self.shape) <= 1


@dataclass(frozen=True)
class EpisodeFiles:
    """Where an episode is."""

    index: int
    length: int
    table: Path
    first: int  # of its rows in the table
    videos: Mapping[str, tuple[Path, float]]  # with the second at which it begins


@dataclass(frozen=True)
class Info:
    """What the files of ``meta/`` say."""

    folder: Path
    version: str
    fps: float
    robot: str | None
    features: Mapping[str, Feature]
    splits: Mapping[str, tuple[int, int]]  # first episode, and the one behind the last
    tasks: Sequence[str]
    episodes: Sequence[EpisodeFiles]


def read_info(folder: Path) -> Info:
    """Read the description.

    Raises:
        DataError: it is missing, of another version, damaged, or contradicts itself.
    """
    path = folder / "meta" / "info.json"
    with _entries_of(path):
        entries = json.loads(path.read_text())
        version = str(entries["codebase_version"])
    if version not in VERSIONS:
        raise DataError(
            f"{folder} is a LeRobot dataset of version {version}; read are {', '.join(VERSIONS)}: convert it by "
            "LeRobot's own scripts"
        )
    with _entries_of(path):
        features = {str(name): _feature(entry) for name, entry in entries["features"].items()}
        for name in ALWAYS:
            features[name]
        splits = {str(name): _range(text) for name, text in (entries.get("splits") or {}).items()}
        fps, total = float(entries["fps"]), (int(entries["total_episodes"]), int(entries["total_frames"]))
        robot = entries.get("robot_type")
        if not fps > 0:
            raise ValueError(f"fps is {fps:g}")
    tasks = _tasks(folder, version)
    cameras = [name for name, feature in features.items() if feature.dtype == "video"]
    episodes = sorted(_EPISODES[version[:2]](folder, entries, cameras), key=lambda episode: episode.index)
    counts = len(episodes), sum(episode.length for episode in episodes)
    if counts != total:
        says = f"{total[0]} episodes with {total[1]} frames, and meta/episodes lists {counts[0]} with {counts[1]}"
        raise DataError(f"{path} says {says}; {AGAIN}")
    return Info(folder, version, fps, robot and str(robot), features, splits, tasks, episodes)


@contextlib.contextmanager
def _entries_of(path: Path) -> Iterator[None]:
    """Around what reads entries of a file: a DataError says which is missing, or something else."""
    try:
        yield
    except (OSError, *BROKEN) as error:
        text = f"no {error}" if isinstance(error, KeyError) else one_line(error)
        raise DataError(f"{path} is not as LeRobot writes it ({text}); {AGAIN}") from error


def _feature(entry: Mapping[str, Any]) -> Feature:
    shape, dtype = tuple(int(size) for size in entry["shape"]), str(entry["dtype"])
    names = _names(entry.get("names"))
    return Feature(dtype, shape, names if len(shape) == 1 and len(names) == shape[0] else ())


def _names(names: Any) -> tuple[str, ...]:
    """A list; lists by a word for them, as ``{"motors": [...]}``; or places by their names."""
    if isinstance(names, Mapping):
        if all(isinstance(place, int) for place in names.values()):
            return tuple(sorted(names, key=lambda name: names[name]))
        return tuple(name for group in names.values() if isinstance(group, list) for name in _names(group))
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _range(text: str) -> tuple[int, int]:
    first, last = text.split(":")
    return int(first), int(last)


def _tasks(folder: Path, version: str) -> list[str]:
    """In the order of their numbers."""
    if version.startswith("v3"):
        table = read_table(folder / "meta" / "tasks.parquet")
        with _entries_of(folder / "meta" / "tasks.parquet"):
            texts = next(name for name in table.column_names if name != "task_index")
            numbers = dict(zip(table["task_index"].to_pylist(), table[texts].to_pylist()))
            return [str(numbers[index]) for index in range(len(numbers))]
    lines = _lines(folder / "meta" / "tasks.jsonl")
    with _entries_of(folder / "meta" / "tasks.jsonl"):
        numbers = {int(line["task_index"]): str(line["task"]) for line in lines}
        return [numbers[index] for index in range(len(numbers))]


def _lines(path: Path) -> list[dict[str, Any]]:
    with _entries_of(path):
        return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def _episodes_of_v2(folder: Path, info: Mapping[str, Any], cameras: Sequence[str]) -> Iterator[EpisodeFiles]:
    path = folder / "meta" / "episodes.jsonl"
    lines = _lines(path)
    with _entries_of(path):
        for line in lines:
            index = int(line["episode_index"])
            place = {"episode_index": index, "episode_chunk": index // int(info["chunks_size"])}
            videos = {
                name: (_inside(folder, info["video_path"], {**place, "video_key": name}), 0.0) for name in cameras
            }
            yield EpisodeFiles(index, int(line["length"]), _inside(folder, info["data_path"], place), 0, videos)


def _episodes_of_v3(folder: Path, info: Mapping[str, Any], cameras: Sequence[str]) -> Iterator[EpisodeFiles]:
    """Rows count over all tables, so that those of a table begin at its first episode."""
    path = folder / "meta" / "episodes"
    names = ["episode_index", "length", "data/chunk_index", "data/file_index", "dataset_from_index"]
    places = ("chunk_index", "file_index", "from_timestamp")
    names += [f"videos/{camera}/{place}" for camera in cameras for place in places]
    rows = [row for file in sorted(path.glob("*/*.parquet")) for row in read_table(file, names).to_pylist()]
    with _entries_of(path):
        begins: dict[tuple[int, int], int] = {}
        for row in rows:
            key = row["data/chunk_index"], row["data/file_index"]
            begins[key] = min(begins.get(key, row["dataset_from_index"]), row["dataset_from_index"])
        for row in rows:
            key = row["data/chunk_index"], row["data/file_index"]
            table = _inside(folder, info["data_path"], dict(zip(places, key)))
            videos = {}
            for camera in cameras:
                *place, start = (row[f"videos/{camera}/{place}"] for place in places)
                video = _inside(folder, info["video_path"], {**dict(zip(places, place)), "video_key": camera})
                videos[camera] = video, float(start)
            first = int(row["dataset_from_index"]) - begins[key]
            yield EpisodeFiles(int(row["episode_index"]), int(row["length"]), table, first, videos)


_EPISODES = {"v2": _episodes_of_v2, "v3": _episodes_of_v3}


def _inside(folder: Path, template: str, values: Mapping[str, Any]) -> Path:
    """The file that a template such as ``data/chunk-{episode_chunk:03d}`` names; it is filled in, and never run.

    Raises:
        ValueError: it names something outside the folder.
    """

    def fill(match: re.Match[str]) -> str:
        value = values[match[1]]
        return f"{value:0{int(match[2])}d}" if match[2] else str(value)

    path = Path(re.sub(r"\{(\w+)(?::0?(\d)d)?\}", fill, template))
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{template!r} leads out of the folder")
    if max(map(len, path.parts), default=0) > LONGEST:
        raise ValueError(f"{template!r} makes a name of more than {LONGEST} letters")
    return folder / path
