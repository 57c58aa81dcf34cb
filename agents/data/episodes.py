"""The episodes of a source, one after the other, as they are on disk.

Legend: ``T`` steps of an episode, ``O`` observation, ``A`` action.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from agents.data.source import Source
from agents.data.store import refuse_if_open_elsewhere
from agents.environments.recording import SUCCESS_KEYS
from agents.errors import one_line

REOPEN_EVERY = 256  # episodes; until it is closed, an hdf5 file keeps memory for all that was ever opened in it


class Episode(NamedTuple):
    """Arrays as they are on disk, of the right shapes; ``T`` may be 0."""

    observations: NDArray[Any]  # [T + 1, O]
    actions: NDArray[Any]  # [T, A], or [T] when discrete
    rewards: NDArray[Any]  # [T]
    terminations: NDArray[np.bool_]  # [T]
    truncations: NDArray[np.bool_]  # [T]
    success: NDArray[Any] | None  # [T] or [T + 1], or several flags [.., K]
    success_key: str | None  # of the infos; None: there is none

    @property
    def num_steps(self) -> int:
        return self.rewards.shape[0] if self.rewards.ndim else 0

    def step_success(self) -> NDArray[np.bool_] | None:  # [T], without the entry that belongs to the reset
        if self.success is None or self.success.shape[:1] < (self.num_steps,):
            return None
        return np.all(self.success.reshape(len(self.success), -1)[-self.num_steps :] > 0, axis=1)


ARRAYS = Episode._fields[:5]


def read_episodes(source: Source) -> Iterator[Episode]:
    """The episodes of the source in their order, checked for shapes; one is in memory at a time.

    Not through Minari's ``get_episodes``: it decodes every info, and from arrow and parquet files it returns the wrong
    rows after an episode of more than 32767 steps and fails on one-dimensional infos (0.5.4).
    """
    episodes = _read_hdf5(source) if source.format == "hdf5" else _read_arrow(source)
    for index in range(source.num_episodes):
        try:
            episode = next(episodes)
        except Exception as error:  # h5py and pyarrow raise nearly every type on a damaged file
            refuse_if_open_elsewhere(source.id, source.path, error)
            problem = f"cannot be read ({one_line(error)}): the file is truncated or damaged"
            raise source.error(index, problem) from error
        yield _in_shape(source, index, episode)


def steps_bar(source: Source, doing: str, *, progress: bool) -> tqdm:
    """A bar over the steps of a source, on a terminal, for what takes longer than two seconds."""
    disable = None if progress else True  # None: on a terminal only
    return tqdm(
        total=source.num_steps, desc=f"{doing} {source.id}", unit=" steps", unit_scale=True, delay=2, disable=disable
    )


def _read_hdf5(source: Source) -> Iterator[Episode]:
    import h5py

    def read(group: h5py.h5g.GroupID, name: str) -> NDArray[Any]:
        dataset = h5py.h5d.open(group, name.encode())  # half the time of h5py's high-level interface
        array = np.empty(dataset.shape, dataset.dtype)
        dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, array)
        return array

    for start in range(0, source.num_episodes, REOPEN_EVERY):
        with h5py.File(source.path / "main_data.hdf5") as file:
            for index in range(start, min(start + REOPEN_EVERY, source.num_episodes)):
                group = file[f"episode_{index}"].id
                infos = [key for key in SUCCESS_KEYS if b"infos" in group and f"infos/{key}".encode() in group]
                key = next(iter(infos), None)
                arrays = [read(group, name) for name in ARRAYS]
                success = None if key is None else read(group, f"infos/{key}")
                yield Episode(*arrays, success=success, success_key=key)


def _read_arrow(source: Source) -> Iterator[Episode]:
    import pyarrow.dataset

    for index in range(source.num_episodes):
        folder = source.path / str(index)
        num_steps = json.loads((folder / "metadata.json").read_text())["total_steps"]
        files = [str(path) for path in sorted(folder.glob(f"*.{source.format}"))]
        table = pyarrow.dataset.dataset(files, format=source.format).to_table()
        columns = [_to_numpy(table[name].combine_chunks()) for name in ARRAYS]
        # all but the observations are padded to T + 1 rows on disk
        observations, *rest = columns[0], *(column[:num_steps] for column in columns[1:])
        infos = table["infos"].combine_chunks() if "infos" in table.column_names else None
        key = next((key for key in SUCCESS_KEYS if infos is not None and infos.type.get_field_index(key) >= 0), None)
        success = None if infos is None or key is None else _to_numpy(infos.field(key))
        yield Episode(observations, *rest, success=success, success_key=key)


def _to_numpy(array: Any) -> NDArray[Any]:
    if hasattr(array.type, "list_size"):
        return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), -1)
    return array.to_numpy(zero_copy_only=False)


def _in_shape(source: Source, index: int, episode: Episode) -> Episode:
    """The episode with its arrays in the shapes of ``Episode``: a column ``[T, 1]`` is as good as ``[T]``."""
    num_steps = episode.num_steps
    actions = (num_steps,) if source.discrete else (num_steps, source.num_actions)
    shapes = [(num_steps + 1, source.num_observations), actions, (num_steps,), (num_steps,), (num_steps,)]
    if num_steps == 0 and episode.actions.shape[:1] == (0,):
        return episode  # skipped by the caller
    arrays = {}
    for name, shape in zip(ARRAYS, shapes):
        array: NDArray[Any] = getattr(episode, name)
        if _long_axes(array.shape) != _long_axes(shape) or array.dtype.kind not in "fiub":
            problem = f"{name} are {array.dtype}{list(array.shape)}, expected numbers {list(shape)}"
            other_length = array.shape[:1] != shape[:1]
            way_out = "with one observation more than actions" if other_length else f"with {name} as expected"
            raise source.error(index, problem, f"write the dataset again, {way_out}")
        arrays[name] = array.reshape(shape)
    episode = episode._replace(**arrays)
    if source.discrete and (broken := np.flatnonzero(episode.actions % 1)).size:  # NaN is refused by name later
        problem = f"action {episode.actions[broken[0]]:g} at step {broken[0]} is no whole number"
        raise source.error(index, problem, "write the dataset again, with a Box of actions or with indices")
    if episode.truncations[:-1].any():
        problem = f"truncated at step {int(episode.truncations.argmax())} of {num_steps}, before its end"
        raise source.error(index, problem, "its transitions would span two episodes: write them as separate episodes")
    return episode


def _long_axes(shape: tuple[int, ...]) -> list[int]:
    return [length for length in shape if length != 1]
