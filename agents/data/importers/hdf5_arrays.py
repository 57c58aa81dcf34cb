"""HDF5 as D4RL and d3rlpy write it: arrays with a row per step, or arrays for each episode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.data.importers import layouts
from agents.data.importers.rows import Log, Rows, flags_at_the_end
from agents.data.importers.settings import ColumnsConfig
from agents.errors import DataError, one_line

BROKEN = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError)  # of h5py
D3RLPY = ColumnsConfig(observation=["observations"], action=["actions"], reward="rewards", terminated="terminated")


@dataclass(frozen=True)
class Hdf5Arrays(Log):
    """HDF5 files of one layout."""

    @classmethod
    def open(cls, files: list[Path]) -> Hdf5Arrays:
        """The files as their arrays describe them; a DataError where they are damaged or laid out otherwise."""
        import h5py

        try:
            with h5py.File(files[0]) as file:
                if "num_episodes" in file and "columns" in file:
                    names = [name.decode() for name in of_file(file["columns"], files[0])[()]]
                    types = {name: str(_of_episode(file, name, 0).dtype) for name in names}
                    return cls(files, "HDF5 of d3rlpy, version 2", types, None, D3RLPY)
                arrays = _arrays(file)
                types = {name: f"{array.dtype}{[*array.shape]}" for name, array in arrays.items()}
                said = {name: _text(array.attrs.get("units")) for name, array in arrays.items()}
                units = {name: unit for name, unit in said.items() if unit}
                preset = layouts.flat_preset(types)
                length = len(arrays["actions"]) * len(files) if "actions" in arrays else None
                kind = "HDF5 of d3rlpy, version 1" if "episode_terminals" in arrays else "HDF5, a row per step"
        except BROKEN as error:
            raise damaged(files[0], error) from error
        return cls(files, kind, types, length, preset, units=units)

    def read(self, uses: Mapping[str, str]) -> Iterator[Rows]:
        import h5py

        for path in self.files:
            try:
                with h5py.File(path) as file:
                    yield from self._episodes(file, path, uses) if self.preset is D3RLPY else _steps(file, path, uses)
            except BROKEN as error:
                raise damaged(path, error) from error

    def _episodes(self, file: Any, path: Path, uses: Mapping[str, str]) -> Iterator[Rows]:
        for index in range(int(of_file(file["num_episodes"], path)[()])):
            columns = {name: _of_episode(file, name, index)[()] for name in uses}
            length = len(columns["actions"])
            if np.ndim(columns.get("terminated", [])) == 0:
                columns["terminated"] = flags_at_the_end(length, bool(columns["terminated"]))
            yield Rows(columns, f"episode {index} of {path}", whole=True)


def _steps(file: Any, path: Path, uses: Mapping[str, str]) -> Iterator[Rows]:
    arrays = {name: of_file(file[name], path) for name in uses}
    for rows in layouts.pieces({name: array.shape for name, array in arrays.items()}, str(path)):
        yield Rows({name: array[rows] for name, array in arrays.items()}, str(path), rows.start)


def _text(value: Any) -> str:
    """An attribute that is a text, of any length or of a fixed one; "" else."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""


def _arrays(file: Any) -> dict[str, Any]:
    """Every array that has rows, by its path."""
    import h5py

    arrays: dict[str, Any] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.shape:
            arrays[name] = item

    file.visititems(visit)
    return arrays


def _of_episode(file: Any, name: str, index: int) -> Any:
    if f"{name}_{index}" not in file:
        raise DataError(f"{file.filename}: episode {index} has its {name} in several parts, which is not read")
    return of_file(file[f"{name}_{index}"], Path(file.filename))


def of_file(array: Any, path: Path) -> Any:
    """An array of a file; a DataError where its values are in another, which the file only names."""
    import h5py

    if not isinstance(array, h5py.Dataset):
        raise DataError(f"{path}: {array.name} is no array")
    if array.external or array.is_virtual or array.file.filename != str(path):
        raise DataError(f"{path}: the values of {array.name} are in another file, which is not read; copy them into it")
    return array


def damaged(file: Path, error: Exception) -> DataError:
    """The error for a person."""
    return DataError(
        f"{file} cannot be read as HDF5 ({one_line(error)[:200]}); it is truncated, damaged or no such file"
    )
