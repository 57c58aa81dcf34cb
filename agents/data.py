"""Minari dataset id -> ``OfflineDataset``: float32 transitions, statistics, specs, and a replay buffer over them.

A dataset is read once, episode by episode, into one matrix of rows (``Layout``). Later runs open that matrix::

    <Minari's dataset folder>/.offline_agents/<id>/<key of the source files>/rows.f32, statistics.npz

Legend: ``N`` steps of the dataset, ``T`` of an episode, ``E`` episodes, ``B`` batch, ``O`` observation, ``A`` action.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import hashlib
import json
import os
import shutil
import socket
import sys
import tempfile
import urllib.request
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from zipfile import BadZipFile

import gymnasium as gym
import minari
import numpy as np
import torch
from filelock import FileLock
from gymnasium.envs.registration import EnvSpec
from minari.dataset.minari_dataset import parse_dataset_id
from minari.dataset.minari_storage import MinariStorage
from minari.storage.datasets_root_dir import get_dataset_path
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor
from torchrl.data import Bounded, Categorical, TensorDictReplayBuffer, TensorSpec, TensorStorage, Unbounded
from torchrl.data.replay_buffers import ImmutableDatasetWriter
from tqdm import tqdm

from agents import demos
from agents.envs import ADROIT_TASKS, AdroitTask, EvaluationEnv, Reference, d4rl_return, success_held
from agents.errors import ConfigError, DataError

CACHE_VERSION = 1  # raise it when rows or statistics change their meaning
CACHE_NAME = "offline_agents"
D4RL_IDS = tuple(f"D4RL/{task}/{kind}-v2" for task in ADROIT_TASKS for kind in ("human", "cloned", "expert"))
OBSERVATION_SIZES = {"pen": 45, "hammer": 46, "door": 39, "relocate": 39}  # what d4rl_return takes its columns from
PIECE = 1 << 16  # rows packed and written at a time, so that one endless episode does not need memory for all its rows
REOPEN_EVERY = 256  # episodes; until it is closed, an hdf5 file keeps memory for all that was ever opened in it
BOUND_SLACK = 1e-6  # of the range: actions this far outside are rounding, and clipped silently
SATURATION = 1e-3  # of the range: actions this close to a bound count as saturated

Key = str | tuple[str, ...]
DEFAULT_KEYS: tuple[Key, ...] = (
    "observation",
    "action",
    ("next", "observation"),
    ("next", "reward"),
    ("next", "terminated"),
)
OPTIONAL_KEYS: tuple[Key, ...] = (("next", "truncated"), ("next", "done"))


@dataclass(frozen=True)
class Layout:
    """Columns of a row: observation [O] | action [A] | next observation [O] | reward [1] | terminated [1]."""

    observation: int
    action: int  # 1 for a discrete action, which is stored as its index
    discrete: bool = False

    @property
    def widths(self) -> tuple[int, int, int, int, int]:
        """In the order of ``DEFAULT_KEYS``."""
        return self.observation, self.action, self.observation, 1, 1

    @property
    def num_columns(self) -> int:
        return sum(self.widths)

    def parts(self, rows: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Views of the five parts."""
        return np.split(rows, np.cumsum(self.widths)[:-1], axis=1)

    def key_of(self, column: int) -> Key:
        return DEFAULT_KEYS[int(np.searchsorted(np.cumsum(self.widths), column, side="right"))]


@dataclass(frozen=True)
class Specs:
    """What a network has to know about the data."""

    observation: TensorSpec  # [O] float32
    action: TensorSpec  # Bounded [A] float32; Unbounded when a bound is infinite; Categorical for discrete actions
    observation_mean: Tensor  # [O] float32, over the N observations (not the next ones)
    observation_std: Tensor  # [O] float32, no epsilon added


@dataclass(frozen=True, eq=False)
class DatasetStatistics:
    """What the rows hold, and what the episodes they were made of add up to; returns are undiscounted."""

    num_episodes: int
    num_steps: int
    returns: NDArray[np.float64]  # [E]
    lengths: NDArray[np.int64]  # [E] steps
    d4rl_returns: NDArray[np.float64] | None  # [E]; None unless the environment is Adroit's
    success: NDArray[np.bool_] | None  # [E] at any step; None without infos["success"]
    success_held: NDArray[np.bool_] | None  # [E] as DAPG defines it; None unless Adroit's
    success_last: NDArray[np.bool_] | None  # [E] at the last step
    action_min: NDArray[np.float32]  # [A]
    action_max: NDArray[np.float32]  # [A]
    saturated_actions: float  # share of action components within 0.1 % of the range from a bound
    reward_mean: float
    reward_std: float
    reward_min: float
    reward_max: float
    terminations: int  # steps that end an episode for good
    truncations: int  # steps that cut it off


class PackedStorage(TensorStorage):
    """Storage over packed rows: one gather per batch, then views of it; half the time of a TensorDict's storage."""

    def __init__(self, dataset: OfflineDataset, keys: Iterable[Key]) -> None:
        super().__init__(dataset.rows, device=dataset.rows.device)
        self._layout = dataset.layout
        self._keys = frozenset(keys)
        self._batch_device = None if dataset.device == dataset.rows.device else dataset.device
        self._ends: Tensor | None = None  # [N, 1] bool
        if self._keys.intersection(OPTIONAL_KEYS):
            self._ends = dataset.last_steps().to(dataset.rows.device)

    def get(self, index: Any) -> TensorDict:
        gather = isinstance(index, Tensor) and index.ndim == 1
        rows = self._storage.index_select(0, index) if gather else self._storage[index]  # [B, D]
        ends = self._ends[index] if self._ends is not None else None
        if self._batch_device is not None:
            rows = rows.to(self._batch_device)
            ends = ends.to(self._batch_device) if ends is not None else None
        parts: dict[Key, Tensor] = dict(zip(DEFAULT_KEYS, rows.split(self._layout.widths, -1)))
        terminated = parts["next", "terminated"] = parts["next", "terminated"] != 0
        if self._layout.discrete:
            parts["action"] = parts["action"].squeeze(-1).long()  # [B, 1] -> [B], as Categorical has it
        if ends is not None:
            parts["next", "done"], parts["next", "truncated"] = ends, ends & ~terminated
        top = {key: part for key, part in parts.items() if key in self._keys and isinstance(key, str)}
        following = {key[1]: part for key, part in parts.items() if key in self._keys and isinstance(key, tuple)}
        # the checks of TensorDict() would cost as much as everything above
        top["next"] = TensorDict._new_unsafe(following, rows.shape[:-1])
        return TensorDict._new_unsafe(top, rows.shape[:-1])


@dataclass(frozen=True, eq=False)
class OfflineDataset:
    """Every transition of a Minari dataset.

    The last transition of an episode has the episode's true last observation as its next one. ``terminated`` is True
    only where the environment said so: a truncated episode, or one that just stops, is bootstrapped.
    """

    id: str
    layout: Layout
    rows: Tensor  # [N, D] float32, columns as in ``layout``; read-only when memory-mapped
    specs: Specs
    statistics: DatasetStatistics
    reference: Reference | None  # from the dataset's metadata
    env_spec: EnvSpec | None  # for evaluation
    task: AdroitTask | None
    fingerprint: str  # hexadecimal digest of the rows: equal content, equal fingerprint
    device: torch.device  # where batches arrive; the rows are there too unless memory-mapped

    def __len__(self) -> int:
        return len(self.rows)

    def last_steps(self) -> Tensor:
        """Whether a row is the last of its episode, ``[N, 1]`` bool."""
        last = torch.zeros(len(self), 1, dtype=torch.bool)
        last[torch.from_numpy(self.statistics.lengths.cumsum() - 1)] = True
        return last

    def replay_buffer(
        self, batch_size: int, *, seed: int = 0, keys: Iterable[Key] = DEFAULT_KEYS
    ) -> TensorDictReplayBuffer:
        """Uniform sampling with replacement from a generator of its own: its state is all that a resume needs.

        Args:
            keys: entries of a batch, for example a loss module's ``in_keys``; ``OPTIONAL_KEYS`` can be asked for.

        Raises:
            ConfigError: a key that the data do not have.
        """
        keys = tuple(keys)
        if unknown := [key for key in keys if key not in DEFAULT_KEYS + OPTIONAL_KEYS]:
            raise ConfigError(f"offline data have no {unknown[0]!r}; choose from {DEFAULT_KEYS + OPTIONAL_KEYS}")
        generator = torch.Generator(self.rows.device).manual_seed(seed)
        return TensorDictReplayBuffer(
            storage=PackedStorage(self, keys),
            writer=ImmutableDatasetWriter(),
            batch_size=batch_size,
            generator=generator,
        )

    def make_env(self, num_envs: int = 1, env_id: str | None = None) -> EvaluationEnv:
        """The environment to evaluate in: ``env_id``, or the one that the dataset's metadata name.

        Raises:
            DataError: neither is given, or the environment is unknown.
        """
        if env_id is None and self.env_spec is None:
            raise DataError(f"dataset {self.id!r} has no environment metadata; pass eval_env=ID to evaluate")
        other = env_id is not None and self.env_spec is not None and env_id != self.env_spec.id
        reference = None if other else self.reference  # returns of another environment are on another scale
        return EvaluationEnv(env_id or self.env_spec, num_envs=num_envs, reference=reference)


def load_dataset(
    dataset_id: str,
    *,
    device: torch.device | str = "cpu",
    storage: str = "memory",
    clip_actions: bool = False,
    progress: bool = True,
) -> OfflineDataset:
    """Open a Minari dataset: local, built in (``demo/...``), or downloaded; converted at the first time.

    Args:
        device: where batches arrive.
        storage: ``"memory"`` holds the rows on ``device``; ``"memmap"`` leaves them on disk.
        clip_actions: clip actions to the bounds of the action space instead of refusing them.
        progress: show a bar for what takes longer than two seconds.

    Raises:
        DataError: the dataset is unknown, damaged, or of an unsupported kind.
        ConfigError: ``storage`` is neither of the two.
    """
    if storage not in ("memory", "memmap"):
        raise ConfigError(f"unknown storage {storage!r}; choose from memory, memmap")
    source = _open_source(dataset_id, _find(dataset_id, progress=progress))
    cache = _cached(source, clip_actions=clip_actions, progress=progress)
    device = torch.device(device)
    rows = _open_rows(cache, source.layout, device, mapped=storage == "memmap")
    return OfflineDataset(
        id=dataset_id,
        layout=source.layout,
        rows=rows,
        specs=_specs(source, cache),
        statistics=cache.statistics,
        reference=source.reference,
        env_spec=source.env_spec,
        task=source.task,
        fingerprint=cache.fingerprint,
        device=rows.device if storage == "memory" else device,
    )


def _specs(source: _Source, cache: _Cache) -> Specs:
    if source.layout.discrete:
        action = Categorical(int(source.high[0]) + 1)
    elif np.isfinite(source.low).all() and np.isfinite(source.high).all():
        action = Bounded(torch.from_numpy(source.low), torch.from_numpy(source.high), dtype=torch.float32)
    else:
        action = Unbounded((source.layout.action,), dtype=torch.float32)
    observation = Unbounded((source.layout.observation,), dtype=torch.float32)
    return Specs(observation, action, torch.from_numpy(cache.observation_mean), torch.from_numpy(cache.observation_std))


# Where a dataset comes from ------------------------------------------------------------------------------------------


def _find(dataset_id: str, *, progress: bool) -> Path:
    """Folder with the data of a dataset, which is made or downloaded when it is not there yet."""
    root = _minari_root()
    path = root / dataset_id / "data"
    if path.is_dir():
        return path
    if dataset_id in demos.dataset_ids():
        demos.make(dataset_id, progress=progress)
    else:
        _download(dataset_id, root)
    return path


def _minari_root() -> Path:
    try:
        return get_dataset_path()
    except OSError as error:
        raise DataError(f"cannot use Minari's folder ({error}); set MINARI_DATASETS_PATH to another one") from error


def _download(dataset_id: str, root: Path) -> None:
    """Download beside the store and move what is complete: Minari takes any folder that exists for a whole dataset."""
    if cause := _no_download(dataset_id):
        raise _unknown(dataset_id, root, cause)
    part = _cache_homes("downloads", root)[0] / _flat(dataset_id)
    try:
        part.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{part}.lock"):
            if not (root / dataset_id / "data").is_dir():  # another process may have been faster
                with _minari_folder(part), contextlib.redirect_stdout(sys.stderr):
                    minari.download_dataset(dataset_id, force_download=True)  # continues what an earlier attempt left
                _open_source(dataset_id, part / dataset_id / "data")
                _move_datasets(part, root)
                shutil.rmtree(part)
    except DataError:
        raise
    except Exception as error:  # the network, the hub's client and Minari raise unrelated types
        raise _unknown(dataset_id, root, f"the download failed: {_one_line(error)}") from error


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


def _unknown(dataset_id: str, root: Path, cause: str) -> DataError:
    found = (path.parent.parent.relative_to(root) for path in root.rglob("data/metadata.json"))
    local = sorted(path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))
    close = difflib.get_close_matches(dataset_id, [*local, *demos.dataset_ids(), *D4RL_IDS], n=3, cutoff=0.5)
    suggestion = f"did you mean {' or '.join(close)}? " if close else ""
    here = ", ".join(local[:5]) or "none yet"
    return DataError(
        f"dataset {dataset_id!r} is not in {root} and cannot be fetched ({cause}); {suggestion}Without a network: use "
        f"a local one ({here}), a built-in one such as demo/pen/mixed-v0, or copy its folder to {root / dataset_id}"
    )


# What the source says about itself -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    id: str
    path: Path  # the dataset's data folder
    format: str
    num_episodes: int
    num_steps: int  # as announced; for the progress bar only
    layout: Layout
    low: NDArray[np.float32]  # [A]
    high: NDArray[np.float32]  # [A]
    reference: Reference | None
    env_spec: EnvSpec | None

    @property
    def task(self) -> AdroitTask | None:
        task = EvaluationEnv(self.env_spec).task if self.env_spec is not None else None
        return task if task is not None and OBSERVATION_SIZES[task.name] == self.layout.observation else None

    def error(self, episode: int, problem: str, way_out: str | None = None) -> DataError:
        way_out = way_out or f"delete {self.path.parent} to have it made or downloaded anew, or copy it again"
        return DataError(f"dataset {self.id!r}, episode {episode}: {problem}; {way_out}")


def _open_source(dataset_id: str, path: Path) -> _Source:
    """Read the metadata; the data themselves are not touched.

    Raises:
        DataError: metadata are damaged or of an unsupported version, or the spaces are not supported.
    """
    try:
        metadata = MinariStorage.read_raw_metadata(path)
        version = metadata["minari_version"]
        supported = version in minari.supported_dataset_versions
        storage = MinariStorage.read(path) if supported else None
        counts = int(metadata["total_episodes"]), int(metadata["total_steps"])
    except Exception as error:  # hand-made metadata break Minari in every way
        raise DataError(
            f"dataset {dataset_id!r} cannot be opened ({_one_line(error)}): metadata.json or a data file is missing or "
            f"damaged; delete {path.parent} to have it made or downloaded anew, or copy it again"
        ) from error
    if storage is None:
        raise DataError(
            f"dataset {dataset_id!r} was written by Minari {version}, which the installed {minari.__version__} cannot "
            "read; use another version of the dataset, or of Minari"
        )
    layout, low, high = _read_spaces(dataset_id, storage.observation_space, storage.action_space)
    reference, env_spec = _read_reference(dataset_id, metadata), _read_env_spec(dataset_id, metadata)
    return _Source(dataset_id, path, metadata["data_format"], *counts, layout, low, high, reference, env_spec)


def _read_spaces(dataset_id: str, observation: gym.Space, action: gym.Space) -> tuple[Layout, Any, Any]:
    for name, space in (("observations", observation), ("actions", action)):
        flat = isinstance(space, gym.spaces.Box) and len(space.shape) == 1
        discrete = name == "actions" and isinstance(space, gym.spaces.Discrete) and space.start == 0
        if not flat and not discrete:
            raise DataError(
                f"dataset {dataset_id!r} has {name} in a {type(space).__name__} of shape {space.shape}; supported are "
                "a one-dimensional Box, and Discrete actions from 0 on: flatten it into a new dataset"
            )
    if isinstance(action, gym.spaces.Discrete):
        return Layout(observation.shape[0], 1, discrete=True), np.zeros(1, np.float32), np.float32([action.n - 1])
    bounds = (bound.astype(np.float32) for bound in (action.low, action.high))
    return Layout(observation.shape[0], action.shape[0]), *bounds


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
    known = {spec_field.name for spec_field in fields(EnvSpec) if spec_field.init}  # older Gymnasium wrote some more
    try:
        return EnvSpec.from_json(json.dumps({name: value for name, value in json.loads(text).items() if name in known}))
    except (AttributeError, KeyError, TypeError, ValueError, gym.error.Error) as error:
        warnings.warn(f"dataset {dataset_id!r}: environment metadata ignored: {_one_line(error)}", stacklevel=2)
        return None


# Reading episodes ----------------------------------------------------------------------------------------------------


class _Episode(NamedTuple):
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


def _read_episodes(source: _Source) -> Iterator[_Episode]:
    """The episodes of the source in their order, checked for shapes; one is in memory at a time.

    Not through Minari's ``get_episodes``: it decodes every info, and from arrow and parquet files it returns the wrong
    rows after an episode of more than 32767 steps and fails on one-dimensional infos (0.5.4).
    """
    episodes = _read_hdf5(source) if source.format == "hdf5" else _read_arrow(source)
    for index in range(source.num_episodes):
        try:
            episode = next(episodes)
        except Exception as error:  # h5py and pyarrow raise nearly every type on a damaged file
            problem = f"cannot be read ({_one_line(error)}): the file is truncated or damaged"
            raise source.error(index, problem) from error
        _check_shapes(source, index, episode)
        yield episode


def _read_hdf5(source: _Source) -> Iterator[_Episode]:
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
                arrays = [read(group, name) for name in _Episode._fields[:-1]]
                yield _Episode(*arrays, success=read(group, "infos/success") if known else None)


def _read_arrow(source: _Source) -> Iterator[_Episode]:
    import pyarrow.dataset

    for index in range(source.num_episodes):
        folder = source.path / str(index)
        num_steps = json.loads((folder / "metadata.json").read_text())["total_steps"]
        files = [str(path) for path in sorted(folder.glob(f"*.{source.format}"))]
        table = pyarrow.dataset.dataset(files, format=source.format).to_table()
        columns = [_to_numpy(table[name].combine_chunks()) for name in _Episode._fields[:-1]]
        # all but the observations are padded to T + 1 rows on disk
        observations, *rest = columns[0], *(column[:num_steps] for column in columns[1:])
        infos = table["infos"].combine_chunks() if "infos" in table.column_names else None
        present = infos is not None and infos.type.get_field_index("success") >= 0
        yield _Episode(observations, *rest, success=_to_numpy(infos.field("success")) if present else None)


def _to_numpy(array: Any) -> NDArray[Any]:
    if hasattr(array.type, "list_size"):
        return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), -1)
    return array.to_numpy(zero_copy_only=False)


def _check_shapes(source: _Source, index: int, episode: _Episode) -> None:
    num_steps = episode.num_steps
    actions = (num_steps,) if source.layout.discrete else (num_steps, source.layout.action)
    wanted = [(num_steps + 1, source.layout.observation), actions, (num_steps,), (num_steps,), (num_steps,)]
    if num_steps == 0 and episode.actions.shape[:1] == (0,):
        return  # skipped by the caller
    for name, array, shape in zip(_Episode._fields, episode, wanted):
        if array.shape != shape or array.dtype.kind not in "fiub":
            problem = f"{name} are {array.dtype}{list(array.shape)}, expected numbers {list(shape)}"
            raise source.error(index, problem, "write the dataset again, with one observation more than actions")
    if episode.truncations[:-1].any():
        problem = f"truncated at step {int(episode.truncations.argmax())} of {num_steps}, before its end"
        raise source.error(index, problem, "its transitions would span two episodes: write them as separate episodes")


# Conversion ----------------------------------------------------------------------------------------------------------


def _pack(source: _Source, index: int, episode: _Episode, start: int, *, clip_actions: bool) -> NDArray[np.float32]:
    """Rows of at most ``PIECE`` steps from ``start`` on, ``[T, D]``.

    Raises:
        DataError: a value is not finite in float32, or an action is outside its bounds.
    """
    layout, piece = source.layout, slice(start, min(start + PIECE, episode.num_steps))
    rows = np.empty((piece.stop - start, layout.num_columns), np.float32)
    parts = layout.parts(rows)
    with np.errstate(over="ignore"):  # reported below
        parts[0][:] = episode.observations[piece]
        parts[1][:] = episode.actions[piece].reshape(len(rows), -1)
        parts[2][:] = episode.observations[start + 1 : piece.stop + 1]
        parts[3][:, 0] = episode.rewards[piece]
        parts[4][:, 0] = episode.terminations[piece]
    if not np.isfinite(rows).all():
        step, column = np.argwhere(~np.isfinite(rows))[0]
        problem = f"{layout.key_of(column)!r} is {rows[step, column]} at step {start + step}"
        raise source.error(index, problem, "values must be finite in float32: remove the episode from the dataset")
    _clip(source, index, parts[1], start, clip_actions=clip_actions)
    return rows


def _clip(source: _Source, index: int, actions: NDArray[np.float32], start: int, *, clip_actions: bool) -> None:
    low, high = source.low, source.high
    slack = BOUND_SLACK * np.where(np.isfinite(high - low), high - low, 1.0)
    outside = (actions < low - slack) | (actions > high + slack)  # [T, A]
    if outside.any() and (source.layout.discrete or not clip_actions):
        step, column = np.argwhere(outside)[0]
        bounds = f"[{low[column]:g}, {high[column]:g}]"
        problem = f"action {column} is {actions[step, column]:g} at step {start + step}, outside {bounds}"
        way_out = None if source.layout.discrete else "clip_actions=true clips such actions"
        raise source.error(index, problem, way_out)
    np.clip(actions, low, high, out=actions)


class _Moments:
    """Mean and variance per column, merged as Chan et al. 1979: exact where the mean is far larger than the std."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, np.float64(0.0), np.float64(0.0)
        self.min, self.max = np.float32(np.inf), np.float32(-np.inf)

    def add(self, values: NDArray[Any]) -> None:  # [T, columns]
        self.min, self.max = np.minimum(self.min, values.min(0)), np.maximum(self.max, values.max(0))
        mean, total = values.mean(0, dtype=np.float64), self.count + len(values)
        delta = mean - self.mean
        self.squares = self.squares + ((values - mean) ** 2).sum(0) + delta**2 * (self.count * len(values) / total)
        self.mean = self.mean + delta * (len(values) / total)
        self.count = total

    @property
    def std(self) -> NDArray[np.float64]:
        return np.sqrt(self.squares / self.count)


class _Scan:
    """All that one pass over the rows and the episodes gathers."""

    def __init__(self, source: _Source) -> None:
        self.source, self.layout, self.task = source, source.layout, source.task
        self.digest = hashlib.blake2b(repr(source.layout).encode(), digest_size=16)
        self.observation, self.action, self.reward = _Moments(), _Moments(), _Moments()
        self.num_saturated = self.terminations = self.truncations = 0
        self.episodes: list[dict[str, Any]] = []  # the fields of DatasetStatistics that have one entry per episode

    def add_rows(self, rows: NDArray[np.float32]) -> None:
        observation, action, _, reward, _ = self.layout.parts(rows)
        self.digest.update(rows)
        for moments, values in ((self.observation, observation), (self.action, action), (self.reward, reward)):
            moments.add(values)
        if not self.layout.discrete:
            low, high = self.source.low, self.source.high
            margin = np.where(np.isfinite(high - low), SATURATION * (high - low), 0.0)
            self.num_saturated += int(((action <= low + margin) | (action >= high - margin)).sum())

    def add_episode(self, episode: _Episode) -> None:
        self.terminations += int(np.count_nonzero(episode.terminations))
        self.truncations += int(np.count_nonzero(episode.truncations))
        rewards, task, success = episode.rewards.astype(np.float64), self.task, episode.step_success()
        self.episodes.append(
            {
                "returns": rewards.sum(),
                "lengths": len(rewards),
                "d4rl_returns": None if task is None else d4rl_return(task, episode.observations, rewards),
                "success": None if success is None else success.any(),
                "success_held": None if task is None or success is None else success_held(task, success),
                "success_last": None if success is None else success[-1],
            }
        )

    def statistics(self) -> DatasetStatistics:
        per_episode: dict[str, Any] = {}
        for name in self.episodes[0]:
            values = [episode[name] for episode in self.episodes]
            per_episode[name] = None if None in values else np.array(values)
        return DatasetStatistics(
            num_episodes=len(self.episodes),
            num_steps=self.reward.count,
            action_min=self.action.min,
            action_max=self.action.max,
            saturated_actions=self.num_saturated / (self.action.count * self.layout.action),
            reward_mean=self.reward.mean.item(),
            reward_std=self.reward.std.item(),
            reward_min=self.reward.min.item(),
            reward_max=self.reward.max.item(),
            terminations=self.terminations,
            truncations=self.truncations,
            **per_episode,
        )


def _write_rows(source: _Source, file: BinaryIO, *, clip_actions: bool, progress: bool) -> _Scan:
    """Written, not mapped: on a full disk a write raises where a mapped page would kill the process."""
    scan, empty = _Scan(source), []
    title = f"converting {source.id}"
    with tqdm(total=source.num_steps, desc=title, unit=" steps", unit_scale=True, delay=2, disable=not progress) as bar:
        for index, episode in enumerate(_read_episodes(source)):
            for start in range(0, episode.num_steps, PIECE):
                rows = _pack(source, index, episode, start, clip_actions=clip_actions)
                file.write(rows)
                scan.add_rows(rows)
            if episode.num_steps:
                scan.add_episode(episode)
            else:
                empty.append(index)
            bar.update(episode.num_steps)
    if not scan.episodes:
        raise DataError(f"dataset {source.id!r} holds no steps; delete {source.path.parent} and make or copy it again")
    if empty:
        warnings.warn(f"dataset {source.id!r}: skipped {len(empty)} episodes without steps: {empty[:5]}", stacklevel=2)
    return scan


# The cache -----------------------------------------------------------------------------------------------------------


class _Cache(NamedTuple):
    folder: Path
    statistics: DatasetStatistics
    observation_mean: NDArray[np.float32]  # [O]
    observation_std: NDArray[np.float32]  # [O]
    fingerprint: str


def _cached(source: _Source, *, clip_actions: bool, progress: bool) -> _Cache:
    """The converted dataset; converts it if there is none of this source, or only a damaged one."""
    key = _source_key(source.path)
    name = f"{key}-clipped" if clip_actions else key
    homes = _cache_homes(_flat(source.id), _minari_root())
    if whole := next(filter(None, (_open_cache(home / name, source.layout) for home in homes)), None):
        return whole
    home = _first_writable(homes)
    with FileLock(home / ".lock"):  # of runs that start together, one converts; the system frees it after a kill
        cache = _open_cache(home / name, source.layout)
        if cache is None:
            _remove_stale(home, keep=key)
            try:
                _convert(source, home / name, clip_actions=clip_actions, progress=progress)
            except OSError as error:
                full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                size = f" (needs {4e-9 * source.num_steps * source.layout.num_columns:.2f} GB)" if full else ""
                raise DataError(
                    f"cannot write the converted dataset {source.id!r} to {home}: {_one_line(error)}{size}; make room "
                    "there, or set MINARI_DATASETS_PATH to another disk"
                ) from error
            cache = _open_cache(home / name, source.layout)
    assert cache is not None, f"the cache in {home / name} vanished"
    return cache


def _source_key(path: Path) -> str:
    """Changes when a file of the source does: names, sizes, modification times, and the text of the metadata."""
    digest = hashlib.blake2b(f"{CACHE_VERSION}".encode(), digest_size=8)
    digest.update((path / "metadata.json").read_bytes())
    for file in sorted(path.rglob("*")):
        status = file.stat()
        digest.update(f"{file.relative_to(path).as_posix()} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _cache_homes(name: str, root: Path) -> list[Path]:
    """In Minari's folder, which skips hidden ones; a shared store may be read-only, hence the user's cache."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [root / f".{CACHE_NAME}" / name, user / CACHE_NAME / name]


def _first_writable(homes: list[Path]) -> Path:
    for home in homes:
        with contextlib.suppress(OSError):
            home.mkdir(parents=True, exist_ok=True)
            (home / ".lock").touch()
            return home
    raise DataError(f"cannot write to {homes[0]} nor {homes[1]}; set XDG_CACHE_HOME to a folder that can be written")


def _remove_stale(home: Path, keep: str) -> None:
    """Caches of an older source, and what a killed conversion left; only under the lock."""
    for old in home.iterdir():
        if old.is_dir() and not old.name.startswith(keep):
            shutil.rmtree(old, ignore_errors=True)


def _convert(source: _Source, target: Path, *, clip_actions: bool, progress: bool) -> None:
    """Fill a temporary folder and rename it: ``target`` is whole or absent, whenever the process dies."""
    with tempfile.TemporaryDirectory(prefix="part-", dir=target.parent, ignore_cleanup_errors=True) as temporary:
        part = Path(temporary, "cache")
        part.mkdir()
        with open(part / "rows.f32", "wb") as file:
            scan = _write_rows(source, file, clip_actions=clip_actions, progress=progress)
            _flush(file)
        arrays = {name: value for name, value in vars(scan.statistics()).items() if value is not None}
        arrays["observation_mean"] = scan.observation.mean.astype(np.float32)
        arrays["observation_std"] = scan.observation.std.astype(np.float32)
        with open(part / "statistics.npz", "wb") as file:
            np.savez(file, fingerprint=scan.digest.hexdigest(), **arrays)
            _flush(file)
        shutil.rmtree(target, ignore_errors=True)  # a damaged one
        part.rename(target)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _open_cache(folder: Path, layout: Layout) -> _Cache | None:
    """The cache in a folder; None if it is missing, incomplete or damaged."""
    try:
        with np.load(folder / "statistics.npz") as file:
            arrays = dict(file)
        values = {f.name: arrays.get(f.name) for f in fields(DatasetStatistics)}
        scalars = {name: value.item() for name, value in values.items() if value is not None and value.ndim == 0}
        statistics = DatasetStatistics(**{**values, **scalars})
        if (folder / "rows.f32").stat().st_size != 4 * statistics.num_steps * layout.num_columns:
            return None
        moments = arrays["observation_mean"], arrays["observation_std"]
        return _Cache(folder, statistics, *moments, arrays["fingerprint"].item())
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return None


def _open_rows(cache: _Cache, layout: Layout, device: torch.device, *, mapped: bool) -> Tensor:
    path, shape = cache.folder / "rows.f32", (cache.statistics.num_steps, layout.num_columns)
    if not mapped:
        return torch.from_numpy(np.fromfile(path, np.float32).reshape(shape)).to(device)
    with warnings.catch_warnings():  # that the tensor is not writable is the point
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(np.memmap(path, np.float32, "r", shape=shape))


def _flat(dataset_id: str) -> str:
    return dataset_id.replace("/", "--")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
