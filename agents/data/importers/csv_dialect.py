"""How a CSV file is written: its separator, its decimal sign and its encoding, by what it begins with."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import itertools
import re
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from agents.data.importers.gzip_files import open_bytes
from agents.data.importers.settings import MeaningConfig
from agents.errors import DataError, one_line

START = 4 << 20  # bytes by which the encoding is seen
QUOTED = re.compile('"[^"]*"')
LONGEST = 1 << 20  # characters of a line that are looked at
LOOK = 200  # lines by which it is seen how numbers are written
COMMA, POINT = re.compile(r"[-+]?\d+,\d+(e[-+]?\d+)?", re.I), re.compile(r"[-+]?\d+\.\d+(e[-+]?\d+)?", re.I)
THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}[,.]\d{3}")  # or a number with three decimals: nobody knows
MISSING = {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "N/A", "NA",
           "NULL", "NaN", "n/a", "nan", "null"}  # fmt: skip


class Dialect(NamedTuple):
    """How a table is written."""

    separator: str
    decimal: str
    encoding: str = "utf-8"


def read_dialect(file: Path, config: MeaningConfig) -> tuple[Dialect, str]:
    """The separator of the header, and the comma where the first rows have it in numbers; and why."""
    encoding = _encoding(file)
    with open_text(file, encoding) as lines:
        header, *rows = itertools.islice(_complete(lines, file), LOOK)
    cells: list[str] = []
    separator = config.separator or _separator(header)
    with contextlib.suppress(csv.Error):  # of a quote that never ends: its reader says it
        for row in csv.reader(rows, delimiter=separator):
            cells += map(str.strip, row)
    commas, points = ([cell for cell in cells if sign.fullmatch(cell)] for sign in (COMMA, POINT))
    comma, point = (next((cell for cell in each if not THOUSANDS.fullmatch(cell)), None) for each in (commas, points))
    if config.decimal != "auto":
        sign = "," if config.decimal == "comma" else "."
        return Dialect(separator, sign, encoding), f"with a decimal {config.decimal}, as set"
    if comma and not point:
        return Dialect(separator, ",", encoding), f"with a decimal comma, since {comma} has one (decimal=point if not)"
    if separator == ";" and points and not point:  # of countries with decimal commas
        whole = points[0].replace(".", "")
        return Dialect(separator, ".", encoding), f"with a decimal point; if {points[0]} is {whole}, write it so"
    return Dialect(separator, ".", encoding), ""


def _separator(header: str) -> str:
    """A tab or a semicolon where there is one, which names have in quotes alone; else comma or bar."""
    bare = QUOTED.sub("", header)
    return next((each for each in "\t;" if each in bare), max(",|", key=bare.count))


def _complete(lines: Any, file: Path) -> Iterator[str]:
    """The lines of a text, at least one; a DataError where it cannot be read."""
    try:
        yield lines.readline(LONGEST)
        yield from iter(partial(lines.readline, LONGEST), "")
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read as CSV ({one_line(error)[:200]}); write it again") from error


def open_text(file: Path, encoding: str) -> Any:
    """Its lines; what is not in the encoding is replaced."""
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    return io.TextIOWrapper(open_bytes(file), encoding=encoding, errors="replace", newline="")


def _encoding(file: Path) -> str:
    """UTF-16 or UTF-8 where the file begins so, else that of spreadsheets in the west."""
    with open_bytes(file) as content:
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


def is_number(text: str, dialect: Dialect) -> bool:
    """Whether pyarrow reads a number, or a missing one."""
    if text in MISSING:
        return True
    text = text.replace(".", "x").replace(",", ".") if dialect.decimal == "," else text
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # which is Python's own
