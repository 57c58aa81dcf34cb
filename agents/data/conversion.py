"""Episodes -> one float32 matrix of rows (``Layout``) and statistics, made once; later runs open what is there::

    <Minari's dataset folder>/.offline_agents/<id>/<key of the source files>/rows.f32, statistics.npz

Legend: ``N`` steps of the dataset, ``E`` episodes, ``D`` columns, ``O`` observation.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import BinaryIO, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.data.dataset_statistics import DatasetStatistics
from agents.data.rows import write_rows
from agents.data.source import Source
from agents.data.store import flat, locked, work_folder
from agents.errors import DataError, one_line
from agents.files import checksum, flatten, unflatten

CACHE_VERSION = 6  # raise it when rows or statistics change their meaning
ROWS, STATISTICS = "rows.f32", "statistics.npz"


class Cache(NamedTuple):
    """A converted dataset."""

    folder: Path
    statistics: DatasetStatistics
    observation_mean: NDArray[np.float32]  # [O]
    observation_std: NDArray[np.float32]  # [O]
    fingerprint: str

    def rows(self, device: torch.device, *, mapped: bool) -> Tensor:
        """The matrix ``[N + E, D]``: on the device, or ``mapped`` from the file and read-only."""
        path, num_rows = self.folder / ROWS, _num_rows(self.statistics)
        if not mapped:
            return torch.from_numpy(np.fromfile(path, np.float32).reshape(num_rows, -1)).to(device)
        with warnings.catch_warnings():  # that the tensor is not writable is the point
            warnings.simplefilter("ignore", UserWarning)
            return torch.from_numpy(np.memmap(path, np.float32, "r").reshape(num_rows, -1))


def _num_rows(statistics: DatasetStatistics) -> int:
    return statistics.num_steps + statistics.num_episodes


def convert(source: Source, *, clip_actions: bool, progress: bool, check: bool = True) -> Cache:
    """The converted dataset; converts it if there is none of this source, or only a damaged one.

    ``check``: read all rows, and see that they are what was written.
    """
    key = _source_key(source.path)
    name = "-".join([key, *_variant(source, clip_actions=clip_actions)])
    homes = _homes(flat(source.id))
    if whole := next(filter(None, (_read_cache(home / name, source, check=check) for home in homes)), None):
        return whole
    home = _first_writable(homes)
    with locked(home / ".lock", f"converting {source.id}"):  # of runs that start together, one converts
        cache = _read_cache(home / name, source, check=check)
        if cache is None:
            _remove_stale(home, keep=key)
            try:
                _write_cache(source, home / name, clip_actions=clip_actions, progress=progress)
            except OSError as error:
                full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                size = f" (needs {4e-9 * source.num_steps * source.layout.num_columns:.2f} GB)" if full else ""
                raise DataError(
                    f"cannot write the converted dataset {source.id!r} to {home}: {one_line(error)}{size}; make room "
                    "there, or set MINARI_DATASETS_PATH to another disk"
                ) from error
            cache = _read_cache(home / name, source, check=False)
    assert cache is not None, f"the cache in {home / name} vanished"
    return cache


def _variant(source: Source, *, clip_actions: bool) -> list[str]:
    """Words for what else than the source's files decides on the rows."""
    words = ["clipped"] if clip_actions else []
    if source.own_bounds:
        words.append(hashlib.blake2b(np.stack([source.low, source.high]).tobytes(), digest_size=4).hexdigest())
    if source.chosen_parts:
        words.append(hashlib.blake2b(repr(source.observations).encode(), digest_size=4).hexdigest())
    return words


def _source_key(path: Path) -> str:
    """A digest of the source's files: names, sizes, modification times, and the text of the metadata."""
    digest = hashlib.blake2b(f"{CACHE_VERSION}".encode(), digest_size=8)
    digest.update((path / "metadata.json").read_bytes())
    for file in sorted(path.rglob("*")):
        status = file.stat()
        digest.update(f"{file.relative_to(path).as_posix()} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _homes(name: str) -> list[Path]:
    """Beside the datasets; a shared store may be read-only, hence the user's cache."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [work_folder(name), user / "offline_agents" / name]


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


def _write_cache(source: Source, target: Path, *, clip_actions: bool, progress: bool) -> None:
    """Fill a temporary folder and rename it: ``target`` is whole or absent, whenever the process dies."""
    with tempfile.TemporaryDirectory(prefix="part-", dir=target.parent, ignore_cleanup_errors=True) as temporary:
        part = Path(temporary, "cache")
        part.mkdir()
        with open(part / ROWS, "wb") as file:
            scan = write_rows(source, file, clip_actions=clip_actions, progress=progress)
            _flush(file)
        rows_sha256 = checksum(part / ROWS)
        statistics = flatten(vars(scan.statistics()), sep="/")
        arrays = {name: value for name, value in statistics.items() if value is not None}
        for name, value, of_a_category in (("mean", scan.observation.mean, 0.0), ("std", scan.observation.std, 1.0)):
            arrays[f"observation_{name}"] = source.layout.of_dimensions(value, of_a_category)
        with open(part / STATISTICS, "wb") as file:
            np.savez(file, fingerprint=scan.digest.hexdigest(), rows_sha256=rows_sha256, **arrays)
            _flush(file)
        shutil.rmtree(target, ignore_errors=True)  # a damaged one
        part.rename(target)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _read_cache(folder: Path, source: Source, *, check: bool) -> Cache | None:
    """The cache in a folder; None if it is missing, incomplete, damaged, or knows other score protocols.

    ``check``: that the rows are those that were written, as far as a cache of before says which.
    """
    try:
        with np.load(folder / STATISTICS) as file:
            arrays = {name: array.item() if array.ndim == 0 else array for name, array in file.items()}
        rows_sha256 = arrays.pop("rows_sha256", None)
        others = {name: arrays.pop(name) for name in ("observation_mean", "observation_std", "fingerprint")}
        statistics = DatasetStatistics(**unflatten(arrays))
        whole = (folder / ROWS).stat().st_size == 4 * _num_rows(statistics) * source.layout.num_columns
        same = statistics.scores.keys() == source.scorings.keys()
        if check and whole and rows_sha256 not in (None, checksum(folder / ROWS)):
            warnings.warn(f"dataset {source.id!r}: {folder / ROWS} is damaged, and made again", stacklevel=2)
            return None
        return Cache(folder, statistics, **others) if whole and same else None
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return None
