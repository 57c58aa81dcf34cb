"""Files that may be packed by gzip: by what they begin with, since endings are written in many ways."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import IO, cast

MAGIC = b"\x1f\x8b"


def is_packed(file: Path) -> bool:
    with open(file, "rb") as start:
        return start.read(len(MAGIC)) == MAGIC


def open_bytes(file: Path) -> IO[bytes]:
    """Its content, unpacked."""
    return cast(IO[bytes], gzip.open(file)) if is_packed(file) else open(file, "rb")
