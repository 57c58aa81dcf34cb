"""Where a dataset comes from, what its metadata say, and its episodes: Minari id -> ``Source`` -> ``Episode``.

Legend: ``T`` steps of an episode, ``O`` observation, ``A`` action.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import json
import os
import shutil
import socket
import sys
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import minari
import numpy as np
from filelock import FileLock, Timeout
from gymnasium.envs.registration import EnvSpec
from minari.dataset.minari_dataset import parse_dataset_id
from minari.dataset.minari_storage import MinariStorage
from minari.storage.datasets_root_dir import get_dataset_path
from numpy.typing import NDArray
from tqdm import tqdm

from agents import demos
from agents.envs import ADROIT_TASKS, AdroitTask, EvaluationEnv, Reference, read_spec
from agents.errors import DataError, one_line

D4RL_IDS = tuple(f"D4RL/{task}/{kind}-v2" for task in ADROIT_TASKS for kind in ("human", "cloned", "expert"))
REOPEN_EVERY = 256  # episodes; until it is closed, an hdf5 file keeps memory for all that was ever opened in it
LOCK_PATIENCE = 0.5  # seconds to wait for another process before saying so


@dataclass(frozen=True)
class Source:
    """A dataset in the local store, as far as its metadata describe it."""

    id: str
    path: Path  # the dataset's data folder
    format: str
    num_episodes: int
    num_steps: int  # as announced; for the progress bar only
    num_observations: int  # O
    num_actions: int  # A; 1 when discrete
    discrete: bool  # actions are the numbers from 0 to high[0]
    low: NDArray[np.float32]  # [A]
    high: NDArray[np.float32]  # [A]
    reference: Reference | None
    env_spec: EnvSpec | None

    @property
    def task(self) -> AdroitTask | None:
        task = EvaluationEnv(self.env_spec).task if self.env_spec is not None else None
        return task if task is not None and task.num_observations == self.num_observations else None

    @property
    def horizon(self) -> int | None:
        """Steps after which the environment cuts an evaluation off; None where that is not known."""
        return None if self.env_spec is None else self.env_spec.max_episode_steps

    def error(self, episode: int, problem: str, way_out: str | None = None) -> DataError:
        return DataError(f"dataset {self.id!r}, episode {episode}: {problem}; {way_out or self.remedy}")

    @property
    def remedy(self) -> str:
        """How to come by a whole copy of a damaged dataset."""
        return _remedy(self.id, self.path.parent)


class Episode(NamedTuple):
    """Arrays as they are on disk, of the right shapes; ``T`` may be 0."""

    observations: NDArray[Any]  # [T + 1, O]
    actions: NDArray[Any]  # [T, A], or [T] when discrete
    rewards: NDArray[Any]  # [T]
    terminations: NDArray[np.bool_]  # [T]
    truncations: NDArray[np.bool_]  # [T]
    success: NDArray[Any] | None  # [T] or [T + 1]

    @property
    def num_steps(self) -> int:
        return self.rewards.shape[0] if self.rewards.ndim else 0

    def step_success(self) -> NDArray[np.bool_] | None:  # [T], without the entry that belongs to the reset
        if self.success is None or self.success.shape[:1] < (self.num_steps,):
            return None
        return self.success.reshape(len(self.success), -1)[-self.num_steps :, 0] > 0


def open_source(dataset_id: str, *, progress: bool) -> Source:
    """Find a dataset, which is made or downloaded when it is not there yet, and read its metadata.

    Raises:
        DataError: the dataset is unknown, its metadata are damaged or of an unsupported version, or its spaces are not
            supported.
    """
    if Path(dataset_id).is_absolute() or ".." in Path(dataset_id).parts:
        raise DataError(
            f"{dataset_id!r} is a path, not the id of a dataset such as D4RL/pen/human-v2; for another store "
            "set MINARI_DATASETS_PATH"
        )
    root = _minari_root()
    if not is_here(dataset_id):
        if dataset_id in demos.dataset_ids():
            demos.make(dataset_id, progress=progress)
        else:
            _download(dataset_id, root)
    return _read_metadata(dataset_id, root / dataset_id / "data")


def is_here(dataset_id: str) -> bool:
    """Whether a dataset is in the local store, so that it can be opened without being made or downloaded."""
    return (_minari_root() / dataset_id / "data").is_dir()


# Finding, making, downloading -----------------------------------------------------------------------------------------


def _minari_root() -> Path:
    try:
        return get_dataset_path()
    except OSError as error:
        raise DataError(f"cannot use Minari's folder ({error}); set MINARI_DATASETS_PATH to another one") from error


def work_folder(name: str) -> Path:
    """A folder of our own beside the datasets; Minari overlooks hidden ones."""
    return _minari_root() / ".offline_agents" / name


def flat(dataset_id: str) -> str:
    """The id as the name of one folder: inside each other, one dataset's could be taken for a part of another's."""
    return dataset_id.replace("/", "--")


@contextlib.contextmanager
def locked(path: Path, doing: str) -> Iterator[None]:
    """Hold a lock that the system frees after a kill; on stderr, say once what another process holds it for."""
    lock = FileLock(path)
    try:
        held = lock.acquire(timeout=LOCK_PATIENCE)
    except Timeout:
        print(f"waiting for another process that is {doing}", file=sys.stderr, flush=True)
        held = lock.acquire()
    with held:
        yield


def _download(dataset_id: str, root: Path) -> None:
    """Download beside the store and move what is complete: Minari takes any folder that exists for a whole dataset."""
    if cause := _no_download(dataset_id):
        raise _unknown(dataset_id, root, cause)
    part = work_folder("downloads") / flat(dataset_id)
    try:
        part.mkdir(parents=True, exist_ok=True)
        with locked(Path(f"{part}.lock"), f"downloading {dataset_id}"):
            if not (root / dataset_id / "data").is_dir():  # another process may have been faster
                with _minari_folder(part), contextlib.redirect_stdout(sys.stderr):
                    minari.download_dataset(dataset_id, force_download=True)  # continues what an earlier attempt left
                _read_metadata(dataset_id, part / dataset_id / "data")
                _move_datasets(part, root)
                shutil.rmtree(part)
    except DataError:
        raise
    except Exception as error:  # the network, the hub's client and Minari raise unrelated types
        raise _unknown(dataset_id, root, f"the download failed: {one_line(error)}") from error


def _no_download(dataset_id: str) -> str | None:
    """Why a download cannot succeed; None if it may. The hub's client alone would try for half a minute."""
    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError):
        return "not an id such as D4RL/pen/human-v2"
    if dataset_id.startswith("demo/"):
        return "not one of the built-in datasets"
    if {"MINARI_REMOTE", "HF_ENDPOINT"} & os.environ.keys() or urllib.request.getproxies():
        return None
    try:
        socket.getaddrinfo("huggingface.co", 443)
    except OSError:
        return "no network: huggingface.co cannot be found"
    return None


@contextlib.contextmanager
def _minari_folder(path: Path) -> Iterator[None]:
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(path)
    try:
        yield
    finally:
        os.environ.pop("MINARI_DATASETS_PATH")
        if before is not None:
            os.environ["MINARI_DATASETS_PATH"] = before


def _move_datasets(part: Path, root: Path) -> None:
    namespaces = list(part.rglob("namespace_metadata.json"))
    for found in [path.parent.parent for path in part.rglob("data/metadata.json")] + namespaces:
        target = root / found.relative_to(part)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            found.rename(target)
            if (target / "data").is_dir():
                _note_download(target.relative_to(root).as_posix(), target)


def _download_note(dataset_id: str) -> Path:
    return work_folder("downloaded") / flat(dataset_id)


def _note_download(dataset_id: str, folder: Path) -> None:
    note = _download_note(dataset_id)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(f"{dataset_id} {folder.stat().st_ino}")


def _was_downloaded(dataset_id: str, folder: Path) -> bool:
    """Whether this very folder was downloaded by us: one of the same id put there since may be the only copy."""
    try:
        return _download_note(dataset_id).read_text() == f"{dataset_id} {folder.stat().st_ino}"
    except (OSError, UnicodeDecodeError):
        return False


def _remedy(dataset_id: str, folder: Path) -> str:
    """Deleting is advised only for what can be had again from here."""
    if dataset_id in demos.dataset_ids():
        return f"delete {folder} to have it made anew"
    if dataset_id in D4RL_IDS or _was_downloaded(dataset_id, folder):
        return f"delete {folder} to have it downloaded anew"
    return "copy it again from where it came, or write it again"


def _refuse_if_open_elsewhere(dataset_id: str, path: Path, error: Exception) -> None:
    """Tell a file that is being written from a damaged one.

    Raises:
        DataError: HDF5 could not open it because another process is writing it.
    """
    text = str(error)
    locked_elsewhere = "unable to lock file" in text and f"errno = {errno.EAGAIN}" in text
    if locked_elsewhere or isinstance(error, BlockingIOError) or "already open for write" in text:
        raise DataError(
            f"dataset {dataset_id!r}: another process has {path / 'main_data.hdf5'} open for writing; close it there, "
            "or wait until it is done: the data are as they were"
        ) from error


def _unknown(dataset_id: str, root: Path, cause: str) -> DataError:
    found = (path.parent.parent.relative_to(root) for path in root.rglob("data/metadata.json"))
    local = sorted(path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))
    close = difflib.get_close_matches(dataset_id, sorted({*local, *demos.dataset_ids(), *D4RL_IDS}), n=3, cutoff=0.5)
    suggestion = f"did you mean {' or '.join(close)}? " if close else ""
    here = ", ".join(local[:5]) or "none yet"
    return DataError(
        f"dataset {dataset_id!r} is not in {root} and cannot be fetched ({cause}); {suggestion}Without a network: use "
        f"a local one ({here}), a built-in one such as demo/pen/mixed-v0, or copy its folder to {root / dataset_id}"
    )


# Metadata -------------------------------------------------------------------------------------------------------------


def _read_metadata(dataset_id: str, path: Path) -> Source:
    """Read the metadata; the data themselves are not touched.

    Raises:
        DataError: metadata are damaged or of an unsupported version, or the spaces are not supported.
    """
    try:
        metadata = MinariStorage.read_raw_metadata(path)
        version = metadata["minari_version"]
        if absent := [name for name in ("observation_space", "action_space") if metadata.get(name) is None]:
            raise ValueError(f"no {absent[0]}")  # Minari would make the environment that the metadata name
        supported = version in minari.supported_dataset_versions
        storage = MinariStorage.read(path) if supported else None
        counts = int(metadata["total_episodes"]), int(metadata["total_steps"])
    except Exception as error:  # hand-made metadata break Minari in every way
        _refuse_if_open_elsewhere(dataset_id, path, error)
        raise DataError(
            f"dataset {dataset_id!r} cannot be opened ({one_line(error)}): metadata.json or a data file is missing or "
            f"damaged; {_remedy(dataset_id, path.parent)}"
        ) from error
    if storage is None:
        raise DataError(
            f"dataset {dataset_id!r} was written by Minari {version}, which the installed {minari.__version__} cannot "
            "read; use another version of the dataset, or of Minari"
        )
    return Source(
        dataset_id,
        path,
        metadata["data_format"],
        *counts,
        **_read_spaces(dataset_id, storage.observation_space, storage.action_space),
        reference=_read_reference(dataset_id, metadata),
        env_spec=_read_env_spec(dataset_id, metadata),
    )


def _read_spaces(dataset_id: str, observation: gym.Space, action: gym.Space) -> dict[str, Any]:
    for name, space in (("observations", observation), ("actions", action)):
        flat = isinstance(space, gym.spaces.Box) and len(space.shape) == 1
        indices = name == "actions" and isinstance(space, gym.spaces.Discrete) and space.start == 0
        if not flat and not indices:
            raise DataError(
                f"dataset {dataset_id!r} has {name} in a {type(space).__name__} of shape {space.shape}; supported are "
                "a one-dimensional Box, and Discrete actions from 0 on: flatten it into a new dataset"
            )
    discrete = isinstance(action, gym.spaces.Discrete)
    low, high = ([0], [action.n - 1]) if discrete else (action.low, action.high)
    return {
        "num_observations": observation.shape[0],
        "num_actions": len(low),
        "discrete": discrete,
        "low": np.array(low, np.float32),
        "high": np.array(high, np.float32),
    }


def _read_reference(dataset_id: str, metadata: dict[str, Any]) -> Reference | None:
    scores = metadata.get("ref_min_score"), metadata.get("ref_max_score")
    if None in scores:
        return None
    try:
        return Reference(float(scores[0]), float(scores[1]))
    except (DataError, TypeError, ValueError) as error:
        warnings.warn(f"dataset {dataset_id!r}: reference scores ignored: {error}", stacklevel=2)
        return None


def _read_env_spec(dataset_id: str, metadata: dict[str, Any]) -> EnvSpec | None:
    text = metadata.get("eval_env_spec") or metadata.get("env_spec")
    if text is None:
        return None
    try:
        return read_spec(text)
    except ValueError as error:
        warnings.warn(f"dataset {dataset_id!r}: environment metadata ignored: {one_line(error)}", stacklevel=2)
        return None


# Episodes -------------------------------------------------------------------------------------------------------------


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
            _refuse_if_open_elsewhere(source.id, source.path, error)
            problem = f"cannot be read ({one_line(error)}): the file is truncated or damaged"
            raise source.error(index, problem) from error
        _check_shapes(source, index, episode)
        yield episode


def steps_bar(source: Source, doing: str, *, progress: bool) -> tqdm:
    """A bar over the steps of a source, on a terminal, for what takes longer than two seconds.

    Args:
        doing: the first word of its line, as in ``converting``.
        progress: False: no bar.
    """
    return tqdm(
        total=source.num_steps,
        desc=f"{doing} {source.id}",
        unit=" steps",
        unit_scale=True,
        delay=2,
        disable=None if progress else True,  # None: on a terminal only
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
                known = b"infos" in group and b"infos/success" in group
                arrays = [read(group, name) for name in Episode._fields[:-1]]
                yield Episode(*arrays, success=read(group, "infos/success") if known else None)


def _read_arrow(source: Source) -> Iterator[Episode]:
    import pyarrow.dataset

    for index in range(source.num_episodes):
        folder = source.path / str(index)
        num_steps = json.loads((folder / "metadata.json").read_text())["total_steps"]
        files = [str(path) for path in sorted(folder.glob(f"*.{source.format}"))]
        table = pyarrow.dataset.dataset(files, format=source.format).to_table()
        columns = [_to_numpy(table[name].combine_chunks()) for name in Episode._fields[:-1]]
        # all but the observations are padded to T + 1 rows on disk
        observations, *rest = columns[0], *(column[:num_steps] for column in columns[1:])
        infos = table["infos"].combine_chunks() if "infos" in table.column_names else None
        present = infos is not None and infos.type.get_field_index("success") >= 0
        yield Episode(observations, *rest, success=_to_numpy(infos.field("success")) if present else None)


def _to_numpy(array: Any) -> NDArray[Any]:
    if hasattr(array.type, "list_size"):
        return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), -1)
    return array.to_numpy(zero_copy_only=False)


def _check_shapes(source: Source, index: int, episode: Episode) -> None:
    num_steps = episode.num_steps
    actions = (num_steps,) if source.discrete else (num_steps, source.num_actions)
    wanted = [(num_steps + 1, source.num_observations), actions, (num_steps,), (num_steps,), (num_steps,)]
    if num_steps == 0 and episode.actions.shape[:1] == (0,):
        return  # skipped by the caller
    for name, array, shape in zip(Episode._fields, episode, wanted):
        if array.shape != shape or array.dtype.kind not in "fiub":
            problem = f"{name} are {array.dtype}{list(array.shape)}, expected numbers {list(shape)}"
            raise source.error(index, problem, "write the dataset again, with one observation more than actions")
    if episode.truncations[:-1].any():
        problem = f"truncated at step {int(episode.truncations.argmax())} of {num_steps}, before its end"
        raise source.error(index, problem, "its transitions would span two episodes: write them as separate episodes")
