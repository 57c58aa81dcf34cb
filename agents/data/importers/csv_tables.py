"""CSV and TSV, compressed by gzip too: a row per step, read by pyarrow a block at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from agents.data.importers.arrow import to_numpy
from agents.data.importers.csv_dialect import Dialect, is_number, read_dialect, read_header
from agents.data.importers.csv_lines import empty_rows, explain, line_of, require_closed_quotes
from agents.data.importers.gzip_files import is_packed
from agents.data.importers.rows import Array, Log, Rows
from agents.data.importers.settings import MeaningConfig
from agents.errors import DataError

LONGEST = 2**53  # whole number that has a floating-point number of its own
BLOCK = 4 << 20  # bytes read at a time
DATES = ("%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y")  # beside ISO's; with slashes nobody knows the month


@dataclass(frozen=True)
class CsvTables(Log):
    """CSV files with the same columns, one below the other."""

    dialect: Dialect = Dialect(",", ".")
    empty: Mapping[Path, Sequence[int]] = field(default_factory=dict)  # rows without any value, of files that have some

    @classmethod
    def open(cls, files: list[Path], config: MeaningConfig) -> CsvTables:
        """The files as their headers describe them; a DataError where there are none."""
        dialect, reason = read_dialect(files[0], config)
        types = _types(files[0], dialect)
        for file in files:
            require_closed_quotes(file, dialect)
        facts = {"numbers": reason} if reason else {}
        if dialect.encoding == "cp1252":
            facts["text"] = "in Windows-1252, since it is not in UTF-8"
        empty = {file: rows for file in files if (rows := empty_rows(file, dialect))}
        if empty:
            file, rows = next(iter(empty.items()))
            where = f"the first in line {line_of(file, dialect, rows[0])} of {file}"
            way_out = "where they part episodes, name these by columns.episode"
            facts["empty rows"] = f"{sum(map(len, empty.values())):,} left out, {where}; {way_out}"
        columns = {name: str(kind) for name, kind in types.items()}
        return cls(files, "CSV", columns, _count(files), facts=facts, dialect=dialect, empty=empty)

    def read(self, uses: Mapping[str, str]) -> Iterator[Rows]:
        import pyarrow as pa

        for file in self.files:
            types = _types(file, self.dialect)
            if absent := [name for name in uses if name not in types]:
                raise DataError(f"{file} has no column {absent[0]!r}, which {self.files[0]} has")
            wanted = {name: _read_as(types[name], use) for name, use in uses.items()}
            times = [name for name, use in uses.items() if use == "time"]
            if texts := [name for name in times if types[name] == pa.string() or pa.types.is_time(types[name])]:
                dates = "neither all numbers nor all dates such as 2026-01-31 12:00:00 or 31.1.2026 12:00"
                raise DataError(f"{file}: the times in {texts[0]!r} are {dates}; write them so")
            first = 0
            try:
                with _open(file, self.dialect, column_types=wanted, include_columns=[*wanted]) as reader:
                    for batch in reader:
                        columns = {name: to_numpy(batch.column(name)) for name in wanted}
                        _require_exact({name: columns[name] for name, use in uses.items() if use == "any"}, file)
                        rows = Rows(columns, str(file), first, partial(line_of, file, self.dialect))
                        yield from _between(rows, batch.num_rows, self.empty.get(file, ()))
                        first += batch.num_rows
            except (pa.ArrowException, OSError, UnicodeError) as error:
                numbers = [name for name, kind in wanted.items() if kind == pa.float64()]
                raise DataError(explain(file, self.dialect, numbers, error)) from error


def _open(file: Path, dialect: Dialect, **columns: Any) -> Any:
    import pyarrow as pa
    from pyarrow.csv import ISO8601, ConvertOptions, ParseOptions, ReadOptions, open_csv

    options = ConvertOptions(decimal_point=dialect.decimal, timestamp_parsers=[ISO8601, *DATES], **columns)
    parsing = ParseOptions(delimiter=dialect.separator, newlines_in_values=True)
    reading = ReadOptions(block_size=BLOCK, encoding=dialect.encoding)
    if (names := read_header(file, dialect)) != (stripped := [name.strip() for name in names]):
        reading.column_names, reading.skip_rows = stripped, 1
    content = pa.input_stream(str(file), compression="gzip" if is_packed(file) else None)
    return open_csv(content, reading, parsing, options)


def _types(file: Path, dialect: Dialect) -> dict[str, Any]:
    """The columns that have names, with the types that pyarrow guesses from the first block."""
    import pyarrow as pa

    try:
        with _open(file, dialect) as reader:
            schema = reader.schema
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise DataError(explain(file, dialect, [], error)) from error
    if len(names := schema.names) > 1 and all(is_number(name, dialect) for name in names):
        raise DataError(
            f"{file} begins with numbers: write the names of its columns above them, in a line of their own"
        )
    named = [name for name in names if name]  # spreadsheets leave empty columns on the right
    if twice := [name for name in named if named.count(name) > 1]:
        raise DataError(f"{file} has two columns {twice[0]!r}: rename one of them")
    return {name: kind for name, kind in zip(names, schema.types) if name}


def _read_as(guess: Any, use: str) -> Any:
    """The type to ask pyarrow for: later blocks may hold what the first does not."""
    import pyarrow as pa

    if use == "label" or (use == "flag" and guess == pa.string()):
        return pa.string()
    if use == "any" and (pa.types.is_temporal(guess) or guess == pa.string()):
        return guess
    if (use != "time" and pa.types.is_boolean(guess)) or (use == "time" and pa.types.is_temporal(guess)):
        return guess
    return pa.float64()


def _between(rows: Rows, number: int, empty: Sequence[int]) -> Iterator[Rows]:
    """The rows, so many, in pieces without those that are empty, by their numbers in the file."""
    start = 0
    for stop in (*(row - rows.first for row in empty if 0 <= row - rows.first < number), number):
        if start < stop:
            columns = {name: values[start:stop] for name, values in rows.columns.items()}
            yield replace(rows, columns=columns, first=rows.first + start)
        start = stop + 1


def _require_exact(kept: Mapping[str, Array], file: Path) -> None:
    """A DataError where whole numbers are too long for floating point, as those of customers."""
    for name, values in kept.items():
        if values.dtype.kind == "f" and (np.abs(values) >= LONGEST).any():
            raise DataError(
                f"{file}: {name!r} holds numbers of more than 15 digits, of which the last would be lost; put a letter "
                "before them, which makes them text, or leave the column out of columns.keep"
            )


def _count(files: list[Path]) -> int | None:
    """About how many rows there are, by the length of the first ones; None: of compressed files nobody knows."""
    if any(map(is_packed, files)):
        return None
    with files[0].open("rb") as lines:
        start = lines.read(1 << 16)
    return round(sum(file.stat().st_size for file in files) * start.count(b"\n") / max(len(start), 1))
