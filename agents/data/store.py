"""The local store of datasets: where it is, what is in it, downloads, locks."""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import shutil
import socket
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import minari
from filelock import FileLock, Timeout
from minari.dataset.minari_dataset import parse_dataset_id
from minari.storage.datasets_root_dir import get_dataset_path

from agents.data import demos
from agents.environments.protocols import PROTOCOLS
from agents.errors import DataError, one_line
from agents.files import leftovers, write_atomically

LOCK_PATIENCE = 0.5  # seconds to wait for another process before saying so
IMPORTING = "importing"  # in the names of hidden folders of the store that imports fill
BEFORE = "before"  # a folder in such a one, for the dataset whose place another takes, by its id


def is_here(dataset_id: str) -> bool:
    """Whether a dataset is in the local store and has to be neither made nor downloaded."""
    root = minari_root()
    if not (root / dataset_id / "data").is_dir():
        put_back(root)
    return (root / dataset_id / "data").is_dir()


def put_back(root: Path) -> None:
    """Undo what an import that was killed had begun: the dataset whose place it would have taken is there again."""
    for leftover in leftovers(root / IMPORTING):
        for data in [*leftover.glob(f"{BEFORE}/**/data")]:
            place = root / data.parent.relative_to(leftover / BEFORE)
            if not place.exists():  # else the other one has taken it
                with contextlib.suppress(OSError):  # another process was faster, or the store is read-only
                    place.parent.mkdir(parents=True, exist_ok=True)
                    os.rename(data.parent, place)


def minari_root() -> Path:
    try:
        return get_dataset_path()
    except OSError as error:
        raise DataError(f"cannot use Minari's folder ({error}); set MINARI_DATASETS_PATH to another one") from error


def work_folder(name: str) -> Path:
    """A folder of our own beside the datasets; Minari overlooks hidden ones."""
    return minari_root() / ".offline_agents" / name


def flat(dataset_id: str) -> str:
    """The id as the name of one folder: inside each other, one dataset's could be taken for a part of another's."""
    return dataset_id.replace("/", "--")


@contextlib.contextmanager
def locked(path: Path, doing: str) -> Iterator[None]:
    """Hold a lock that the system frees after a kill; on stderr, say once what another process holds it for."""
    lock = FileLock(path)
    try:
        hold = lock.acquire(timeout=LOCK_PATIENCE)
    except Timeout:
        print(f"waiting for another process that is {doing}", file=sys.stderr, flush=True)
        hold = lock.acquire()
    with hold:
        yield


def download(dataset_id: str, root: Path, *, check: Callable[[str, Path], object]) -> None:
    """Download beside the store and move what is complete: Minari takes any folder that exists for a whole dataset.

    ``check`` raises a DataError where the downloaded data folder is of no use.
    """
    if cause := _no_download(dataset_id):
        raise unknown_dataset(dataset_id, root, cause)
    part = work_folder("downloads") / flat(dataset_id)
    try:
        part.mkdir(parents=True, exist_ok=True)
        with locked(Path(f"{part}.lock"), f"downloading {dataset_id}"):
            if not (root / dataset_id / "data").is_dir():  # another process may have been faster
                with _minari_folder(part), contextlib.redirect_stdout(sys.stderr):
                    minari.download_dataset(dataset_id, force_download=True)  # continues what an earlier attempt left
                check(dataset_id, part / dataset_id / "data")
                _move_dataset(dataset_id, part, root)
                shutil.rmtree(part)
    except DataError:
        raise
    except Exception as error:  # the network, the hub's client and Minari raise unrelated types
        raise unknown_dataset(dataset_id, root, f"the download failed: {one_line(error)}") from error


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


def _move_dataset(dataset_id: str, part: Path, root: Path) -> None:
    for path in [part / dataset_id, *part.rglob("namespace_metadata.json")]:
        target = root / path.relative_to(part)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
            if target.is_dir():
                note, text = _download_note(dataset_id, target)
                write_atomically(note, text)


def _download_note(dataset_id: str, folder: Path) -> tuple[Path, bytes]:
    """A file that says that this very folder was downloaded: one that was put there since may be the only copy."""
    return work_folder("downloaded") / flat(dataset_id), f"{dataset_id} {folder.stat().st_ino}".encode()


def _was_downloaded(dataset_id: str, folder: Path) -> bool:
    with contextlib.suppress(OSError):
        note, text = _download_note(dataset_id, folder)
        return note.read_bytes() == text
    return False


def hosted_ids() -> list[str]:
    """Datasets that Minari hosts for a score protocol."""
    return [dataset_id for protocol in PROTOCOLS for dataset_id in protocol.dataset_ids]


def remedy(dataset_id: str, folder: Path) -> str:
    """What can be had again from here is moved away and not deleted: somebody may have added to it."""
    if dataset_id in demos.dataset_ids():
        return f"move {folder} elsewhere to have it made anew"
    if dataset_id in hosted_ids() or _was_downloaded(dataset_id, folder):
        return f"move {folder} elsewhere to have it downloaded anew"
    return "copy it again from where it came, or write it again"


def refuse_if_open_elsewhere(dataset_id: str, path: Path, error: Exception) -> None:
    """Tell a file that another process is writing, of which HDF5's error speaks, from a damaged one, by a DataError."""
    text = str(error)
    locked_elsewhere = "unable to lock file" in text and f"errno = {errno.EAGAIN}" in text
    if locked_elsewhere or isinstance(error, BlockingIOError) or "already open for write" in text:
        raise DataError(
            f"dataset {dataset_id!r}: another process has {path / 'main_data.hdf5'} open for writing; close it there, "
            "or wait until it is done: the data are as they were"
        ) from error


def unknown_dataset(dataset_id: str, root: Path, cause: str) -> DataError:
    folders = (path.parent.parent.relative_to(root) for path in root.rglob("data/metadata.json"))
    local = sorted(path.as_posix() for path in folders if not any(part.startswith(".") for part in path.parts))
    known = sorted({*local, *demos.dataset_ids(), *hosted_ids()})
    close = difflib.get_close_matches(dataset_id, known, n=3, cutoff=0.5)
    suggestion = f"; did you mean {' or '.join(close)}?" if close else "."
    here = ", ".join(local[:5]) or "none yet"
    return DataError(
        f"dataset {dataset_id!r} is not in {root} and cannot be fetched ({cause}){suggestion} Without a network: use "
        f"a local one ({here}), a built-in one such as demo/pen/mixed-v1, or copy its folder to {root / dataset_id}"
    )
