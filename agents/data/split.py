"""Whole episodes of a dataset held out, and the statistics of those that are left.

Legend: ``N`` steps, ``E`` episodes, ``D`` columns of a row, ``S`` numbers kept of an observation, ``A`` action.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.data.dataset_statistics import DatasetStatistics, EpisodeStatistics, Moments, num_saturated
from agents.data.layout import Layout
from agents.data.storage import rows_of_steps
from agents.errors import DataError, require

PIECE = 1 << 16  # rows read at a time: those of a file may be more than memory holds


def choose_held_out(dataset_id: str, fingerprint: str, starts: Tensor, share: float, seed: int) -> NDArray[np.bool_]:
    """Which episodes are held out, ``[E]``: those whose digests come first, by no generator that a version may change.

    Raises:
        ConfigError: the share is not in (0, 1).
        DataError: there is a single episode.
    """
    require(0.0 < share < 1.0, "validation", "be a share of the episodes, in (0, 1)", share)
    if len(starts) < 2:
        raise DataError(
            f"dataset {dataset_id!r} has a single episode, so none can be held out: leave out validation={share:g}"
        )
    digests = [hashlib.blake2b(f"{fingerprint} {seed} {row}".encode()).digest() for row in starts.tolist()]
    order = sorted(range(len(starts)), key=digests.__getitem__)
    number = min(max(round(share * len(starts)), 1), len(starts) - 1)
    held_out = np.zeros(len(starts), dtype=bool)
    held_out[order[:number]] = True
    return held_out


class Part(NamedTuple):
    """What is to be known of some episodes of a dataset."""

    statistics: DatasetStatistics
    observation_mean: Tensor  # [O] float32
    observation_std: Tensor  # [O] float32


def describe_part(
    rows: Tensor,
    layout: Layout,
    whole: DatasetStatistics,
    chosen: NDArray[np.bool_],
    starts: Tensor,
    bounds: tuple[NDArray[np.float32], NDArray[np.float32]] | None,
) -> Part:
    """Statistics of the chosen episodes, from one pass over their rows.

    Args:
        rows: of all episodes, ``[N + E, D]``.
        whole: statistics of all episodes.
        chosen: ``[E]``.
        starts: the row of each episode's first step, ``[E]``.
        bounds: of actions, ``[A]`` each; None: they are indices.
    """
    episodes = {field.name: _of(getattr(whole, field.name), chosen) for field in fields(EpisodeStatistics)}
    lengths = torch.from_numpy(episodes["lengths"])
    steps = rows_of_steps(lengths, starts[torch.from_numpy(chosen)])
    observation, action, reward = Moments(), Moments(), Moments()
    at_bound = num_terminated = 0
    for piece in steps.split(PIECE):
        columns = layout.parts(rows[piece.to(rows.device)].cpu().numpy())
        for moments, values in zip((observation, action, reward), columns):
            moments.add(values)
        num_terminated += int(np.count_nonzero(columns[-1]))
        if bounds is not None and whole.saturated_actions:  # else no bound is touched, or there is none
            at_bound += num_saturated(columns[1], *bounds)
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
    return Part(statistics, torch.from_numpy(mean), torch.from_numpy(std))


def _of(values: Any, chosen: NDArray[np.bool_]) -> Any:
    """An entry of ``EpisodeStatistics`` of the chosen episodes."""
    if isinstance(values, Mapping):
        return {name: _of(each, chosen) for name, each in values.items()}
    return None if values is None else values[chosen]
