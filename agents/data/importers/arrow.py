"""Arrow's columns as NumPy arrays, in the values that pyarrow itself gives."""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.data.importers.rows import Array


class Ragged(Exception):
    """Lists in a column of different lengths; the arguments are the column's row and the two lengths."""


def to_numpy(array: Any) -> Array:
    """``[n, ...]``: lists as further dimensions, missing numbers as NaN, dates as datetime64, texts as objects.

    Raises:
        Ragged: lists that are of no use as a dimension.
    """
    import pyarrow as pa

    kind = array.type
    if pa.types.is_dictionary(kind):
        return to_numpy(array.dictionary_decode())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _from_lists(array)
    if pa.types.is_decimal(kind):
        return to_numpy(array.cast(pa.float64()))
    if pa.types.is_boolean(kind) and array.null_count:
        return to_numpy(array.cast(pa.uint8()))
    return array.to_numpy(zero_copy_only=False)


def to_labels(array: Any) -> Array:
    """``[n]``, missing ones None: NumPy would make other numbers of those beside them, 1.0 of 1."""
    return np.array(array.to_pylist(), object) if array.null_count else to_numpy(array)


def _from_lists(array: Any) -> Array:
    import pyarrow.compute as pc

    counts = pc.call_function("list_value_length", [array])
    lengths = np.nan_to_num(counts.to_numpy(zero_copy_only=False)).astype(np.int64)
    if len(lengths) and len(other := np.flatnonzero(lengths != lengths[0])):
        raise Ragged(int(other[0]), int(lengths[0]), int(lengths[other[0]]))
    values = to_numpy(array.flatten())
    return values.reshape(len(array), int(lengths[0]) if len(lengths) else 0, *values.shape[1:])


def depth(kind: Any) -> int:
    """How many lists are around a value."""
    import pyarrow as pa

    count = 0
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        count, kind = count + 1, kind.value_type
    return count
