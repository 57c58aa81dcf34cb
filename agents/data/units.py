"""Units of the numbers of a dataset and its rate, where an import wrote them into the metadata; Minari has none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agents.data.store import minari_root

OBSERVATION, ACTION, RATE = "observation_units", "action_units", "steps_per_second"  # entries of the metadata


@dataclass(frozen=True)
class Units:
    """What the numbers of a dataset are measured in."""

    observation: tuple[str | None, ...] = ()  # of each number of a vector, None: of that one not known; (): of none
    action: tuple[str | None, ...] = ()
    rate: float | None = None  # steps a second; None: not known


def read_units(dataset_id: str) -> Units:
    """Of a dataset in the local store; of anything else, or of damaged metadata, nothing is known."""
    try:
        metadata = json.loads((minari_root() / dataset_id / "data" / "metadata.json").read_text())
    except (OSError, ValueError):
        return Units()
    if not isinstance(metadata, Mapping):
        return Units()
    rate: Any = metadata.get(RATE)
    known = isinstance(rate, (int, float)) and 0 < rate < float("inf")
    return Units(_texts(metadata.get(OBSERVATION)), _texts(metadata.get(ACTION)), float(rate) if known else None)


def _texts(entry: Any) -> tuple[str | None, ...]:
    fit = isinstance(entry, list) and all(text is None or isinstance(text, str) for text in entry)
    return tuple(entry) if fit else ()
