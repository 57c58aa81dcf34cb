"""Columns of a log as their uses need them: numbers, flags, pictures, or what stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from agents.data.importers.rows import Array, Rows
from agents.errors import DataError

FLAGS = ("terminated", "truncated", "done", "success")
# those of English, and those that spreadsheets of other countries write
FALSE = ("", "0", "f", "false", "n", "no", "off", "falsch", "nein", "faux", "non", "falso")
TRUE = ("1", "t", "true", "y", "yes", "on", "wahr", "ja", "vrai", "oui", "verdadero", "vero", "verdadeiro", "si", "sí")


def as_it_is(array: Array) -> Array:
    """Numbers and flags as they are, all else as text; what is missing is empty."""
    if array.dtype.kind in "biuf":
        return array
    texts = array.astype(str) if array.dtype.kind == "M" else array
    return np.array(["" if text is None else str(text) for text in texts], object)


def pictures_of(rows: Rows, column: str) -> Any:
    """Arrays, or files as bytes, also where their paths stand beside them; a DataError where one is neither."""
    pictures = rows.columns[column]
    if not isinstance(pictures, np.ndarray) or pictures.dtype.kind != "O":
        return pictures
    files = np.array([each.get("bytes") if isinstance(each, Mapping) else each for each in pictures], object)
    if broken := [index for index, each in enumerate(files) if not isinstance(each, bytes)]:
        value = f"{type(files[broken[0]]).__name__}, no file's bytes"
        what = "is missing" if files[broken[0]] is None else f"is of type {value}"
        raise DataError(f"{rows.place(broken[0])}: the picture {column!r} {what}; leave its row out, or pictures=drop")
    return files


def numbers_of(rows: Rows, column: str) -> Array:
    """Numbers as they are, flags as 0 and 1; a DataError for anything else."""
    array = rows.columns[column]
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind not in "iuf":
        raise DataError(_no_number(rows, column, array))
    if array.dtype.itemsize > 8:
        raise DataError(f"{rows.file}: {column!r} is of {array.dtype}, which no network takes; write it as float64")
    return array


def _no_number(rows: Rows, column: str, array: Array) -> str:
    index = next((index for index, value in enumerate(array) if not isinstance(value, (int, float))), 0)
    way_out = "write numbers, leave the column out, or name it in columns.category too, if its words are choices"
    if array.dtype.kind in "mM":
        way_out = "write what matters of it as a number, as the hour of the day, or leave it out"
    return f"{rows.place(index)}: the column {column!r} holds {str(array[index])[:40]!r}, no number; {way_out}"


def single_of(rows: Rows, use: str, column: str) -> Array:
    """A column ``[n]``; one of shape ``[n, 1]`` is as good."""
    array = rows.columns[column]
    array = array.reshape(len(array)) if array.ndim > 1 and array.size == len(array) else array
    if array.ndim != 1:
        raise DataError(f"{rows.file}: {column!r} has {array[0].size} values in a row, where {use} is one")
    if use in FLAGS:
        return _flags(rows, column, array)
    if use in ("reward", "action_probability") or (use == "time" and array.dtype.kind not in "mM"):
        numbers = numbers_of(replace(rows, columns={column: array}), column)
        # differences of times may be negative
        return numbers.astype(np.int64) if use == "time" and numbers.dtype.kind in "iu" else numbers
    return array


def _flags(rows: Rows, column: str, array: Array) -> Array:
    """Flags as booleans; what is missing is not set."""
    if array.dtype.kind in "biu":
        return array != 0
    if array.dtype.kind == "f":
        return np.nan_to_num(array) != 0
    words = ["" if value is None else str(value).strip().lower() for value in array]
    if (other := next((index for index, word in enumerate(words) if word not in (*FALSE, *TRUE)), None)) is not None:
        problem = f"{words[other]!r} in {column!r} is neither true nor false"
        raise DataError(f"{rows.place(other)}: {problem}; write 1 or 0, true or false, yes or no")
    return np.array([word in TRUE for word in words], bool)
