"""Formats by their endings, and the files that a source stands for: one, all in a folder, or what a pattern matches."""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from agents.data.importers.csv_tables import CsvTables
from agents.data.importers.hdf5_arrays import Hdf5Arrays
from agents.data.importers.npz_arrays import NpzArrays
from agents.data.importers.parquet_tables import ParquetTables
from agents.data.importers.rows import Log
from agents.data.importers.settings import ENDINGS
from agents.errors import DataError


def find_files(source: str) -> list[Path]:
    """The files of a source, in the order of the numbers in their names.

    Raises:
        DataError: there are none, or they are of several formats.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        paths = [each for each in path.rglob("*") if not each.name.startswith((".", "_"))]
    elif path.is_file():
        paths = [path]
    else:
        paths = [Path(match) for match in glob.glob(str(path), recursive=True)]
    files = sorted((each for each in paths if each.is_file() and format_of(each)), key=_natural)
    if not files:
        there = "no such file or folder" if not paths else "no log in a known format is there"
        endings = ", ".join(ending for endings in ENDINGS.values() for ending in endings)
        raise DataError(f"source={source}: {there}; known are files that end in {endings}")
    if len(kinds := sorted({str(format_of(each)) for each in files})) > 1:
        way_out = f"choose by a pattern, as in source='{path / ('*' + files[0].suffix)}'"
        raise DataError(f"source={source}: files of several formats are there, {' and '.join(kinds)}; {way_out}")
    return files


def open_log(files: list[Path], *, rows: str) -> Log:
    """The files as a log, by their format; ``rows`` says what a row of Parquet is."""
    openers: dict[str, Callable[[list[Path]], Log]] = {
        "CSV": CsvTables.open,
        "Parquet": partial(ParquetTables.open, rows=rows),
        "Arrow": partial(ParquetTables.open, rows=rows),
        "NPZ": NpzArrays.open,
        "HDF5": Hdf5Arrays.open,
    }
    return openers[str(format_of(files[0]))](files)


def format_of(path: Path) -> str | None:
    """The name of a file's format; None: it is of none that is known."""
    return next((name for name, endings in ENDINGS.items() if path.name.lower().endswith(endings)), None)


def digest(files: list[Path], settings: str) -> str:
    """Of the content of the files, in their order, and of what they were taken to mean."""
    sums = hashlib.blake2b(settings.encode(), digest_size=16)
    for file in files:
        with file.open("rb") as content:
            sums.update(f"{file.stat().st_size}".encode())
            while piece := content.read(1 << 20):
                sums.update(piece)
    return sums.hexdigest()


def _natural(path: Path) -> list[tuple[int, str]]:
    """A key by which 2 comes before 10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", str(path))]
