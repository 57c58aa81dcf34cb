"""CSV and TSV, compressed by gzip too: a row per step, read by pyarrow a block at a time."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agents.data.importers.arrow import to_numpy
from agents.data.importers.rows import Log, Rows
from agents.errors import DataError, one_line

BLOCK = 4 << 20  # bytes read at a time
SEPARATORS = "\t;,"
MISSING = {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "N/A", "NA",
           "NULL", "NaN", "n/a", "nan", "null"}  # fmt: skip


@dataclass(frozen=True)
class CsvTables(Log):
    """CSV files with the same columns, one below the other."""

    @classmethod
    def open(cls, files: list[Path]) -> CsvTables:
        """The files as their headers describe them; a DataError where there are none."""
        types = _types(files[0])
        return cls(files, "CSV", {name: str(kind) for name, kind in types.items()}, _count(files))

    def read(self, uses: Mapping[str, str]) -> Iterator[Rows]:
        import pyarrow as pa
        from pyarrow.csv import ConvertOptions

        for file in self.files:
            types = _types(file)
            if absent := [name for name in uses if name not in types]:
                raise DataError(f"{file} has no column {absent[0]!r}, which {self.files[0]} has")
            wanted = {name: _read_as(types[name], use) for name, use in uses.items()}
            if texts := [name for name, use in uses.items() if use == "time" and types[name] == pa.string()]:
                dates = "neither all numbers nor all dates such as 2026-01-31 12:00:00"
                raise DataError(f"{file}: the times in {texts[0]!r} are {dates}; write them so")
            first = 2  # below the header
            try:
                options = ConvertOptions(column_types=wanted, include_columns=[*wanted])
                with _open(file, options) as reader:
                    for batch in reader:
                        columns = {name: to_numpy(batch.column(name)) for name in wanted}
                        yield Rows(columns, str(file), first, "line")
                        first += batch.num_rows
            except (pa.ArrowException, OSError) as error:
                numbers = [name for name, kind in wanted.items() if kind == pa.float64()]
                raise DataError(_explain(file, numbers, error)) from error


def _open(file: Path, options: Any = None) -> Any:
    from pyarrow.csv import ParseOptions, ReadOptions, open_csv

    separator = _separator(file)
    return open_csv(
        str(file), ReadOptions(block_size=BLOCK), ParseOptions(delimiter=separator, newlines_in_values=False), options
    )


def _types(file: Path) -> dict[str, Any]:
    """The columns with the types that pyarrow guesses from the first block."""
    import pyarrow as pa

    try:
        with _open(file) as reader:
            schema = reader.schema
    except (pa.ArrowException, OSError) as error:
        raise DataError(_explain(file, [], error)) from error
    if twice := [name for name in schema.names if schema.names.count(name) > 1]:
        raise DataError(f"{file} has two columns {twice[0]!r}: rename one of them")
    return dict(zip(schema.names, schema.types))


def _read_as(guess: Any, use: str) -> Any:
    """The type to ask pyarrow for: later blocks may hold what the first does not."""
    import pyarrow as pa

    if use == "label":
        return pa.string()
    if use == "any" and not pa.types.is_null(guess):
        return guess if pa.types.is_temporal(guess) or guess == pa.string() else pa.float64()
    if (use != "time" and pa.types.is_boolean(guess)) or (use == "time" and pa.types.is_temporal(guess)):
        return guess
    return pa.float64()


def _separator(file: Path) -> str:
    """The one that the header has most."""
    with _text(file) as lines:
        header = lines.readline()
    return max(reversed(SEPARATORS), key=header.count)


def _text(file: Path) -> Any:
    opener = partial(gzip.open, mode="rt") if file.suffix == ".gz" else open
    return opener(file, encoding="utf-8-sig", errors="replace", newline="")  # pyright: ignore


def _count(files: list[Path]) -> int | None:
    """About how many rows there are, by the length of the first ones; None: of compressed files nobody knows."""
    if any(file.suffix == ".gz" for file in files):
        return None
    with files[0].open("rb") as lines:
        start = lines.read(1 << 16)
    return round(sum(file.stat().st_size for file in files) * start.count(b"\n") / max(len(start), 1))


def _explain(file: Path, numbers: list[str], error: Exception) -> str:
    """The error for a person: where the first value is that is no number, where that is the reason."""
    broken: tuple[int, str, str] | None = None
    try:
        with _text(file) as lines:
            table = csv.DictReader(lines, delimiter=_separator(file))
            broken = next(
                (
                    (table.line_num, name, value)
                    for row in table
                    for name in numbers
                    if not _is_number(value := str(row.get(name) or ""))
                ),
                None,
            )
    except (OSError, EOFError, csv.Error):
        pass  # the first error says it
    if broken is not None and "conversion error" in str(error):
        line, name, value = broken
        way_out = "write numbers into the column, leave that line empty there, or leave the column out"
        return f"line {line} of {file}: the column {name!r} holds {value[:40]!r}, no number; {way_out}"
    return f"{file} cannot be read as CSV ({one_line(error)[:200]}); mend that line, or write the file again"


def _is_number(text: str) -> bool:
    if text.strip() in MISSING:
        return True
    try:
        return math.isfinite(float(text)) or True
    except ValueError:
        return False
