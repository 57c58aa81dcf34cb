"""TFRecord files without TensorFlow: records whose sums are checked, and the features of the ``Example`` in each.

A record is its length, the sum of that, its content, and the sum of this; a sum is a masked CRC32C. Messages are
decoded by protobuf, with descriptors that are made here: its decoder is everybody's, and reads what is packed and what
is not.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agents.data.importers.crc32c import crc32c
from agents.data.importers.gzip_files import open_bytes
from agents.data.importers.rows import Array
from agents.errors import DataError, one_line

HEADER, SUM = struct.Struct("<QI"), struct.Struct("<I")
# tf.train's messages: fields by their numbers; a map is a list of its entries, which is the same in bytes
MESSAGES = {
    "BytesList": [("value", "repeated bytes")],
    "FloatList": [("value", "repeated float")],
    "Int64List": [("value", "repeated int64")],
    "Feature": [("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")],
    "FeatureEntry": [("key", "string"), ("value", "Feature")],
    "Features": [("feature", "repeated FeatureEntry")],
    "Example": [("features", "Features")],
}
Values = Array | list[bytes]  # of a feature: numbers, or texts, pictures and whatever else is bytes


def records(path: Path) -> Iterator[bytes]:
    """The contents of the records of a file.

    Raises:
        DataError: a sum differs, or the file ends within a record.
    """
    with open_bytes(path) as file:
        index = 0
        try:
            while header := file.read(HEADER.size):
                length, sum_of_length = HEADER.unpack(header)
                if masked_sum(header[:8]) != sum_of_length:
                    raise ValueError("the sum of its length differs")
                content = file.read(length)
                if masked_sum(content) != SUM.unpack(file.read(SUM.size))[0]:
                    raise ValueError("the sum of its content differs")
                yield content
                index += 1
        except (struct.error, ValueError, EOFError, OSError, MemoryError, OverflowError) as error:
            raise DataError(
                f"record {index} of {path} cannot be read ({one_line(error)}): the file is truncated, damaged or no "
                "TFRecord; fetch it again"
            ) from error


def example(content: bytes) -> dict[str, Values]:
    """The features of an ``Example`` by their names; a ValueError where it is none."""
    from google.protobuf.message import DecodeError

    try:
        message = message_class().FromString(content)
    except DecodeError as error:
        raise ValueError("it holds no tf.train.Example") from error
    return {entry.key: _values(entry.value) for entry in message.features.feature}


def _values(feature: Any) -> Values:
    if feature.HasField("float_list"):
        return np.array(feature.float_list.value, np.float32)
    if feature.HasField("int64_list"):
        return np.array(feature.int64_list.value, np.int64)
    return [*feature.bytes_list.value]


@functools.cache
def message_class() -> Any:
    """The class of an ``Example``, in a pool of its own: TensorFlow, where it is loaded too, has one of that name."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields, start=1):
            repeated, _, name_of_type = kind.rpartition(" ")
            added = message.field.add(name=field, number=number, label=3 if repeated else 1)
            if name_of_type in MESSAGES:
                added.type_name = f".tensorflow.{name_of_type}"
            else:
                added.type = _scalar_types()[name_of_type]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


def _scalar_types() -> Mapping[str, Any]:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

    return {
        "bytes": Field.TYPE_BYTES,
        "string": Field.TYPE_STRING,
        "float": Field.TYPE_FLOAT,
        "int64": Field.TYPE_INT64,
    }


def masked_sum(content: bytes) -> int:
    """The sum of some bytes as files have it."""
    value = crc32c(content)
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
