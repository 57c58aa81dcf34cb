"""How a run's folder is begun, claimed or overwritten; how it is resumed stands in :mod:`recipes.runs.resume`."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from agents import metrics
from agents.data.dataset import OfflineDataset
from agents.errors import ConfigError
from agents.files import remove_leftovers, temporary_path, write_atomically
from recipes.runs.folder import RunFolder
from recipes.runs.resume import resume
from recipes.runs.validation import note_split
from recipes.runs.versions import versions
from recipes.settings.checks import require_place
from recipes.settings.composition import algorithm_choice, build
from recipes.settings.overrides import pasted
from recipes.settings.schema import TrainConfig

LOCK = ".lock"
AT_WORK = "another process is at work in {}; wait for it, or stop it first"
TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)  # by a process that was faster
ASIDE = ("overwritten", "discarded")  # endings of hidden folders beside a run that is being overwritten


def open_run(cfg: DictConfig) -> tuple[RunFolder, TrainConfig, bool]:
    """The run that the settings describe: folder, settings, and whether it goes on from where it stopped.

    Nothing is written or deleted yet, but for an overwriting that a kill broke off, which is undone.

    Raises:
        ConfigError: if the folder holds another run, or none where one should be resumed.
    """
    folder = RunFolder(cfg.run_dir if cfg.resume is None else cfg.resume)
    if cfg.resume is not None:
        undo_overwrite(folder)
        return folder, resume(folder, cfg), True
    require_free(folder, overwrite=cfg.overwrite)
    return folder, build(cfg, "train"), False


def require_free(folder: RunFolder, *, overwrite: bool) -> None:
    """Refuse a folder in which no run can be begun, with a ConfigError."""
    undo_overwrite(folder)
    if not is_free(folder.path):
        if not folder.holds_run:
            raise ConfigError(f"{folder.path} holds something that is not a run; choose another run_dir")
        if not overwrite:
            way_out = f"go on with it by {pasted('resume', folder.path)}, start over with overwrite=true"
            raise ConfigError(f"{folder.path} already holds a run: {way_out}, or choose another run_dir")
    require_place("run_dir", folder.path)


def claim(folder: RunFolder) -> FileLock:
    """Keep other processes off the run's folder as long as it is in use, or refuse; a kill gives it free."""
    if folder.lock is not None:
        return folder.lock
    lock = FileLock(folder.path / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ConfigError(AT_WORK.format(folder.path)) from error
    except OSError as error:
        raise ConfigError(f"cannot write to {folder.path}: {error.strerror}; choose another run_dir") from error
    folder.lock = lock
    return lock


def at_work(folder: RunFolder) -> bool:
    """Whether another process has claimed the run's folder."""
    lock = FileLock(folder.path / LOCK)
    if not Path(lock.lock_file).exists():
        return False
    try:
        with lock.acquire(blocking=False):
            return False
    except (Timeout, OSError) as error:
        return isinstance(error, Timeout)


@contextmanager
def begin(
    folder: RunFolder,
    cfg: DictConfig,
    config: TrainConfig,
    dataset: OfflineDataset,
    speed: Mapping[str, Any],
    *,
    algorithm: str | None = None,
    files: Mapping[str, bytes] = MappingProxyType({}),
) -> Iterator[None]:
    """Make the folder of a new run; if the block, which starts the run, fails, all is as it was before.

    Args:
        algorithm: its word; None: the one that chose the algorithm of the settings in force.
        files: further ones that the run begins with, by their paths in it.

    The run that is overwritten goes only afterwards; a kill in between is undone by the next :func:`open_run`.
    """
    path = folder.path.resolve()  # a link to a folder stays one
    overwritten, discarded = (path.with_name(f".{path.name}.{end}") for end in ASIDE)
    staged = RunFolder(temporary_path(path))  # of this process alone: others may begin the same run
    remove_leftovers(path)
    for leftover in (staged.path, discarded):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        staged.path.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"cannot make {folder.path}: {error.strerror}; choose another run_dir") from error
    begun = staged.path
    try:
        _describe(staged, cfg, config, dataset, speed, algorithm)
        for name, payload in files.items():
            write_atomically(staged.path / name, payload)
        if not is_free(path):
            _set_aside(folder, overwritten, overwrite=cfg.overwrite)
        folder.lock = _move(staged, path)
        begun = path
        yield
    except BaseException:
        shutil.rmtree(begun, ignore_errors=True)
        undo_overwrite(folder)
        raise
    if overwritten.exists():
        overwritten.rename(discarded)  # from here on the new run is the run, whatever becomes of the old one's files
        shutil.rmtree(discarded, ignore_errors=True)


def _describe(
    new: RunFolder,
    cfg: DictConfig,
    config: TrainConfig,
    dataset: OfflineDataset,
    speed: Mapping[str, Any],
    algorithm: str | None,
) -> None:
    """Write the files that a run begins with."""
    # in a trial of W&B's agent, which has chosen the id, W&B takes no other
    chosen = os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None
    new.add_info(
        algorithm=algorithm or algorithm_choice(),
        algorithm_config=type(config.algorithm).__name__,
        dataset_fingerprint=dataset.fingerprint,
        **note_split(config),
        wandb_id=chosen or uuid.uuid4().hex[:8],
        versions=versions(),
        gomp_spincount=os.environ.get("GOMP_SPINCOUNT"),  # how long torch's threads spin; None: as long as they like
        data=metrics.data(dataset) if dataset.compares(config.eval_env, config.max_episode_steps) else None,
        **speed,
    )
    write_atomically(new.config_file, OmegaConf.to_yaml(cfg, resolve=True).encode())


def is_free(path: Path) -> bool:
    """Whether a run may be begun in a folder: it is not there, or empty but for a lock."""
    return not path.exists() or (path.is_dir() and {file.name for file in path.iterdir()} <= {LOCK})


def _move(staged: RunFolder, path: Path) -> FileLock | None:
    """Let the staged run appear in its place at once and claimed, unless another one is there; returns the claim."""
    try:
        if not path.exists():
            lock = claim(staged) if os.name == "posix" else None  # elsewhere what is open cannot be moved
            staged.path.rename(path)
            return lock
        lock = claim(RunFolder(path))  # it is empty, and perhaps the current folder
        if is_free(path):
            for file in staged.path.iterdir():
                file.rename(path / file.name)
            staged.path.rmdir()
            return lock
    except OSError as error:
        if error.errno not in TAKEN:
            raise
    raise _begun_meanwhile(path)


def _begun_meanwhile(path: Path) -> ConfigError:
    return ConfigError(f"another process has begun a run in {path} meanwhile; choose another run_dir")


def _set_aside(folder: RunFolder, overwritten: Path, *, overwrite: bool) -> None:
    path = folder.path.resolve()
    if not overwrite:
        raise _begun_meanwhile(path)
    if Path.cwd().is_relative_to(path):
        raise ConfigError(f"{path} cannot be overwritten from inside it; change to another folder first")
    for own in {path, *(lock.parent for lock in path.rglob(LOCK))}:  # the run, and what goes on from it inside it
        claim(RunFolder(own)).release()
    try:
        path.rename(overwritten)
    except OSError as error:
        if error.errno not in TAKEN:
            raise
        raise _begun_meanwhile(path) from error


def undo_overwrite(folder: RunFolder) -> None:
    """Bring back the run that was to be overwritten, if the new one has not started."""
    path = folder.path.resolve()
    overwritten = path.with_name(f".{path.name}.{ASIDE[0]}")
    if not overwritten.exists():
        return
    if path.exists():
        lock = claim(RunFolder(path))  # refused while the other process is still starting
        shutil.rmtree(path)
        lock.release()
    try:
        overwritten.rename(path)
    except OSError:
        if not path.exists():  # else another process was faster
            raise
