"""Messages to and from a policy server: msgpack, in which an array is a map, as open robot policy servers have it.

.. code-block:: python

    {b"__ndarray__": True, b"data": array.tobytes(), b"dtype": array.dtype.str, b"shape": array.shape}

Numbers and lists of numbers do as well. Nothing in a message is code.
"""

from __future__ import annotations

import math
from typing import Any

import msgpack
import numpy as np


def pack(value: Any) -> bytes:
    """A message of dictionaries, lists, texts, numbers and arrays."""
    message = msgpack.packb(value, default=_map_of_array)
    assert message is not None  # as where no stream is given
    return message


def unpack(message: bytes) -> Any:
    """Inverse of :func:`pack`; a ValueError for anything else."""
    try:
        return msgpack.unpackb(message, object_hook=_array_of_map, strict_map_key=True)
    except (
        ValueError,
        TypeError,
        KeyError,
        OverflowError,
        RecursionError,
        SyntaxError,  # of NumPy, about a type
        msgpack.exceptions.UnpackException,
    ) as error:
        raise ValueError(str(error) or type(error).__name__) from None


def _map_of_array(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        return {b"__ndarray__": True, b"data": array.tobytes(), b"dtype": array.dtype.str, b"shape": array.shape}
    raise TypeError(f"a {type(value).__name__} cannot be sent")


def _array_of_map(value: dict[Any, Any]) -> Any:
    if b"__ndarray__" not in value:
        return value
    dtype, shape = np.dtype(value[b"dtype"]), tuple(value[b"shape"])
    if dtype.kind not in "fiub" or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"an array of {dtype} and shape {shape} is not taken")
    if len(value[b"data"]) != dtype.itemsize * math.prod(shape):
        raise ValueError(f"an array of {dtype} and shape {shape} has not {len(value[b'data'])} bytes")
    return np.frombuffer(value[b"data"], dtype).reshape(shape)
