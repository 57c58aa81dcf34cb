"""Files that are there as a whole or not at all, and settings as flat names."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agents.errors import WriteError


def write_atomically(path: Path, payload: bytes) -> None:
    """Write a file of which a reader, or a kill, sees the old content or the new, no part; or raise a WriteError."""
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        remove_leftovers(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # where the folder is a file, there is nothing to remove either
            temporary.unlink()
        advice = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "check the folder"
        raise WriteError(
            f"could not write {path}: {error.strerror}; what was saved before is untouched: {advice}"
        ) from error


def checksum(path: Path) -> str:
    """The SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 16):
            digest.update(piece)
    return digest.hexdigest()


def link(source: Path, destination: Path) -> None:
    temporary = temporary_path(destination)
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # a file system without hard links
        write_atomically(destination, source.read_bytes())
        return
    os.replace(temporary, destination)
    temporary.unlink(missing_ok=True)  # replacing one link by another to the same file does nothing


def temporary_path(path: Path) -> Path:
    """The name of this process for what is not whole yet, hidden beside its final place."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def remove_leftovers(path: Path) -> None:
    """Remove what processes that were killed have left of a file or folder by its temporary names."""
    for leftover in leftovers(path):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)


def leftovers(path: Path) -> Iterator[Path]:
    """What processes that were killed have left of a file or folder by its temporary names."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        pid = leftover.name.split(".")[-2]
        if pid.isascii() and pid.isdigit() and not _lives(int(pid)):
            yield leftover


def _lives(pid: int) -> bool:
    if os.name != "posix":
        return True  # there the question ends the process
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def flatten(tree: Mapping[str, Any], sep: str = ".", prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by their joined keys; with dots, as settings are written on the command line."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, sep, f"{prefix}{name}{sep}"))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of :func:`flatten` by slashes."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *branches, leaf = name.split("/")
        node = tree
        for branch in branches:
            node = node.setdefault(branch, {})
        node[leaf] = value
    return tree


def absent(known: Mapping[str, Any], tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The keys, joined by dots, that a tree of settings lacks; of a branch that is not there, its own."""
    for name, value in known.items():
        if name not in tree:
            yield f"{prefix}{name}"
        elif isinstance(value, Mapping):
            yield from absent(value, tree[name], f"{prefix}{name}.")
