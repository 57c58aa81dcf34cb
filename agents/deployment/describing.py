"""The contract of a checkpoint's policy: from its specs, its data and what its run wrote.

Shapes: ``S`` numbers that are kept of an observation, ``O`` dimensions of an observation as policies see it.
"""

from __future__ import annotations

import importlib.metadata
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchrl.data import Bounded

from agents.checkpoint import Checkpoint
from agents.data.dataset import OfflineDataset
from agents.data.specs import Specs
from agents.data.storage import rows_of_steps
from agents.data.units import Units, read_units
from agents.deployment.contract import PREFIX, Action, Contract, Observation
from agents.deployment.graph import ActionLayer
from agents.deployment.memory import Core
from agents.environments.parts import WHOLE, Part
from agents.networks.bounds import action_bounds
from agents.networks.layers import Normalizer

PIECE = 1 << 16  # rows read at a time: the data may be larger than the memory
PACKAGES = ("offline-agents", "torch", "onnx", "onnxscript", "numpy")


def describe(
    checkpoint: Checkpoint,
    dataset: OfflineDataset,
    core: Core,
    *,
    guard: bool = False,
    precision: str = "float32",
    rate: float | None = None,
    score: Mapping[str, Any] | None = None,
) -> Contract:
    """The contract of a policy that is exported."""
    specs, extra, units = checkpoint.specs(), checkpoint.extra, read_units(dataset.id)
    whole = dataset.whole or dataset
    reference = extra.get("reference")
    return Contract(
        observations=_observations(specs, dataset, core, units),
        action=_action(specs, units),
        memory=core.memory,
        takes_reward=core.takes_reward,
        guard=guard,
        outside_names=specs.observation_names if guard else (),
        random_numbers=core.random_numbers,
        precision=precision,
        rate=rate or units.rate,
        algorithm=str(extra.get("algorithm", checkpoint.metadata["algorithm"]["config"])),
        step=checkpoint.num_updates,
        dataset={
            "id": dataset.id,
            "fingerprint": dataset.fingerprint,
            "steps": len(whole),
            "episodes": whole.statistics.num_episodes,
        },
        score=score,
        environment=extra.get("eval_env"),
        reference=None if reference is None else tuple(reference),
        versions=_versions(extra.get("versions", {})),
    )


def data_range(dataset: OfflineDataset) -> tuple[Tensor, Tensor]:
    """The smallest and the largest value of each dimension of an observation in the data, ``[O]``.

    A category's dimension is 0 to 1 where it is in the data, else 0 to 0.
    """
    low, high = _column_range(dataset)
    lows, highs = [], []
    for column, count in enumerate(dataset.layout.categories):
        if count is None:
            lows.append(low[column, None])
            highs.append(high[column, None])
        else:
            there = torch.zeros(count)
            there[[*_seen(dataset, column)]] = 1.0
            lows.append(torch.zeros(count))
            highs.append(there)
    return torch.cat(lows), torch.cat(highs)


def _observations(specs: Specs, dataset: OfflineDataset, core: Core, units: Units) -> tuple[Observation, ...]:
    parts = specs.numbers.observations.parts
    low, high = (bound.tolist() for bound in _column_range(dataset))
    scaling = next((module for module in core.modules() if isinstance(module, Normalizer)), None)
    observations, column, dimension = [], 0, 0
    for part in parts:
        columns, dimensions = slice(column, column + part.width), slice(dimension, dimension + part.size)
        scale = None if part.categories else scaling
        starts = part.starts or (0,) * part.width
        known = part.path in ((), (WHOLE,)) and len(units.observation) == part.width
        observations.append(
            Observation(
                name=f"{PREFIX}.{part.name}" if part.path else PREFIX,
                path=part.path,
                type="int64" if part.categories else "float32",
                shape=part.shape,
                names=tuple(part.column_names()),
                units=units.observation if known else (None,) * part.width,
                low=tuple(value + start for value, start in zip(low[columns], starts)),
                high=tuple(value + start for value, start in zip(high[columns], starts)),
                mean=None if scale is None else tuple(scale.mean[dimensions].tolist()),
                std=None if scale is None else tuple((1.0 / scale.scale[dimensions]).tolist()),
                categories=part.categories,
                starts=part.starts,
                seen=_seen_of(part, dataset, column),
                words=part.words,
            )
        )
        column, dimension = columns.stop, dimensions.stop
    return tuple(observations)


def _seen_of(part: Part, dataset: OfflineDataset, first: int) -> tuple[tuple[int, ...], ...]:
    each = zip(itertools.count(first), part.starts)
    return tuple(tuple(start + index for index in _seen(dataset, column)) for column, start in each)


def _action(specs: Specs, units: Units) -> Action:
    actions = specs.numbers.actions
    names: Sequence[str] = actions.labels or [f"action.{i}" for i in range(actions.size)]
    known = units.action if len(units.action) == len(names) else (None,) * len(names)
    if actions.categories:
        low = tuple(map(float, actions.starts))
        high = tuple(float(start + count - 1) for start, count in zip(actions.starts, actions.categories))
        return Action(
            "int64", actions.shape, tuple(names), low, high, actions.categories, actions.starts, actions.words, known
        )
    assert isinstance(specs.action, Bounded)
    layer = ActionLayer(specs)  # which rounds
    low, high = (tuple(layer(bound[None]).float().flatten().tolist()) for bound in action_bounds(specs.action))
    kind = "int64" if actions.integer else "float32"
    return Action(kind, actions.shape, tuple(names), low, high, units=known)


def _column_range(dataset: OfflineDataset) -> tuple[Tensor, Tensor]:
    """The smallest and the largest number of each column of the observations, ``[S]``."""
    lows, highs = zip(*(rows[:, : dataset.layout.observation].aminmax(dim=0) for rows in _pieces(dataset)))
    return torch.stack(lows).amin(0).cpu(), torch.stack(highs).amax(0).cpu()


def _seen(dataset: OfflineDataset, column: int) -> list[int]:
    """The categories of a column that are in the data, from 0 on."""
    return sorted({int(index) for rows in _pieces(dataset) for index in rows[:, column].unique().tolist()})


def _pieces(dataset: OfflineDataset) -> Iterator[Tensor]:
    """The rows of its episodes, also of their last observations, without those of episodes that are held out."""
    if dataset.starts is None:
        yield from dataset.rows.split(PIECE)
        return
    lengths = torch.from_numpy(dataset.statistics.lengths)
    for piece in rows_of_steps(lengths + 1, dataset.starts).split(PIECE):
        yield dataset.rows[piece.to(dataset.rows.device)]


def _versions(trained: Mapping[str, str]) -> dict[str, str]:
    """Of the packages that the policy was trained with, and of those that exported it."""
    with_versions = {f"trained with {name}": str(version) for name, version in trained.items()}
    for name in PACKAGES:
        try:
            with_versions[f"exported with {name}"] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return with_versions
