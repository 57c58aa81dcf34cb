"""Formats by their endings, and the files that a source stands for: one, all in a folder, or what a pattern matches."""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from agents.data.importers.csv_tables import CsvTables
from agents.data.importers.hdf5_arrays import Hdf5Arrays
from agents.data.importers.lerobot import LeRobot, is_lerobot, lerobot_files
from agents.data.importers.npz_arrays import NpzArrays
from agents.data.importers.parquet_tables import ParquetTables
from agents.data.importers.rlds import Rlds
from agents.data.importers.rlds_features import SHARD
from agents.data.importers.robomimic import Robomimic, is_robomimic
from agents.data.importers.rows import Log
from agents.data.importers.settings import ENDINGS, MeaningConfig
from agents.errors import ConfigError, DataError, one_line


def find_files(source: str) -> list[Path]:
    """The files of a source, in the order of the numbers in their names.

    Raises:
        DataError: there are none, or they are of several formats.
    """
    path = Path(source).expanduser()
    if path.is_dir() and is_lerobot(path):
        return lerobot_files(path)
    if path.is_dir():
        try:
            paths = [each for each in path.rglob("*") if not _is_beside(each.relative_to(path))]
        except OSError as error:  # somebody changes it
            raise DataError(
                f"source={source}: cannot be listed ({one_line(error)}); name its files by a pattern"
            ) from error
    elif path.is_file():
        paths = [path]
    else:
        paths = [Path(match) for match in glob.glob(str(path), recursive=True)]
    files = sorted((each for each in paths if each.is_file() and format_of(each)), key=_natural)
    if not files:
        there = "no log in a known format is there" if paths or path.is_dir() else "no such file or folder"
        endings = ", ".join(ending for endings in ENDINGS.values() for ending in endings)
        raise DataError(f"source={source}: {there}; known are files that end in {endings}, and folders of LeRobot")
    if described := [each for each in files if format_of(each) == "LeRobot"]:
        raise DataError(f"source={source}: LeRobot datasets lie in it; name one, as source={described[0].parents[1]}")
    if len(kinds := sorted({str(format_of(each)) for each in files})) > 1:
        way_out = f"choose by a pattern, as in source='{path / ('*' + files[0].suffix)}'"
        raise DataError(f"source={source}: files of several formats are there, {' and '.join(kinds)}; {way_out}")
    return files


def _is_beside(path: Path) -> bool:
    """Whether it is hidden or about the data, as what notebooks, Spark and Delta put into folders of their own."""
    return any(part.startswith((".", "_")) for part in path.parts)


def open_log(files: list[Path], config: MeaningConfig) -> Log:
    """The files as a log, by their format.

    Raises:
        ConfigError: there is no such subset.
        DataError: a file is damaged.
    """
    openers: dict[str, Callable[[list[Path]], Log]] = {
        "CSV": partial(CsvTables.open, config=config),
        "Parquet": partial(ParquetTables.open, rows=config.rows),
        "Arrow": partial(ParquetTables.open, rows=config.rows),
        "NPZ": NpzArrays.open,
        "HDF5": _open_hdf5,
        "LeRobot": LeRobot.open,
        "TFRecord": Rlds.open,
    }
    log = openers[str(format_of(files[0]))](files)
    if config.subset is not None and config.subset not in log.subsets:
        known = f"choose from {', '.join(log.subsets)}" if log.subsets else "it names none"
        raise ConfigError(f"subset={config.subset}: {log.name} has no such episodes; {known}")
    return replace(log, subset=config.subset)


def _open_hdf5(files: list[Path]) -> Log:
    return (Robomimic if is_robomimic(files[0]) else Hdf5Arrays).open(files)


def format_of(path: Path) -> str | None:
    """The name of a file's format; None: it is of none that is known."""
    if path.parts[-2:] == ("meta", "info.json"):
        return "LeRobot"
    name = SHARD.sub("", path.name.lower())
    return next((kind for kind, endings in ENDINGS.items() if name.endswith(endings)), None)


def digest(files: list[Path], settings: str) -> str:
    """Of the content of the files, in their order, and of what they were taken to mean."""
    sums = hashlib.blake2b(settings.encode(), digest_size=16)
    described = {file.parent / "features.json" for file in files if format_of(file) == "TFRecord"}
    for file in [*files, *sorted(path for path in described if path.is_file())]:
        with file.open("rb") as content:
            sums.update(f"{file.stat().st_size}".encode())
            while piece := content.read(1 << 20):
                sums.update(piece)
    return sums.hexdigest()


def _natural(path: Path) -> list[tuple[int, str]]:
    """A key by which 2 comes before 10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", str(path))]
