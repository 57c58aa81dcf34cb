"""The episodes of a source, one after the other, as they are on disk.

Legend: ``T`` steps of an episode, ``S`` numbers kept of an observation, ``A`` action.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from agents.data.source import Source
from agents.data.store import refuse_if_open_elsewhere
from agents.environments.parts import Part
from agents.environments.recording import SUCCESS_KEYS
from agents.errors import one_line

KINDS = "fiub"  # of numbers, in NumPy's letters
REOPEN_EVERY = 256  # episodes; until it is closed, an hdf5 file keeps memory for all that was ever opened in it


class Episode(NamedTuple):
    """Arrays of the right shapes, in the types that they have on disk; ``T`` may be 0."""

    observations: NDArray[Any]  # [T + 1, S], categories as indices from 0
    actions: NDArray[Any]  # [T, A], categories as indices from 0
    rewards: NDArray[Any]  # [T]
    terminations: NDArray[np.bool_]  # [T]
    truncations: NDArray[np.bool_]  # [T]
    success: NDArray[Any] | None  # [T] or [T + 1], or several flags [.., K]
    success_key: str | None  # of the infos; None: there is none

    @property
    def num_steps(self) -> int:
        return self.rewards.shape[0] if self.rewards.ndim else 0

    def step_success(self) -> NDArray[np.bool_] | None:  # [T], without the entry that belongs to the reset
        if self.success is None or self.success.shape[:1] < (self.num_steps,) or self.success.dtype.kind not in KINDS:
            return None
        return np.all(self.success.reshape(len(self.success), -1)[-self.num_steps :] > 0, axis=1)


class Recording(NamedTuple):
    """An episode as it is on disk, whatever its shapes are."""

    observations: list[NDArray[Any]]  # of each part
    actions: NDArray[Any]
    rewards: NDArray[Any]
    terminations: NDArray[Any]
    truncations: NDArray[Any]
    success: NDArray[Any] | None
    success_key: str | None


FLAGS = ("rewards", "terminations", "truncations")


def read_episodes(source: Source) -> Iterator[Episode]:
    """The episodes of the source in their order, checked for shapes; one is in memory at a time.

    Not through Minari's ``get_episodes``: it decodes every info, and from arrow and parquet files it returns the wrong
    rows after an episode of more than 32767 steps and fails on one-dimensional infos (0.5.4).
    """
    episodes = _read_hdf5(source) if source.format == "hdf5" else _read_arrow(source)
    for index in range(source.num_episodes):
        try:
            episode = next(episodes)
        except _LacksPart as error:
            problem = f"its observations have no {error.args[0]!r}, which the space of the dataset has"
            raise source.error(index, problem, "write the dataset again, with equal keys in all episodes") from error
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


class _LacksPart(Exception):
    """An episode without one of the parts of its observations, whose name is the argument."""


def _read_hdf5(source: Source) -> Iterator[Recording]:
    import h5py

    parts = [(part, _hdf5_path(part)) for part in source.observations.parts]

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
                for part, path in parts:
                    if part.path and not _exists(group, path):
                        raise _LacksPart(part.name)
                observations = [read(group, path) for _, path in parts]
                arrays = [read(group, name) for name in ("actions", *FLAGS)]
                success = None if key is None else read(group, f"infos/{key}")
                yield Recording(observations, *arrays, success=success, success_key=key)


def _hdf5_path(part: Part) -> str:
    """Where Minari keeps a part: a group for each Dict and Tuple."""
    return "/".join(("observations", *(f"_index_{key}" if isinstance(key, int) else key for key in part.path)))


def _exists(group: Any, path: str) -> bool:
    """Whether an HDF5 group holds what a path names; its library looks at one step of a path at a time."""
    steps = path.encode().split(b"/")
    return all(b"/".join(steps[: count + 1]) in group for count in range(len(steps)))


def _read_arrow(source: Source) -> Iterator[Recording]:
    import pyarrow.dataset

    for index in range(source.num_episodes):
        folder = source.path / str(index)
        num_steps = json.loads((folder / "metadata.json").read_text())["total_steps"]
        files = [str(path) for path in sorted(folder.glob(f"*.{source.format}"))]
        table = pyarrow.dataset.dataset(files, format=source.format).to_table()
        whole = table["observations"].combine_chunks()
        observations = [_in_matrices(_to_numpy(_field(whole, part)), part.shape) for part in source.observations.parts]
        # all but the observations are padded to T + 1 rows on disk
        arrays = [_to_numpy(table[name].combine_chunks())[:num_steps] for name in ("actions", *FLAGS)]
        arrays[0] = _in_matrices(arrays[0], source.actions.shape)
        infos = table["infos"].combine_chunks() if "infos" in table.column_names else None
        key = next((key for key in SUCCESS_KEYS if infos is not None and infos.type.get_field_index(key) >= 0), None)
        success = None if infos is None or key is None else _to_numpy(infos.field(key))
        yield Recording(observations, *arrays, success=success, success_key=key)


def _field(array: Any, part: Part) -> Any:
    for key in part.path:
        if array.type.get_field_index(str(key)) < 0:
            raise _LacksPart(part.name)
        array = array.field(str(key))
    return array


def _to_numpy(array: Any) -> NDArray[Any]:
    if hasattr(array.type, "list_size"):
        return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), -1)
    return array.to_numpy(zero_copy_only=False)


def _in_matrices(lists: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Values that are one list each on disk, ``[T, n]``, in their shape if that has as many numbers."""
    fits = lists.ndim == 2 and lists.shape[1] == math.prod(shape)
    return lists.reshape(len(lists), *shape) if fits else lists


def _in_shape(source: Source, index: int, recording: Recording) -> Episode:
    """The episode with its arrays in the shapes of ``Episode``: a column ``[T, 1]`` is as good as ``[T]``."""
    num_steps = recording.rewards.shape[0] if recording.rewards.ndim else 0
    if num_steps == 0 and recording.actions.shape[:1] == (0,):  # skipped by the caller
        nothing = np.zeros((0, source.num_observations)), np.zeros((0, source.num_actions))
        return Episode(*nothing, *recording[2:])

    def checked(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        if _long_axes(array.shape) != _long_axes(shape) or array.dtype.kind not in KINDS:
            problem = f"{name} are {array.dtype}{list(array.shape)}, expected numbers {list(shape)}"
            other_length = array.shape[:1] != shape[:1]
            way_out = "with one observation more than actions" if other_length else f"with {name} as expected"
            raise source.error(index, problem, f"write the dataset again, {way_out}")
        return array.reshape(shape)

    parts = source.observations.parts
    observations = [
        checked(f"observations of {part.name!r}" if part.path else "observations", array, (num_steps + 1, *part.shape))
        for part, array in zip(parts, recording.observations)
    ]
    columns = source.observations.columns(observations)
    actions = source.actions.columns(checked("actions", recording.actions, (num_steps, *source.actions.shape)))
    flags = [checked(name, getattr(recording, name), (num_steps,)) for name in FLAGS]
    _check_categories(source, index, columns)
    if source.discrete and (broken := np.argwhere(actions % 1)).size:  # NaN is refused by name later
        step, column = broken[0]
        problem = f"action {actions[step, column]:g} at step {step} is no whole number"
        raise source.error(index, problem, "write the dataset again, with a Box of actions or with indices")
    if flags[-1][:-1].any():
        problem = f"truncated at step {int(flags[-1].argmax())} of {num_steps}, before its end"
        raise source.error(index, problem, "its transitions would span two episodes: write them as separate episodes")
    return Episode(columns, actions, *flags, success=recording.success, success_key=recording.success_key)


def _check_categories(source: Source, index: int, columns: NDArray[Any]) -> None:
    """Refuse an index of an observation that its space has not."""
    for column, count in enumerate(source.observations.categories):
        if count is None:
            continue
        values = columns[:, column]
        if (outside := np.flatnonzero(~((values >= 0) & (values < count) & (values % 1 == 0)))).size:
            name, value = source.observations.column_names[column], values[outside[0]]
            problem = f"{name!r} is category {value:g} of {count}, counted from 0, at step {outside[0]}"
            raise source.error(index, problem, "write the dataset again, with the space that its observations are in")


def _long_axes(shape: tuple[int, ...]) -> list[int]:
    return [length for length in shape if length != 1]
