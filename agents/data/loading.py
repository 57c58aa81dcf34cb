"""A Minari dataset by its id, as an ``OfflineDataset``: found, made or downloaded, converted, with bounds of actions.

Legend: ``A`` action.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchrl.data import Unbounded

from agents.data.bounds import wide_bounds
from agents.data.conversion import Cache, convert
from agents.data.dataset import OfflineDataset
from agents.data.opening import open_source
from agents.data.source import Bounds, Source
from agents.data.specs import Specs, action_spec
from agents.errors import require_choice


def load_dataset(
    dataset_id: str,
    *,
    device: torch.device | str = "cpu",
    storage: str = "memory",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    clip_actions: bool = False,
    action_bounds: Bounds = "declared",
    progress: bool = True,
) -> OfflineDataset:
    """Open a Minari dataset: local, built in (``demo/...``), or downloaded; converted at the first time.

    Args:
        device: where batches arrive.
        storage: ``"memory"`` holds the rows on ``device``; ``"memmap"`` leaves them on disk.
        include: names of parts of the observations to learn from, as ``desired_goal``; (): of all.
        exclude: names of parts not to learn from.
        clip_actions: clip actions to their bounds instead of refusing them.
        action_bounds: ``"declared"`` are those of the action space, where those are finite; ``"data"`` the smallest and
            largest in the data; ``[low, high]`` for each dimension, or of all of them.
        progress: on a terminal, show a bar for what takes longer than two seconds.

    Raises:
        ConfigError: a part or bounds that there are not.
        DataError: the dataset is unknown, damaged, or of an unsupported kind.
    """
    require_choice("storage", storage, ("memory", "memmap"))
    source = open_source(dataset_id, include=include, exclude=exclude, progress=progress)
    declared, source = source, source.bounded(action_bounds)
    in_memory = storage == "memory"  # else all is read in order to be checked, of data that may be larger than that
    cache = convert(source, clip_actions=clip_actions, progress=progress, check=in_memory)
    device = torch.device(device)
    rows = cache.rows(device, mapped=not in_memory)
    if not (source.own_bounds or np.isfinite([source.low, source.high]).all()):
        text = (
            f"dataset {dataset_id!r}: its action space is not bounded, so policies keep within the data's own smallest "
            "and largest actions; action_bounds=[low,high] for others"
        )
        warnings.warn(text, stacklevel=2)
    if wide := wide_bounds(source, cache.statistics.action_min, cache.statistics.action_max):
        text = f"dataset {dataset_id!r}: {wide[0]}; {wide[1]}"
        warnings.warn(text, stacklevel=2)
    return OfflineDataset(
        id=dataset_id,
        layout=source.layout,
        rows=rows,
        specs=_specs(declared, source, cache),
        statistics=cache.statistics,
        reference=source.reference,
        env_spec=source.env_spec,
        fingerprint=cache.fingerprint,
        device=rows.device if storage == "memory" else device,
        recorded_elsewhere=source.recorded_elsewhere,
    )


def _specs(declared: Source, source: Source, cache: Cache) -> Specs:
    low, high = _finite_bounds(source, cache)
    return Specs(
        Unbounded(source.observations.size, dtype=torch.float32),
        action_spec(source.actions, low, high),
        observation_mean=torch.from_numpy(cache.observation_mean),
        observation_std=torch.from_numpy(cache.observation_std),
        max_return=cache.statistics.returns.max().item(),
        spaces=source.spaces,
        declared_bounds=_other_bounds(declared, low, high),
    )


def _other_bounds(declared: Source, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor] | None:
    """Those of the data's action space; None where they are the same, or actions are indices."""
    theirs = torch.from_numpy(declared.low), torch.from_numpy(declared.high)
    return None if declared.discrete or (theirs[0].equal(low) and theirs[1].equal(high)) else theirs


def _finite_bounds(source: Source, cache: Cache) -> tuple[Tensor, Tensor]:
    """Of actions, ``[A]`` each: where the space has none, the data's own."""
    bounds = ((source.low, cache.statistics.action_min), (source.high, cache.statistics.action_max))
    low, high = (np.where(np.isfinite(bound), bound, own).astype(np.float32) for bound, own in bounds)
    return torch.from_numpy(low), torch.from_numpy(high)
