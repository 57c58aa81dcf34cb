"""Lines of a CSV file, as an editor counts them: where a row is, what is wrong in it, and quotes that swallow rows.

Python's own parser tells; it is slow, and reads a file only where something may be wrong.
"""

from __future__ import annotations

import contextlib
import csv
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from agents.data.importers.csv_dialect import COMMA, Dialect, is_number, open_text
from agents.data.importers.gzip_files import open_bytes
from agents.errors import DataError, one_line

GROUPS = re.compile(r"[-+]?\d{1,3}([., '\u00a0\u202f\u2019]\d{3})+([.,]\d+)?")  # a number with signs between thousands
UNREADABLE = (OSError, EOFError, zlib.error)  # which pyarrow says


def line_of(file: Path, dialect: Dialect, row: int) -> int:
    """The line at which a row begins; the first below the header is row 0."""
    rows = _rows(file, dialect)
    return next((line for index, (line, _) in enumerate(rows, -1) if index == row), row + 2)


def explain(file: Path, dialect: Dialect, numbers: Sequence[str], error: Exception) -> str:
    """An error of pyarrow for a person: the first value that is no number, or row of another width, with its line."""
    with contextlib.suppress(csv.Error, *UNREADABLE):  # the first error says it
        rows = _rows(file, dialect)
        names = [name.strip() for name in next(rows, (1, []))[1]]
        for line, row in rows:
            if len(row) != len(names):
                has = f"{len(row)} values, where the first names {len(names)} columns"
                way_out = "mend that line, or put quotes around a text with separators"
                return f"{file} cannot be read as CSV: line {line} has {has}; {way_out}"
            for name, value in zip(names, row):
                if name in numbers and not is_number(value, dialect):
                    way_out = _way_out(value.strip(), dialect)
                    return f"line {line} of {file}: the column {name!r} holds {value[:40]!r}, no number; {way_out}"
    return f"{file} cannot be read as CSV ({one_line(error)[:200]}); mend that line, or write the file again"


def _way_out(value: str, dialect: Dialect) -> str:
    if COMMA.fullmatch(value):
        return "decimal=comma if that is one; else write it without"
    if dialect.decimal == "," and GROUPS.fullmatch(value) and value.count(".") == 1 and "," not in value:
        plain = value.replace(".", "")
        return f"a thousand or a fraction, beside decimal commas: write {plain} or {value.replace('.', ',')}"
    if GROUPS.fullmatch(value):
        return "write numbers without signs between their thousands"
    return "write numbers, leave it empty or the column out, or name that in columns.category, if words are choices"


def empty_rows(file: Path, dialect: Dialect) -> list[int]:
    """The rows without any value that spreadsheets leave, as ``;;;``; the first below the header is row 0."""
    encodings = ("utf-16-le", "utf-16-be") if dialect.encoding == "utf-16" else (dialect.encoding,)
    starts = [f"\n{cell}{dialect.separator}".encode(each) for cell in ("", '""') for each in encodings]
    with contextlib.suppress(csv.Error, *UNREADABLE):
        if _has(file, starts):
            return [index for index, (_, row) in enumerate(_rows(file, dialect), -1) if not any(row)]
    return []


def require_closed_quotes(file: Path, dialect: Dialect) -> None:
    """A DataError where a quote is never closed, or closed rows below: pyarrow takes all between for one value."""
    with contextlib.suppress(*UNREADABLE):
        if not _has_values_of_several_lines(file):
            return
        before: Sequence[str] = ()
        for line, row, lines in _records(file, dialect):
            if len(lines) > 1 and _are_rows(lines, before, dialect):
                way_out = "remove both quotes, or the line breaks if it is one value"
                raise DataError(
                    f"line {line} of {file}: a quote is opened there and closed in line {line + len(lines) - 1}, and "
                    f"each of these lines looks like a row; {way_out}"
                )
            before = row or before


def _records(file: Path, dialect: Dialect) -> Iterator[tuple[int, list[str], list[str]]]:
    """Rows with the lines that they begin at, and all of their lines; [] for one with more behind a closed quote."""
    with open_text(file, dialect.encoding) as text:
        lines: list[str] = []
        rows = csv.reader(_holding(text, lines), delimiter=dialect.separator, strict=True)
        first, row = 1, []
        while row is not None:
            try:
                row = next(rows, None)
            except csv.Error as error:
                if "end of data" in str(error) or "field limit" in str(error):
                    raise DataError(f"line {first} of {file}: a quote is opened there and never closed") from error
                row = []
            if row is not None:
                yield first, row, lines
            first += len(lines)
            lines.clear()


def _rows(file: Path, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """Rows with the lines at which they begin, the header first; empty lines are none."""
    with open_text(file, dialect.encoding) as text:
        rows = csv.reader(text, delimiter=dialect.separator)
        line = 1
        for row in rows:
            if row:
                yield line, row
            line = rows.line_num + 1


def _has_values_of_several_lines(file: Path) -> bool:
    """Whether there are quotes that another line closes, by their numbers."""
    if not _has(file, [b'"']):
        return False
    with open_bytes(file) as content:
        return any(line.count(b'"') % 2 for line in content)


def _has(file: Path, signs: Sequence[bytes]) -> bool:
    """Whether one of them is anywhere in a file; it is quick."""
    with open_bytes(file) as content:
        end = b""
        while piece := content.read(1 << 20):
            if any(sign in end + piece for sign in signs):
                return True
            end = piece[len(piece) - max(map(len, signs)) + 1 :]
    return False


def _holding(lines: Iterable[str], held: list[str]) -> Iterator[str]:
    for line in lines:
        held.append(line)
        yield line


def _are_rows(lines: Sequence[str], before: Sequence[str], dialect: Dialect) -> bool:
    """Whether each line alone is as wide as the row before, and has a number wherever that has one."""
    numbers = [place for place, value in enumerate(before) if is_number(value, dialect)]
    cells = [line.replace('"', "").rstrip("\r\n").split(dialect.separator) for line in lines]
    return all(len(each) == len(before) and all(is_number(each[i], dialect) for i in numbers) for each in cells)
