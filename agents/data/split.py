"""A dataset in two parts: whole episodes that are held out, and those that are left.

Legend: ``N`` steps, ``E`` episodes, ``D`` columns of a row, ``S`` numbers kept of an observation, ``A`` action.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.data.dataset_statistics import DatasetStatistics, EpisodeStatistics, Extremes, Moments, num_saturated
from agents.data.storage import first_rows, rows_of_steps
from agents.errors import DataError, require

if TYPE_CHECKING:
    from agents.data.dataset import OfflineDataset

PIECE = 1 << 16  # rows read at a time: those of a file may be more than memory holds


def split(dataset: OfflineDataset, share: float, seed: int) -> tuple[OfflineDataset, OfflineDataset]:
    """See :meth:`~agents.OfflineDataset.split`."""
    lengths = torch.from_numpy(dataset.statistics.lengths)
    starts = first_rows(lengths) if dataset.starts is None else dataset.starts
    check_split(dataset.id, len(starts), share)
    held_out = choose_held_out(dataset.fingerprint, starts, share, seed)
    training, _ = parts = [_describe(dataset, starts, chosen) for chosen in (~held_out, held_out)]
    specs = replace(
        dataset.specs,
        observation_mean=training.observation_mean,
        observation_std=training.observation_std,
        max_return=training.statistics.returns.max().item(),
    )
    whole = dataset.whole or dataset
    first, second = (
        replace(dataset, specs=specs, statistics=part.statistics, starts=part.starts, whole=whole) for part in parts
    )
    return first, second


def check_split(dataset_id: str, num_episodes: int, share: float) -> None:
    """Refuse to hold out a share of so many episodes where one side would have none.

    Raises:
        ConfigError: the share is not in (0, 1).
        DataError: there is a single episode.
    """
    require(0.0 < share < 1.0, "validation", "be a share of the episodes, in (0, 1)", share)
    if num_episodes < 2:
        raise DataError(
            f"dataset {dataset_id!r} has a single episode, so none can be held out: leave out validation={share:g}"
        )


def choose_held_out(fingerprint: str, starts: Tensor, share: float, seed: int) -> NDArray[np.bool_]:
    """Which episodes are held out, ``[E]``: the first by their digests, and by no generator, which may change."""
    digests = [hashlib.blake2b(f"{fingerprint} {seed} {row}".encode()).digest() for row in starts.tolist()]
    order = sorted(range(len(starts)), key=digests.__getitem__)
    number = min(max(round(share * len(starts)), 1), len(starts) - 1)
    held_out = np.zeros(len(starts), dtype=bool)
    held_out[order[:number]] = True
    return held_out


class _Part(NamedTuple):
    """What is to be known of some episodes of a dataset."""

    starts: Tensor  # [E] int64
    statistics: DatasetStatistics
    observation_mean: Tensor  # [O] float32
    observation_std: Tensor  # [O] float32


def _describe(dataset: OfflineDataset, starts: Tensor, chosen: NDArray[np.bool_]) -> _Part:
    """The chosen episodes, ``[E]``, from one pass over their rows.

    Args:
        starts: the row of each episode's first step, ``[E]``.
    """
    rows, layout, whole = dataset.rows, dataset.layout, dataset.statistics
    space: Any = None if dataset.specs.discrete else dataset.specs.action.space
    own_starts = starts[torch.from_numpy(chosen)]
    episodes = {field.name: _of(getattr(whole, field.name), chosen) for field in fields(EpisodeStatistics)}
    lengths = torch.from_numpy(episodes["lengths"])
    steps = rows_of_steps(lengths, own_starts)
    observation, action, reward = Moments(), Extremes(), Moments()
    at_bound = num_terminated = 0
    for piece in steps.split(PIECE):
        columns = layout.parts(rows[piece.to(rows.device)].cpu().numpy())
        for moments, values in zip((observation, action, reward), columns):
            moments.add(values)
        num_terminated += int(np.count_nonzero(columns[-1]))
        if space is not None and whole.saturated_actions:  # else no bound is touched, or there is none
            at_bound += num_saturated(columns[1], space.low.cpu().numpy(), space.high.cpu().numpy())
    ends = rows[(steps[lengths.cumsum(0) - 1]).to(rows.device), -1]
    statistics = DatasetStatistics(
        num_episodes=len(lengths),
        num_steps=len(steps),
        action_min=action.min,
        action_max=action.max,
        saturated_actions=at_bound / (action.count * layout.action),
        **{f"reward_{name}": getattr(reward, name).item() for name in ("mean", "std", "min", "max")},
        terminations=num_terminated,
        truncations=min(whole.truncations, int((ends == 0).sum())),  # rows do not tell them from those that just stop
        **episodes,
    )
    mean, std = layout.of_dimensions(observation.mean, 0.0), layout.of_dimensions(observation.std, 1.0)
    return _Part(own_starts, statistics, torch.from_numpy(mean), torch.from_numpy(std))


def _of(values: Any, chosen: NDArray[np.bool_]) -> Any:
    """An entry of ``EpisodeStatistics`` of the chosen episodes."""
    if isinstance(values, Mapping):
        return {name: _of(each, chosen) for name, each in values.items()}
    return None if values is None else values[chosen]
