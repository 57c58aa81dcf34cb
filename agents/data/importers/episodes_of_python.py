"""Episodes that a Python program has or makes: dictionaries of arrays, one each.

Legend: ``T`` steps of an episode.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.data.importers.rows import Log, Rows, of_each_step
from agents.data.importers.settings import ColumnsConfig
from agents.errors import DataError


@dataclass(frozen=True)
class PythonEpisodes(Log):
    """Episodes written down once, since they are read twice and a generator gives them once.

    Keys that are named as in ``ColumnsConfig`` (``observation`` ``[T, O]`` or ``[T + 1, O]``, ``action``, ``reward``,
    ``terminated``, ...) need no columns. A flag may be one for the episode, about its last step.
    """

    @property
    def name(self) -> str:
        return "an episode"

    @classmethod
    def open(cls, episodes: Iterable[Mapping[str, Any]], folder: Path) -> PythonEpisodes:
        """Take the episodes, and write them into a folder."""
        if isinstance(episodes, Mapping) or not isinstance(episodes, Iterable):
            wanted = "a source is a path, or a list or generator of episodes, each a dictionary of arrays"
            raise DataError(f"{wanted}; got a {type(episodes).__name__}")
        files: list[Path] = []
        types: dict[str, str] = {}
        total = 0
        for index, episode in enumerate(episodes):
            if not isinstance(episode, Mapping):
                raise DataError(f"episode {index} is a {type(episode).__name__}; give dictionaries of arrays")
            try:
                arrays = {str(name): np.asarray(values) for name, values in episode.items()}
            except ValueError as error:
                raise DataError(f"episode {index} has lists of different lengths in one array") from error
            if types and arrays.keys() != types.keys():
                raise DataError(f"episode {index} has {', '.join(arrays)}, those before {', '.join(types)}")
            types = types or {name: f"{array.dtype}{[*array.shape]}" for name, array in arrays.items()}
            if pickled := [name for name, array in arrays.items() if array.dtype.hasobject]:
                raise DataError(f"episode {index}: {pickled[0]!r} is no array of numbers")
            total += max((len(array) for array in arrays.values() if array.ndim), default=0)
            files.append(folder / f"{index}.npz")
            np.savez(files[-1], **arrays)  # pyright: ignore
        if not files:
            raise DataError("there are no episodes")
        uses = {use: use for use in vars(ColumnsConfig()) if use in types}
        lists = {use: [use] for use, value in vars(ColumnsConfig()).items() if use in uses and isinstance(value, list)}
        preset = ColumnsConfig(**{**uses, **lists})  # pyright: ignore
        return cls(files, "episodes", types, total, preset)

    def read(self, uses: Mapping[str, str]) -> Iterator[Rows]:
        for index, file in enumerate(self.files):
            with np.load(file) as arrays:
                columns = {name: arrays[name] for name in uses}
            length = min((len(column) for column in columns.values() if column.ndim), default=0)
            for name, column in columns.items():
                if column.ndim == 0:
                    columns[name] = of_each_step(column, length, uses[name], name)
            yield Rows(columns, f"episode {index}", whole=True)
