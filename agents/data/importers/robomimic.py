"""HDF5 of robomimic: a group for each demonstration, with what was observed, done and earned."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from agents.data.importers.frames import Frames
from agents.data.importers.hdf5_arrays import BROKEN, damaged, of_file
from agents.data.importers.rows import Array, Log, Rows
from agents.data.importers.settings import ColumnsConfig
from agents.errors import DataError

AT_ONCE = 64  # pictures in memory
DONES = (
    "1 where the goal is reached, at the end of a demonstration, or at both; nothing says which, so it ends nothing. "
    "columns.terminated=dones is for files whose only 1 is where the task was over"
)


def is_robomimic(path: Path) -> bool:
    """Whether a file has demonstrations; False of one that cannot be opened."""
    import h5py

    try:
        with h5py.File(path) as file:
            return bool(_demos(file))
    except BROKEN:
        return False


@dataclass(frozen=True)
class Robomimic(Log):
    """Files of robomimic, each with demonstrations of the same kind; what is observed has no ``obs/`` in its name."""

    @classmethod
    def open(cls, files: list[Path]) -> Robomimic:
        """The files as their first demonstration describes them; a DataError where that has no actions."""
        with _opened(files[0]) as file:
            name = _demos(file)[0]
            demo: Any = file["data"][name]
            arrays = {key: item for key, item in demo.items() if getattr(item, "shape", ())}
            if "actions" not in arrays:
                has = f"it has {', '.join(demo) or 'nothing'}"
                raise DataError(f"{files[0]}: {name} has no actions, without which nothing can be learned; {has}")
            observed = {key: item for key, item in demo.get("obs", {}).items() if key not in arrays}
            pictures = [key for key, array in observed.items() if array.dtype.kind == "u" and array.ndim >= 3]
            vectors = [key for key, array in observed.items() if array.ndim <= 2]
            unused = [key for key in observed if key not in (*vectors, *pictures)]
            unused += ["states"] if "states" in arrays and vectors else []
            preset = ColumnsConfig(
                observation=vectors or ["states"],
                action=["actions"],
                reward="rewards" if "rewards" in arrays else None,
                picture=pictures,
            )
            types = {key: f"{array.dtype}{[*array.shape[1:]]}" for key, array in (arrays | observed).items()}
            facts, metadata = _environment(file["data"].attrs.get("env_args"))
            facts |= {"dones": DONES} if "dones" in arrays else {}
            facts |= {"not observed": f"{', '.join(unused)}; columns.observation chooses"} if unused else {}
            subsets = {key: len(mask) for key, mask in file["mask"].items()} if "mask" in file else {}
            total = sum(len(item["actions"]) for item in file["data"].values() if "actions" in item) * len(files)
            labels = {key: [f"{key}.{place}" for place in range(observed[key][:1].size)] for key in vectors}
        details: dict[str, Any] = {"labels": labels, "facts": facts, "metadata": metadata, "subsets": subsets}
        return cls(files, "HDF5 of robomimic", types, total, preset, **details)

    def read(self, uses: Mapping[str, str]) -> Iterator[Rows]:
        for path in self.files:
            with _opened(path) as file:
                for name in _demos(file, self.subset):
                    yield self._demo(file, path, name, uses)

    def _demo(self, file: Any, path: Path, name: str, uses: Mapping[str, str]) -> Rows:
        """A demonstration; its observations are one more than its actions if the file has those that follow."""
        if name not in file["data"]:
            raise DataError(f"{path} has no {name}, which is of subset {self.subset!r}; choose another")
        demo = file["data"][name]
        observed = [column for column in uses if column not in demo]
        if absent := [column for column in observed if column not in demo.get("obs", {})]:
            raise DataError(f"{name} of {path} has no {absent[0]!r}, which the first one has: all need the same")
        following = demo.get("next_obs", {})
        is_given = all(column in following for column in observed) and "states" not in uses
        columns: dict[str, Any] = {column: of_file(demo[column], path)[()] for column in uses if column in demo}
        for column in observed:
            if uses[column] == "picture":
                count = len(of_file(demo["obs"][column], path)) + is_given
                columns[column] = Frames(count, partial(_pictures, path, name, column, is_given=is_given))
            else:
                rows = of_file(demo["obs"][column], path)[()]
                last = of_file(following[column], path)[-1:] if is_given else rows[:0]
                if last.shape[1:] != rows.shape[1:]:
                    shapes = f"{[*rows.shape[1:]]} in obs and {[*last.shape[1:]]} in next_obs"
                    raise DataError(f"{name} of {path}: {column!r} is of shape {shapes}; write the file again")
                columns[column] = np.concatenate([rows, last])
        return Rows(columns, f"{name} of {path}", whole=True)


def _pictures(path: Path, demo: str, name: str, *, is_given: bool) -> Iterator[Array]:
    with _opened(path) as file:
        frames = file[f"data/{demo}/obs/{name}"]
        for start in range(0, len(frames), AT_ONCE):
            yield from frames[start : start + AT_ONCE]
        if is_given:
            yield of_file(file[f"data/{demo}/next_obs/{name}"], path)[-1]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import h5py

    try:
        with h5py.File(path) as file:
            yield file
    except BROKEN as error:
        raise damaged(path, error) from error


def _demos(file: Any, subset: str | None = None) -> list[str]:
    """Names of demonstrations in the order of their numbers, as robomimic has them; [] in another file."""
    if subset is None:
        names = [*getattr(file.get("data"), "keys", tuple)()]
    else:
        names = [name.decode() for name in of_file(file["mask"][subset], Path(file.filename))[()]]
    return sorted((name for name in names if re.fullmatch(r"demo_\d+", name)), key=lambda name: int(name[5:]))


def _environment(text: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """The environment as the file describes it, for a person and for the metadata; it is never made."""
    try:
        settings = json.loads(text)
        name, rate = str(settings["env_name"]), settings["env_kwargs"].get("control_freq")
    except (TypeError, ValueError, KeyError, AttributeError):
        return {}, {}
    facts = {"environment": f"{name}; its env_args stay in the metadata, and nothing is made of them"}
    metadata: dict[str, Any] = {"env_args": text}
    if isinstance(rate, (int, float)):
        facts["rate"] = f"{rate:g} steps a second"
        metadata["steps_per_second"] = rate
    return facts, metadata
