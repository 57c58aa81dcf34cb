"""Experience: the steps that environments have given, appended to one file and drawn from it.

A file of float32 rows, each a step: observation [S] | action [A] | reward | terminated | truncated | next observation
[S]. Row ``k * E + e`` is step ``k`` of environment ``e``; nothing in it is ever written a second time. It is written by
calls and read by a mapping: on a full disk a write raises, where a mapped page would kill the process.

Legend: ``E`` environments, ``T`` steps of an episode, ``B`` batch, ``S`` numbers kept of an observation, ``O``
observation, ``A`` action.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Generator, Tensor

from agents.data.layout import DISCOUNTED_RETURN, NEXT_ACTION, NUM_STEPS_AHEAD, WINDOW_KEYS, Key, Layout
from agents.data.rewards import discounted_returns, discounted_sums, steps_ahead
from agents.data.storage import OneHots, unpack
from agents.errors import ConfigError, DataError

ROW = np.dtype(np.float32)


@dataclass(frozen=True)
class RewardRule:
    """A learner's reward for an environment's, as ``agents.data.rewards.learner_rewards`` makes it of the data's."""

    scale: float = 1.0
    shift: float = 0.0
    n_step: int = 1
    gamma: float = 1.0

    def single(self, rewards: Tensor) -> Tensor:
        """Of each step alone, float64."""
        return self.scale * rewards.double() + self.shift


@dataclass(frozen=True)
class CollectedEpisode:
    """An episode that has ended."""

    last: int  # its last row
    length: int
    episode_return: float  # of the environment's rewards, undiscounted


class Experience:
    """Steps of ``num_envs`` environments that act in turns, drawn uniformly and with replacement.

    Where a batch needs what comes after a step, a sum of rewards or the next action, the steps of an episode are drawn
    from its end on; else from the moment that they are there.

    Args:
        file: made at ``capacity`` rows, of which the disk gives room only to those that are written.
        length: rows of it that are there already; what is behind them is cut off.
        keys: entries of a batch, as in :meth:`~agents.OfflineDataset.replay_buffer`.
        whole_episodes: draw from episodes that have ended alone, in any case.

    Raises:
        ConfigError: the disk has no room for as many rows, or a batch would have entries that only windows have.
        DataError: the file is shorter than ``length``.
    """

    def __init__(
        self,
        file: Path,
        layout: Layout,
        *,
        capacity: int,
        num_envs: int = 1,
        length: int = 0,
        keys: Iterable[Key],
        rewards: RewardRule = RewardRule(),  # noqa: B008  # frozen
        whole_episodes: bool = False,
    ) -> None:
        self.num_envs, self.capacity = num_envs, -(-capacity // num_envs) * num_envs
        self._layout, self._keys, self._rule = layout, frozenset(keys), rewards
        if of_windows := sorted(str(key) for key in self._keys.intersection(WINDOW_KEYS)):
            raise ConfigError(
                f"this algorithm learns from windows of an episode ({of_windows[0]}), which none online is"
            )
        self.widths = widths_of(layout)
        self.width = sum(self.widths)
        self._one_hots = OneHots(layout.categories, torch.device("cpu")) if layout.one_hot else None
        later = self._keys.intersection((NEXT_ACTION, DISCOUNTED_RETURN))
        self._waits = whole_episodes or rewards.n_step > 1 or bool(later)
        self._file = file
        self._stream = self._open(length)
        numbers = torch.from_file(str(file), shared=True, size=self.capacity * self.width, dtype=torch.float32)
        self.rows = numbers.view(self.capacity, self.width)
        self.length = 0
        self.episodes: list[CollectedEpisode] = []  # in the order of their ends
        self._starts = [*range(num_envs)]  # first rows of the running episodes
        self._drawable = torch.empty(self.capacity if self._waits else 0, dtype=torch.int64)
        self._num_drawable = 0
        self._sums = torch.zeros(self.capacity if rewards.n_step > 1 else 0, 1)
        self._ahead = torch.ones(self.capacity if rewards.n_step > 1 else 0, 1, dtype=torch.int64)
        self._returns = torch.zeros(self.capacity if DISCOUNTED_RETURN in self._keys else 0, 1)
        self._count(length)

    def _open(self, length: int) -> FileIO:
        row = self.width * ROW.itemsize
        there = self._file.stat().st_size // row if self._file.exists() else 0
        if there < length:  # else what is missing would be steps of zeros
            raise DataError(f"{self._file} has room for {there:,} steps, and {length:,} were made; put that file back")
        require_room(self._file, self._layout, self.capacity, name="capacity")
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o666)
        os.ftruncate(descriptor, length * row)
        os.ftruncate(descriptor, self.capacity * row)
        return FileIO(descriptor, "r+")

    def append(
        self,
        observations: NDArray[Any],
        actions: NDArray[Any],
        rewards: NDArray[Any],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
        next_observations: NDArray[Any],
    ) -> None:
        """Write a step of every environment, ``[E, ...]`` each; a DataError if one has a value that is not finite."""
        rows = self.pack(observations, actions, rewards, terminated, truncated, next_observations)
        if not np.isfinite(rows).all():
            raise DataError("an observation or a reward is not finite in float32")
        self._stream.seek(self.length * self.width * ROW.itemsize)
        if (written := self._stream.write(rows.data)) != rows.nbytes:
            raise OSError(errno.ENOSPC, f"{written} of {rows.nbytes} bytes written", str(self._file))
        self._count(self.length + self.num_envs)

    def pack(self, observations: NDArray[Any], *between: Any) -> NDArray[np.float32]:
        """Rows ``[B, width]`` of the arguments of :meth:`append`, for any number of steps."""
        *others, following = between
        parts = (self._kept(observations), *others, self._kept(following))
        rows = np.empty((len(observations), self.width), np.float32)
        with np.errstate(over="ignore"):  # infinity then
            for place, part in zip(np.split(rows, np.cumsum(self.widths)[:-1], axis=1), parts):
                place[:] = np.asarray(part).reshape(place.shape)
        return rows

    def actions(self, rows: Tensor) -> NDArray[Any]:
        """The actions in rows as a policy gives them: ``[T, A]``, or indices ``[T]`` or ``[T, A]`` int64."""
        actions = rows.split(self.widths, -1)[1].numpy()
        actions = actions.astype(np.int64) if self._layout.discrete else actions
        return actions[:, 0] if self._layout.single_index else actions

    def cut_off(self, env: int) -> None:
        """End the running episode of an environment that cannot be gone on with: it is truncated at its last step."""
        last = self.length - self.num_envs + env
        if self._starts[env] <= last:
            self.rows[last, -1 - self._layout.observation] = 1.0
            self._end_episode(env, last)

    def running(self, env: int) -> Tensor:
        """The rows of an environment's running episode, ``[T, width]``."""
        return self.rows[self._starts[env] : self.length : self.num_envs]

    def flush(self) -> None:
        """Wait until the disk has all rows."""
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        self._stream.close()

    @property
    def num_drawable(self) -> int:
        """Steps that batches are drawn from."""
        return self._num_drawable if self._waits else self.length

    def sample(self, size: int, generator: Generator) -> TensorDict:
        """A batch ``[B]``, with the entries and the rewards that a batch of the data has."""
        places = torch.randint(self.num_drawable, (size,), generator=generator)
        return self.batch(self._drawable[places] if self._waits else places)

    def batch(self, index: Tensor) -> TensorDict:
        """The steps in some rows, ``[B]``."""
        observation, action, reward, terminated, truncated, following = self.rows[index].split(self.widths, -1)
        parts: dict[Key, Tensor] = {"observation": observation, "action": action}
        last = index
        if self._rule.n_step > 1:
            parts["next", "reward"] = self._sums[index]
            parts[NUM_STEPS_AHEAD] = self._ahead[index]
            last = index + (self._ahead[index].squeeze(-1) - 1) * self.num_envs
            terminated, truncated, following = self.rows[last].split(self.widths, -1)[3:]
        else:
            parts["next", "reward"] = self._rule.single(reward).float()
        if DISCOUNTED_RETURN in self._keys:
            parts[DISCOUNTED_RETURN] = self._returns[index]
        parts["next", "observation"] = following
        parts["next", "terminated"] = terminated != 0
        parts["next", "truncated"] = (truncated != 0) & (terminated == 0)
        parts["next", "done"] = parts["next", "terminated"] | parts["next", "truncated"]
        if NEXT_ACTION in self._keys:  # at an end its own, which means nothing
            below = last + self.num_envs * ~parts["next", "done"].squeeze(-1)
            parts[NEXT_ACTION] = self.rows[below].split(self.widths, -1)[1]
        return self._as_batch(parts, index)

    def _as_batch(self, parts: dict[Key, Tensor], index: Tensor) -> TensorDict:
        unpack(parts, self._layout, self._one_hots)
        keys = self._keys | {NUM_STEPS_AHEAD}
        batch = TensorDict({"next": TensorDict({}, index.shape)}, index.shape)
        return batch.update({key: part for key, part in parts.items() if key in keys})

    def _kept(self, observations: NDArray[Any]) -> NDArray[Any]:
        """``[E, O] -> [E, S]``"""
        observations = np.asarray(observations).reshape(len(observations), -1)
        return observations if self._one_hots is None else self._one_hots.inverse(observations)

    def _count(self, length: int) -> None:
        """Take notice of further rows, and of the episodes that end in them."""
        done = slice(sum(self.widths[:3]), sum(self.widths[:5]))
        ends = self.rows[self.length : length, done].any(-1).nonzero().squeeze(-1) + self.length
        self.length = length
        for last in ends.tolist():
            self._end_episode(last % self.num_envs, last)

    def _end_episode(self, env: int, last: int) -> None:
        steps = torch.arange(self._starts[env], last + 1, self.num_envs)  # [T]
        rewards, terminated = self.rows[steps][:, sum(self.widths[:2]) : sum(self.widths[:4])].unbind(-1)
        self.episodes.append(CollectedEpisode(last, len(steps), float(rewards.double().sum())))
        self._starts[env] = last + self.num_envs
        if not self._waits:
            return
        ahead = steps_ahead(terminated != 0, torch.tensor([len(steps)]), self._rule.n_step)
        if self._rule.n_step > 1:
            sums = discounted_sums(self._rule.single(rewards), ahead, self._rule.gamma)
            self._sums[steps, 0], self._ahead[steps, 0] = sums.float(), ahead
        if DISCOUNTED_RETURN in self._keys:
            single = self._rule.single(rewards).float()
            returns = discounted_returns(single, terminated != 0, torch.tensor([len(steps)]), self._rule.gamma)
            self._returns[steps, 0] = returns
        if NEXT_ACTION in self._keys and terminated[-1] == 0:  # a step that has no next action is left out
            steps = steps[torch.arange(len(steps)) + ahead < len(steps)]
        self._drawable[self._num_drawable : self._num_drawable + len(steps)] = steps
        self._num_drawable += len(steps)


def widths_of(layout: Layout) -> tuple[int, ...]:
    """Numbers in a row of each part, in their order."""
    return (*layout.widths, 1, layout.observation)


def require_room(file: Path, layout: Layout, capacity: int, *, name: str) -> None:
    """Refuse so many rows in a file, by a ConfigError that says which setting, where the disk has not the space."""
    row = sum(widths_of(layout)) * ROW.itemsize
    folder = next(parent for parent in file.absolute().parents if parent.exists())
    there = getattr(file.stat(), "st_blocks", 0) * 512 if file.exists() else 0  # of its bytes, those that are written
    needed, free = capacity * row - there, shutil.disk_usage(folder).free
    if needed > free:
        sizes = f"{needed / 2**30:,.1f} GiB, {row} bytes a step, and the disk of {folder} has {free / 2**30:,.1f} GiB"
        raise ConfigError(f"{name}={capacity} needs {sizes}; take fewer steps, or another folder")
