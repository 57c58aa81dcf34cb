"""The features of an RLDS dataset, as ``features.json`` and ``dataset_info.json`` of TensorFlow Datasets describe them.

Legend: ``n`` steps of an episode.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.data.importers.rows import Array
from agents.data.importers.tfrecord import Values
from agents.errors import DataError, one_line

STEPS = "steps"
SHARD = re.compile(r"-(\d{5,})-of-(\d{5,})$")


@dataclass(frozen=True)
class Feature:
    """A feature of each step, or of the episode."""

    name: str  # keys that lead there, without that of the steps
    kind: str  # number, text, picture, or the word for one that is not read
    shape: tuple[int, ...] = ()  # of a number
    dtype: str = ""
    encoding: str = "none"  # of numbers as bytes: bytes, or zlib
    of_step: bool = True

    @property
    def key(self) -> str:
        """In an ``Example``."""
        return f"{STEPS}/{self.name}" if self.of_step else self.name

    @property
    def description(self) -> str:
        return f"{self.dtype}{[*self.shape]}" if self.kind == "number" else self.kind

    def read(self, values: Values) -> Array:
        """Numbers ``[n, *shape]`` in their type, texts and pictures as objects ``[n]``; a ValueError for others."""
        if self.kind == "text":
            return np.array([value.decode(errors="replace") for value in _bytes(values)], object)
        if self.kind == "picture":
            return np.array([*_bytes(values), None], object)[:-1]  # the None lest NumPy makes texts of one length
        if self.encoding != "none":
            decode = zlib.decompress if self.encoding == "zlib" else bytes
            values = np.frombuffer(b"".join(map(decode, _bytes(values))), self.dtype)
        if isinstance(values, list):
            values = np.array(values, self.dtype)  # of none
        return values.reshape(-1, *self.shape).astype(self.dtype, copy=False)


def _bytes(values: Values) -> list[bytes]:
    if not isinstance(values, list):
        raise ValueError(f"has numbers where its bytes should be: {values[:3]}")
    return values


def read_features(folder: Path) -> dict[str, Feature]:
    """The features by their names; a DataError where the file describes no steps of episodes."""
    path = folder / "features.json"
    try:
        features = {feature.name: feature for feature in _leaves(json.loads(path.read_text()), (), of_step=False)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} cannot be read ({one_line(error)}); it belongs beside the records, whole") from error
    if not any(feature.of_step for feature in features.values()):
        raise DataError(f"{path} describes no 'steps', which RLDS has; it is a dataset of another kind")
    return features


def _leaves(node: Mapping[str, Any], path: tuple[str, ...], *, of_step: bool) -> Iterator[Feature]:
    if "featuresDict" in node:
        for key, inner in node["featuresDict"]["features"].items():
            yield from _leaves(inner, (*path, key), of_step=of_step)
    elif path == (STEPS,) and "sequence" in node:
        yield from _leaves(node["sequence"]["feature"], (), of_step=True)
    else:
        yield _leaf(node, "/".join(path), of_step=of_step)


def _leaf(node: Mapping[str, Any], name: str, *, of_step: bool) -> Feature:
    kind = str(node["pythonClassName"]).rsplit(".", 1)[-1]
    if "text" in node:
        return Feature(name, "text", of_step=of_step)
    if "classLabel" in node:
        return Feature(name, "number", (), "int64", of_step=of_step)
    if "image" in node and node["image"].get("dtype", "uint8") in ("uint8", "uint16"):
        return Feature(name, "picture", of_step=of_step)
    if "tensor" not in node:
        return Feature(name, kind, of_step=of_step)
    tensor = node["tensor"]
    shape = tuple(int(size) for size in tensor.get("shape", {}).get("dimensions", ()))
    dtype, encoding = tensor["dtype"], tensor.get("encoding", "none") or "none"
    if dtype in ("string", "object"):
        return Feature(name, "text" if not shape else "texts", of_step=of_step)
    if min(shape, default=1) < 1:
        return Feature(name, "numbers of changing shape", of_step=of_step)
    np.dtype(dtype)  # a TypeError of one that NumPy has not
    return Feature(name, "number", shape, dtype, encoding, of_step)


def expected_records(files: list[Path]) -> tuple[dict[Path, int], list[str]]:
    """How many episodes ``dataset_info.json`` says that files have, and in words what of the dataset is not there."""
    try:
        splits = json.loads((files[0].parent / "dataset_info.json").read_text())["splits"]
        lengths = {str(split["name"]): [int(length) for length in split["shardLengths"]] for split in splits}
    except (OSError, ValueError, KeyError, TypeError):
        return {}, []
    counts: dict[Path, int] = {}
    there = dict.fromkeys(lengths, 0)
    for file in files:
        shard = SHARD.search(file.name)
        split = next((name for name in lengths if re.search(rf"-{re.escape(name)}\.", file.name)), None)
        if shard and split is not None and int(shard[2]) == len(lengths[split]) > int(shard[1]):
            counts[file] = lengths[split][int(shard[1])]
            there[split] += 1
    return counts, [
        f"{there[name]} of {len(lengths[name])} files of {name}" for name in lengths if there[name] < len(lengths[name])
    ]


def num_values(feature: Feature) -> int:
    """Of a step, in an ``Example``."""
    return math.prod(feature.shape) if feature.kind == "number" and feature.encoding == "none" else 1
