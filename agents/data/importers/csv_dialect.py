"""How a CSV file is written: its separator, its decimal sign and its encoding, by what it begins with."""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import itertools
import math
import re
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from agents.data.importers.settings import MeaningConfig
from agents.errors import DataError, one_line

START = 4 << 20  # bytes by which the encoding is seen
SEPARATORS = "\t;|,"
LONGEST = 1 << 20  # characters of a line that are looked at
LOOK = 200  # lines by which it is seen how numbers are written
COMMA, POINT = re.compile(r"[-+]?\d+,\d+(e[-+]?\d+)?", re.I), re.compile(r"[-+]?\d+\.\d+(e[-+]?\d+)?", re.I)
THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}")  # or a number with three decimals: nobody knows
MISSING = {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "N/A", "NA",
           "NULL", "NaN", "n/a", "nan", "null"}  # fmt: skip


class Dialect(NamedTuple):
    """How a table is written."""

    separator: str
    decimal: str
    encoding: str = "utf-8"


def read_dialect(file: Path, config: MeaningConfig) -> tuple[Dialect, str]:
    """The separator that the header has most, and the comma where the first rows have it in numbers; and why."""
    encoding = _encoding(file)
    with open_text(file, encoding) as lines:
        header, *rows = itertools.islice(_complete(lines, file), LOOK)
    cells: list[str] = []
    separator = config.separator or max(reversed(SEPARATORS), key=header.count)
    with contextlib.suppress(csv.Error):  # of a quote that never ends: its reader says it
        for row in csv.reader(rows, delimiter=separator):
            cells += map(str.strip, row)
    commas = [cell for cell in cells if COMMA.fullmatch(cell)]
    points = any(POINT.fullmatch(cell) for cell in cells)
    if config.decimal != "auto":
        return Dialect(separator, "," if config.decimal == "comma" else ".", encoding), "as set"
    if not points and (sure := next((cell for cell in commas if not THOUSANDS.fullmatch(cell)), None)):
        return Dialect(separator, ",", encoding), f"since {sure} has one (decimal=point if not)"
    return Dialect(separator, ".", encoding), ""


def _complete(lines: Any, file: Path) -> Iterator[str]:
    """The lines of a text, at least one; a DataError where it cannot be read."""
    try:
        yield lines.readline(LONGEST)
        yield from iter(partial(lines.readline, LONGEST), "")
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read as CSV ({one_line(error)[:200]}); write it again") from error


def open_text(file: Path, encoding: str) -> Any:
    """Its lines; what is not in the encoding is replaced."""
    opener = partial(gzip.open, mode="rt") if file.suffix == ".gz" else open
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    return opener(file, encoding=encoding, errors="replace", newline="")  # pyright: ignore


def _encoding(file: Path) -> str:
    """UTF-16 or UTF-8 where the file begins so, else that of spreadsheets in the west."""
    with (gzip.open if file.suffix == ".gz" else open)(file, "rb") as content:
        try:
            start = content.read(START)
        except (OSError, EOFError, zlib.error):
            return "utf-8"  # which says what is wrong with the file
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def read_header(file: Path, dialect: Dialect) -> list[str]:
    """The names of the columns, as they stand there."""
    with open_text(file, dialect.encoding) as lines:
        try:
            return next(csv.reader(_complete(lines, file), delimiter=dialect.separator), [])
        except csv.Error as error:
            raise DataError(f"{file}: the names of its columns cannot be read ({one_line(error)})") from error


def require_closed_quotes(file: Path, dialect: Dialect) -> None:
    """A DataError where a quote is never closed: pyarrow takes all behind it for one value, and many rows for one."""
    line = 1
    with contextlib.suppress(OSError, EOFError, zlib.error):  # the reader says it
        with (gzip.open if file.suffix == ".gz" else open)(file, "rb") as content:
            if sum(piece.count(b'"') for piece in iter(partial(content.read, 1 << 20), b"")) % 2 == 0:
                return
        with open_text(file, dialect.encoding) as lines:
            rows = csv.reader(lines, delimiter=dialect.separator, strict=True)
            try:
                for _ in rows:
                    line = rows.line_num + 1
            except csv.Error as error:
                if "end of data" in str(error) or "field limit" in str(error):
                    raise DataError(f"line {line} of {file}: a quote is opened there and never closed") from error


def is_number(text: str, dialect: Dialect) -> bool:
    """Whether pyarrow reads a number, or a missing one."""
    text = text.replace(".", " ").replace(",", ".") if dialect.decimal == "," else text
    if text.strip() in MISSING:
        return True
    try:
        return math.isfinite(float(text)) or True
    except ValueError:
        return False
