"""Infos of a dataset by name: what it keeps beside its steps, such as the probabilities of the actions of a log.

Legend: ``T`` steps of an episode.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.data.episodes import REOPEN_EVERY
from agents.data.opening import open_source
from agents.data.source import Source
from agents.errors import DataError, one_line

Array = NDArray[Any]
ACTION_PROBABILITY = "action_probability"  # of a step's action under the policy that chose it


def has_info(dataset_id: str, name: str) -> bool:
    """Whether any episode has it; also if that cannot be said, as reading it then says why."""
    source = open_source(dataset_id, progress=False)
    episodes = _of_hdf5(source, name) if source.format == "hdf5" else _of_arrow(source, name)
    try:
        return any(next(episodes)[1] is not None for _ in range(source.num_episodes))
    except Exception:  # see read_infos
        return True


def read_infos(dataset_id: str, name: str) -> list[Array]:
    """One info of every episode that has steps, ``[T, ...]`` each, in the order of the steps of an ``OfflineDataset``.

    Raises:
        DataError: not every episode has it for each of its steps.
    """
    source = open_source(dataset_id, progress=False)
    episodes = _of_hdf5(source, name) if source.format == "hdf5" else _of_arrow(source, name)
    infos: list[Array] = []
    for index in range(source.num_episodes):
        try:
            num_steps, values = next(episodes)
        except Exception as error:  # h5py and pyarrow raise nearly every type on a damaged file
            raise source.error(index, f"its infos cannot be read ({one_line(error)})") from error
        if values is None or len(values) < num_steps:
            count = "no" if values is None else f"{len(values)}"
            problem = f"{num_steps} steps have {count} {name!r} in their infos"
            way_out = f"import the log with columns.keep=[{name}]"
            if name == ACTION_PROBABILITY:
                way_out = f"import the log with columns.{name}=COLUMN, if it says with which probability it acted"
            raise source.error(index, problem, way_out)
        if num_steps:
            values = values[len(values) - num_steps :]  # without the entry that belongs to a reset
            infos.append(values[:, 0] if values.shape[1:] == (1,) else values)  # as arrow and parquet have numbers
    if not infos:
        raise DataError(f"dataset {dataset_id!r} has no steps")
    return infos


def _of_hdf5(source: Source, name: str) -> Iterator[tuple[int, Array | None]]:
    import h5py

    for start in range(0, source.num_episodes, REOPEN_EVERY):
        with h5py.File(source.path / "main_data.hdf5") as file:
            for index in range(start, min(start + REOPEN_EVERY, source.num_episodes)):
                episode: Any = file[f"episode_{index}"]
                values = episode["infos"][name][()] if name in episode.get("infos", {}) else None
                yield len(episode["rewards"]), values


def _of_arrow(source: Source, name: str) -> Iterator[tuple[int, Array | None]]:
    import pyarrow.dataset

    for index in range(source.num_episodes):
        folder = source.path / str(index)
        num_steps = json.loads((folder / "metadata.json").read_text())["total_steps"]
        files = [str(path) for path in sorted(folder.glob(f"*.{source.format}"))]
        table = pyarrow.dataset.dataset(files, format=source.format).to_table(columns=["infos"])
        infos = table["infos"].combine_chunks()
        found = infos.type.get_field_index(name) >= 0
        yield num_steps, np.array(infos.field(name).to_pylist()) if found else None
