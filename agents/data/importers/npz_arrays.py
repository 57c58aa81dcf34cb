"""NPZ as D4RL's kin and ``imitation`` write it: arrays with a row per step, or trajectories one after the other.

Arrays are read a piece at a time, and nothing that is pickled in them.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib import format as npy

from agents.data.importers import layouts
from agents.data.importers.rows import Array, Log, Rows, flags_at_the_end
from agents.data.importers.settings import ColumnsConfig
from agents.errors import DataError, one_line

ARRAY = ".npy"  # how the names of arrays end
NEEDED = ("observations", "actions", "obs", "acts")
IMITATION = {"obs", "acts", "terminal", "indices"}
BROKEN = (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


class Member:
    """An array in a file, read from its start to its end."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._file = archive.open(f"{name}{ARRAY}")
        version = npy.read_magic(self._file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        self.shape, self._by_column, self.dtype = read(self._file)
        self._all: Array | None = None  # of the rows that are to come
        if self.dtype.hasobject:
            problem = f"{archive.filename}: {name!r} holds Python objects, which are not read"
            raise DataError(f"{problem}; save it as numbers, or leave it out")

    def rows(self, count: int) -> Array:
        """The next rows."""
        if not self._by_column:
            return self._next((count, *self.shape[1:]), "C")
        if self._all is None:  # its rows lie apart, and so all of it is in memory
            self._all = self._next(self.shape, "F")
        rows, self._all = np.split(self._all, [count])
        return rows

    def _next(self, shape: tuple[int, ...], order: Literal["C", "F"]) -> Array:
        content = self._file.read(self.dtype.itemsize * math.prod(shape))
        return np.frombuffer(content, self.dtype).reshape(shape, order=order)  # a ValueError where it is cut off


@dataclass(frozen=True)
class NpzArrays(Log):
    """NPZ files of one layout."""

    @classmethod
    def open(cls, files: list[Path]) -> NpzArrays:
        """The files as their arrays describe them; a DataError where they are damaged or laid out otherwise."""
        types: dict[str, str] = {}
        length = None
        try:
            with zipfile.ZipFile(files[0]) as archive:
                for name in sorted(each[: -len(ARRAY)] for each in archive.namelist() if each.endswith(ARRAY)):
                    try:
                        member = Member(archive, name)
                    except DataError:
                        if name in NEEDED:
                            raise
                        continue  # pickled ones are not among the columns
                    if not member.shape:  # a single value says nothing of steps
                        continue
                    types[name] = f"{member.dtype}{[*member.shape]}"
                    length = member.shape[0] if name in ("actions", "acts") else length
        except BROKEN as error:
            raise _damaged(files[0], error) from error
        if types.keys() >= IMITATION:
            reward = "rews" if "rews" in types else None
            # imitation flags every end so, a time limit too
            preset = ColumnsConfig(observation=["obs"], action=["acts"], reward=reward, done="terminal")
            return cls(files, "NPZ of imitation", types, length, preset)
        return cls(files, "NPZ, a row per step", types, length, layouts.flat_preset(types))

    def read(self, uses: Mapping[str, str]) -> Iterator[Rows]:
        for path in self.files:
            try:
                with zipfile.ZipFile(path) as archive:
                    yield from _trajectories(archive, uses) if self.preset.done == "terminal" else _steps(archive, uses)
            except BROKEN as error:
                raise _damaged(path, error) from error


def _steps(archive: zipfile.ZipFile, uses: Mapping[str, str]) -> Iterator[Rows]:
    members = {name: Member(archive, name) for name in uses}
    file = str(archive.filename)
    for rows in layouts.pieces({name: member.shape for name, member in members.items()}, file):
        count = rows.stop - rows.start
        yield Rows({name: member.rows(count) for name, member in members.items()}, file, rows.start)


def _trajectories(archive: zipfile.ZipFile, uses: Mapping[str, str]) -> Iterator[Rows]:
    """Trajectories that ``indices`` cut, each with an observation more than actions."""
    cuts, terminal = (_all(archive, name) for name in ("indices", "terminal"))
    members = {name: Member(archive, name) for name in uses if name != "terminal"}
    total = members["acts"].shape[0]
    if len(cuts) != len(terminal) - 1 or members["obs"].shape[0] != total + len(terminal):
        raise ValueError("its trajectories do not have an observation more than actions")
    for index, length in enumerate(np.diff([0, *cuts, total])):
        columns = {name: member.rows(int(length) + (name == "obs")) for name, member in members.items()}
        if "terminal" in uses:
            columns["terminal"] = flags_at_the_end(int(length), bool(terminal[index]))
        yield Rows(columns, f"trajectory {index} of {archive.filename}", whole=True)


def _all(archive: zipfile.ZipFile, name: str) -> Any:
    member = Member(archive, name)
    return member.rows(member.shape[0])


def _damaged(file: Path, error: Exception) -> DataError:
    return DataError(
        f"{file} cannot be read as NPZ ({one_line(error)[:200]}); it is truncated, damaged or no such file"
    )
