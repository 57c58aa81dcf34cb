"""Episodes as float32 rows (``Layout``), checked and packed a piece at a time, and the statistics of one pass.

Legend: ``T`` steps of an episode, ``D`` columns, ``S`` numbers kept of an observation, ``A`` action.
"""

from __future__ import annotations

import hashlib
import warnings
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from agents.data.dataset_statistics import DatasetStatistics, Extremes, Moments, collect, num_saturated, summarise
from agents.data.episodes import Episode, read_episodes, steps_bar
from agents.data.source import Source
from agents.errors import DataError

OUTSIDE = "action_bounds=data takes the data's own bounds, clip_actions=true cuts such actions off"
PIECE = 1 << 16  # rows packed and written at a time, so that one endless episode does not need memory for all its rows
BOUND_SLACK = 1e-6  # of the range: actions this far outside are rounding, and clipped silently


def write_rows(source: Source, file: BinaryIO, *, clip_actions: bool, progress: bool) -> Scan:
    """Written, not mapped: on a full disk a write raises where a mapped page would kill the process."""
    scan, empty = Scan(source), []
    with steps_bar(source, "converting", progress=progress) as bar:
        for index, episode in enumerate(read_episodes(source)):
            for start in range(0, episode.num_steps, PIECE):
                rows = _pack(source, index, episode, start, clip_actions=clip_actions)
                file.write(rows[: len(rows) if start + PIECE >= episode.num_steps else -1].data)
                scan.add_rows(rows)
            if episode.num_steps:
                scan.add_episode(episode)
            else:
                empty.append(index)
            bar.update(episode.num_steps)
    if not scan.episodes:
        raise DataError(f"dataset {source.id!r} holds no steps; {source.remedy}")
    if empty:
        warnings.warn(f"dataset {source.id!r}: skipped {len(empty)} episodes without steps: {empty[:5]}", stacklevel=2)
    return scan


def _pack(source: Source, index: int, episode: Episode, start: int, *, clip_actions: bool) -> NDArray[np.float32]:
    """Rows of at most ``PIECE`` steps from ``start`` on and of the observation after them, ``[T + 1, D]``.

    Raises:
        DataError: a value is not to be trained on.
    """
    layout, piece = source.layout, slice(start, min(start + PIECE, episode.num_steps))
    rows = np.zeros((piece.stop - start + 1, layout.num_columns), np.float32)
    observation, action, reward, terminated = layout.parts(rows)
    with np.errstate(over="ignore"):  # reported below
        observation[:] = episode.observations[start : piece.stop + 1]
        action[:-1] = episode.actions[piece]
        reward[:-1, 0] = episode.rewards[piece]
        terminated[:-1, 0] = episode.terminations[piece]
    if not np.isfinite(rows).all():
        step, column = np.argwhere(~np.isfinite(rows))[0]
        key = layout.key_of(column) if step < len(rows) - 1 else ("next", "observation")
        problem = f"{key!r} is {rows[step, column]} at step {start + min(step, len(rows) - 2)}"
        raise source.error(index, problem, "values must be finite in float32: remove the episode from the dataset")
    _clip(source, index, action[:-1], start, clip_actions=clip_actions)
    return rows


def _clip(source: Source, index: int, actions: NDArray[np.float32], start: int, *, clip_actions: bool) -> None:
    low, high = source.low, source.high
    slack = BOUND_SLACK * np.where(np.isfinite(high - low), high - low, 1.0)
    outside = (actions < low - slack) | (actions > high + slack)  # [T, A]
    if outside.any() and (source.discrete or not clip_actions):
        step, column = np.argwhere(outside)[0]
        bounds = f"[{low[column]:g}, {high[column]:g}]"
        problem = f"action {column} is {actions[step, column]:g} at step {start + step}, outside {bounds}"
        raise source.error(index, problem, None if source.discrete else OUTSIDE)
    np.clip(actions, low, high, out=actions)


class Scan:
    """All that one pass over the rows and the episodes gathers."""

    def __init__(self, source: Source) -> None:
        self.source, self.layout = source, source.layout
        self.digest = hashlib.blake2b(self.layout.identity().encode(), digest_size=16)
        self.observation, self.action, self.reward = Moments(), Extremes(), Moments()
        self.num_saturated = self.terminations = self.truncations = 0
        self.end: NDArray[np.float32] | None = None  # [S], the last observation of the episode before
        self.episodes: list[dict[str, Any]] = []  # entries of EpisodeStatistics

    def add_rows(self, rows: NDArray[np.float32]) -> None:
        observation, action, reward, terminated = (part[:-1] for part in self.layout.parts(rows))
        following = rows[1:, : self.layout.observation]
        # a step at a time with its next observation, as fingerprints always were
        self.digest.update(np.concatenate([observation, action, following, reward, terminated], axis=1).data)
        for moments, values in ((self.observation, observation), (self.action, action), (self.reward, reward)):
            moments.add(values)
        if not self.layout.discrete:
            self.num_saturated += num_saturated(action, self.source.low, self.source.high)

    def add_episode(self, episode: Episode) -> None:
        """Add an episode whose rows have just been added."""
        start, end = episode.observations[[0, -1]].astype(np.float32)
        if self.end is not None and np.array_equal(start, self.end):  # a recording cut in two, which no row shows
            self.digest.update(f"cut at {self.reward.count - episode.num_steps}".encode())
        self.end = end
        self.terminations += int(np.count_nonzero(episode.terminations))
        self.truncations += int(np.count_nonzero(episode.truncations))
        self.episodes.append(summarise(episode, self.source))

    def statistics(self) -> DatasetStatistics:
        return DatasetStatistics(
            num_episodes=len(self.episodes),
            num_steps=self.reward.count,
            action_min=self.action.min,
            action_max=self.action.max,
            saturated_actions=self.num_saturated / (self.action.count * self.layout.action),
            **{f"reward_{name}": getattr(self.reward, name).item() for name in ("mean", "std", "min", "max")},
            terminations=self.terminations,
            truncations=self.truncations,
            **collect(self.episodes),
        )
