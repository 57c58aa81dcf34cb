"""RLDS, as TensorFlow Datasets keeps it: a record of a TFRecord file is an episode with nested steps.

By RLDS's definition the action and the reward of a step that ``is_last`` mean nothing: it is there for its observation,
and ``is_terminal`` says of it that the task was over. An episode whose last step is not ``is_last`` was cut off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agents.data.importers.columns import listing
from agents.data.importers.rlds_features import Feature, expected_records, num_values, read_features
from agents.data.importers.rows import Array, Log, Rows, flags_at_the_end
from agents.data.importers.settings import ColumnsConfig
from agents.data.importers.tfrecord import Values, example, records
from agents.errors import DataError, one_line

FIRST, LAST, TERMINAL = "is_first", "is_last", "is_terminal"
OWN = (FIRST, LAST, TERMINAL, "reward")  # steps' features with a meaning of RLDS's


@dataclass(frozen=True)
class Rlds(Log):
    """The files of a dataset."""

    features: Mapping[str, Feature] = field(default_factory=dict)
    expected: Mapping[Path, int] = field(default_factory=dict)  # episodes of a file

    @classmethod
    def open(cls, files: list[Path]) -> Rlds:
        """The files as the JSON beside them describes their features; a DataError where there is none."""
        if len(folders := sorted({file.parent for file in files})) > 1:
            raise DataError(f"several datasets are there, {folders[0]} and {folders[1]}: give the folder of one")
        features = read_features(folders[0])
        expected, absent = expected_records(files)
        read = {name: feature for name, feature in features.items() if feature.kind in ("number", "text", "picture")}
        preset = _preset(read)
        facts: dict[str, str] = {}
        if beside := [name for name, feature in read.items() if not feature.of_step]:
            keep = f"columns.keep=['{beside[0].split('/')[0]}*'] keeps them with each step"
            facts["of episodes"] = f"{listing(beside)} ({keep})"
        if unread := [f"{name} ({feature.kind})" for name, feature in features.items() if name not in read]:
            facts["not read"] = ", ".join(unread)
        if absent:
            facts["not there"] = f"{', '.join(absent)}, by dataset_info.json"
        types = {name: feature.description for name, feature in read.items()}
        return cls(
            files, "RLDS in TFRecord", types, None, preset, _labels(read), facts, features=read, expected=expected
        )

    def read(self, uses: Mapping[str, str]) -> Iterator[Rows]:
        for file in self.files:
            count = 0
            for content in records(file):
                try:
                    yield self._episode(content, uses, f"episode {count} of {file}")
                except ValueError as error:
                    raise DataError(
                        f"episode {count} of {file} {one_line(error)}; its features.json is another"
                    ) from error
                count += 1
            if count != self.expected.get(file, count):
                raise DataError(
                    f"{file} has {count} episodes, {self.expected[file]} by dataset_info.json: it is truncated; fetch "
                    "it again"
                )

    def _episode(self, content: bytes, uses: Mapping[str, str], place: str) -> Rows:
        values = example(content)
        ends = {name: self._column(name, values) for name in (FIRST, LAST) if name in self.features}
        columns = ends | {name: self._column(name, values) for name in uses}
        of_steps = {name: len(column) for name, column in columns.items() if self.features[name].of_step}
        length = next(iter(of_steps.values()))
        if unlike := next((name for name, other in of_steps.items() if other != length), None):
            raise ValueError(
                f"has {of_steps[unlike]} steps with {unlike!r}, and {length} with {next(iter(of_steps))!r}"
            )
        for name, use in uses.items():
            if not self.features[name].of_step:
                flag = use == "flag"
                columns[name] = (
                    flags_at_the_end(length, bool(columns[name][0])) if flag else columns[name].repeat(length, 0)
                )
        if FIRST in ends and ends[FIRST][1:].any():
            step = 1 + int(ends[FIRST][1:].argmax())
            raise DataError(f"step {step} of {place} is flagged as is_first: a record holds one episode")
        closed = LAST in ends and bool(length and ends[LAST][-1])
        return Rows({name: columns[name] for name in uses}, place, whole=True, ends_bare=closed)

    def _column(self, name: str, values: Mapping[str, Values]) -> Array:
        feature = self.features[name]
        if feature.key not in values:
            raise ValueError(f"lacks {feature.key!r}")
        if len(values[feature.key]) % num_values(feature):
            raise ValueError(f"has {len(values[feature.key])} numbers of {name!r} in steps of {num_values(feature)}")
        return feature.read(values[feature.key])


def _preset(features: Mapping[str, Feature]) -> ColumnsConfig:
    """What the features are: observations, actions and the rest of the steps by their names."""
    steps = {name: feature for name, feature in features.items() if feature.of_step}

    def below(key: str, *dimensions: int) -> list[str]:
        within = [name for name in steps if name == key or name.startswith(f"{key}/")]
        return [name for name in within if steps[name].kind == "number" and len(steps[name].shape) in dimensions]

    pictures = [name for name, feature in steps.items() if feature.kind == "picture" or _is_picture(feature)]
    vectors = {"observation": below("observation", 0, 1), "action": below("action", 0, 1)}
    others = {*pictures, *OWN, *vectors["observation"], *vectors["action"]}
    single: dict[str, Any] = {"reward": "reward", "terminated": TERMINAL, "done": LAST}
    return ColumnsConfig(
        **vectors,
        picture=pictures,
        keep=[name for name in steps if name not in others],
        **{use: name for use, name in single.items() if name in steps},
    )


def _labels(features: Mapping[str, Feature]) -> dict[str, list[str]]:
    """Names of the numbers of observations and actions, without the word for all of these."""
    short = {name: name.partition("/")[2] for name in features if name.startswith(("observation/", "action/"))}
    return {
        name: [".".join((word, *map(str, place))) for place in np.ndindex(features[name].shape)]
        for name, word in short.items()
    }


def _is_picture(feature: Feature) -> bool:
    """Numbers that are one: a picture that is not compressed."""
    return (
        feature.name.startswith("observation/")
        and len(feature.shape) in (2, 3)
        and feature.dtype in ("uint8", "uint16")
    )
