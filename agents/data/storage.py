"""A replay buffer's storage over packed rows: single steps, or windows of an episode.

Legend: ``N`` steps of the dataset, ``E`` episodes, ``B`` batch, ``K`` steps of a window, ``D`` columns of a row, ``S``
numbers kept of an observation, ``O`` observation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor
from torchrl.data import TensorStorage

from agents.data.layout import (
    DISCOUNTED_RETURN,
    END_KEYS,
    KEYS_OF_A_ROW,
    NEXT_ACTION,
    NUM_STEPS_AHEAD,
    Key,
    Layout,
)


def first_rows(lengths: Tensor) -> Tensor:
    """The row of each episode's first step, ``[E] -> [E]`` int64: behind an episode is one of its last observation."""
    return (lengths + 1).cumsum(0) - (lengths + 1)


def rows_of_steps(lengths: Tensor, starts: Tensor | None = None) -> Tensor:
    """The row of each step, ``[E] -> [N]`` int64; ``starts [E]``: of episodes that do not follow each other."""
    starts = first_rows(lengths) if starts is None else starts
    steps = torch.arange(int(lengths.sum()), device=lengths.device)
    return steps + (starts - lengths.cumsum(0) + lengths).repeat_interleave(lengths)


class PackedStorage(TensorStorage):
    """Storage over packed rows: one gather per batch, then views of it; half the time of a TensorDict's storage.

    Args:
        rows: ``[N + E, D]`` float32, columns as in ``layout``; below the steps of an episode, its last observation.
        lengths: steps of each episode, ``[E]`` int64.
        starts: the row of each episode's first step, ``[E]`` int64, ascending; None: they follow each other.
        arrival: the device of the batches.
        subset: the steps to draw from, ``[M]`` int64; None: all.
        context_length: K, for windows that begin at these steps; None: the steps themselves.
        rewards: ``[N]`` float32, in the place of those in the rows.
        num_steps_ahead: ``[N]`` int64, how many steps further a batch's next observation is; None: one.
        discounted_returns: ``[N]`` float32, from each step to the end of its episode; None: a batch has none.
    """

    def __init__(
        self,
        rows: Tensor,
        layout: Layout,
        lengths: Tensor,
        keys: Iterable[Key],
        *,
        arrival: torch.device,
        starts: Tensor | None = None,
        subset: Tensor | None = None,
        context_length: int | None = None,
        rewards: Tensor | None = None,
        num_steps_ahead: Tensor | None = None,
        discounted_returns: Tensor | None = None,
    ) -> None:
        super().__init__(rows, device=rows.device)
        self._rows, self._layout, self._keys = rows, layout, frozenset(keys)
        self._arrival = None if arrival == rows.device else arrival
        lengths = lengths.to(rows.device)
        row_of_step = rows_of_steps(lengths, None if starts is None else starts.to(rows.device))  # [N]
        self._row_of = row_of_step if subset is None else row_of_step[subset]  # [M]
        self._len = len(self._row_of)
        last = row_of_step[lengths.cumsum(0) - 1]  # [E], rows
        self._ends: Tensor | None = None  # [N + E, 1] bool
        if self._keys.intersection((*END_KEYS, NEXT_ACTION)):
            self._ends = torch.zeros(len(rows), 1, dtype=torch.bool, device=rows.device)
            self._ends[last] = True
        self._rewards, self._ahead = self._of_rows(rewards, row_of_step), self._of_rows(num_steps_ahead, row_of_step)
        self._returns = self._of_rows(discounted_returns, row_of_step)
        # a row and the observation in the row below, [N + E - 1, D + S]: one piece of memory, so one gather
        width = layout.num_columns
        self._joint = rows.as_strided((len(rows) - 1, width + layout.observation), (width, 1))
        self._one_hots = OneHots(layout.categories, rows.device) if layout.one_hot else None
        self._windows = None if context_length is None else _Windows(rows, last, lengths, context_length)

    def _of_rows(self, values: Tensor | None, row_of_step: Tensor) -> Tensor | None:
        """Values of steps, ``[N] -> [N + E, 1]``, of rows."""
        if values is None:
            return None
        of_rows = torch.zeros(len(self._rows), 1, dtype=values.dtype, device=self._rows.device)
        of_rows[row_of_step, 0] = values.to(self._rows.device)
        return of_rows

    def get(self, index: Any) -> TensorDict:
        gather = isinstance(index, Tensor) and index.ndim == 1
        index = self._row_of.index_select(0, index) if gather else self._row_of[index]
        of_windows: dict[Key, Tensor] = {}
        if self._windows is not None:
            index, of_windows = self._windows.at(index)  # [B] -> [B, K]
        if index.ndim == 1:
            gathered = self._joint.index_select(0, index)  # [B, D + S]
        else:
            gathered = self._joint.index_select(0, index.flatten()).unflatten(0, index.shape)
        sizes = (*self._layout.widths, self._layout.observation)
        parts: dict[Key, Tensor] = dict(
            zip((*KEYS_OF_A_ROW, ("next", "observation")), self._arrive(gathered).split(sizes, -1))
        )
        if self._returns is not None:
            parts[DISCOUNTED_RETURN] = self._arrive(self._returns[index])
        last = index  # of the steps that a transition spans
        if self._rewards is not None:
            parts["next", "reward"] = self._arrive(self._rewards[index])
        if self._ahead is not None:
            ahead = self._ahead[index]  # [B, 1]
            last = index + ahead.squeeze(-1) - 1
            parts[NUM_STEPS_AHEAD] = self._arrive(ahead)
            parts["next", "observation"] = self._arrive(self._rows[last + 1][..., : self._layout.observation])
            parts["next", "terminated"] = self._arrive(self._rows[last][..., -1:])
        terminated = parts["next", "terminated"] = parts["next", "terminated"] != 0
        if self._ends is not None:
            ends = self._arrive(self._ends[last])
            parts["next", "done"], parts["next", "truncated"] = ends | terminated, ends & ~terminated
            if NEXT_ACTION in self._keys:
                parts[NEXT_ACTION] = self._arrive(self._next_action(last))
        unpack(parts, self._layout, self._one_hots)
        parts.update({key: self._arrive(part) for key, part in of_windows.items()})
        keys = self._keys | {NUM_STEPS_AHEAD}
        top = {key: part for key, part in parts.items() if key in keys and isinstance(key, str)}
        following = {key[1]: part for key, part in parts.items() if key in keys and isinstance(key, tuple)}
        # the checks of TensorDict() would cost as much as everything above
        top["next"] = TensorDict._new_unsafe(following, index.shape)
        return TensorDict._new_unsafe(top, index.shape)

    def _arrive(self, values: Tensor) -> Tensor:
        return values if self._arrival is None else values.to(self._arrival)

    def _next_action(self, last: Tensor) -> Tensor:
        """The action of the row below, ``[B, A]``; at the last step of an episode, which has none, its own."""
        assert self._ends is not None
        below = last + ~self._ends[last].squeeze(-1)
        start = self._layout.observation
        return self._rows[below][..., start : start + self._layout.action]


def unpack(parts: dict[Key, Tensor], layout: Layout, one_hots: OneHots | None) -> None:
    """Give observations and actions of a batch, in place, the form that they have outside of the packed rows."""
    if one_hots is not None:
        for key in ("observation", ("next", "observation")):
            parts[key] = one_hots(parts[key])
    if layout.discrete:
        for key in parts.keys() & {"action", NEXT_ACTION}:
            parts[key] = parts[key].long()
            if layout.single_index:
                parts[key] = parts[key].squeeze(-1)  # [B, 1] -> [B], as Categorical has it


class OneHots:
    """Numbers kept of an observation as the observation itself, ``[B, S] -> [B, O]``: categories become one-hots."""

    def __init__(self, categories: tuple[int | None, ...], device: torch.device) -> None:
        self._categories = categories
        sizes = [1 if count is None else count for count in categories]
        starts = [sum(sizes[:column]) for column in range(len(sizes))]
        self.size = sum(sizes)
        self._of_categories, self._of_numbers = (
            [column for column, count in enumerate(categories) if (count is None) == numbers]
            for numbers in (False, True)
        )
        self._first = torch.tensor([starts[column] for column in self._of_categories], device=device)
        self._place = torch.tensor([starts[column] for column in self._of_numbers], dtype=torch.long, device=device)

    def __call__(self, columns: Tensor) -> Tensor:
        observation = columns.new_zeros(*columns.shape[:-1], self.size)
        hot = columns[..., self._of_categories].long() + self._first.to(columns.device)
        observation.scatter_(-1, hot, 1.0)
        if len(self._place):
            observation[..., self._place.to(columns.device)] = columns[..., self._of_numbers]
        return observation

    def inverse(self, observations: NDArray[Any]) -> NDArray[Any]:
        """The numbers kept of observations, ``[B, O] -> [B, S]``."""
        ends = np.cumsum([1 if count is None else count for count in self._categories])
        pieces = zip(np.split(observations, ends[:-1], axis=1), self._categories)
        return np.concatenate([p if count is None else p.argmax(1, keepdims=True) for p, count in pieces], axis=1)


class _Windows:
    """Windows of ``K`` steps that begin anywhere in an episode and never leave it: the rest is padding."""

    def __init__(self, rows: Tensor, last: Tensor, lengths: Tensor, context_length: int) -> None:
        self._last = last  # [E], rows of the last steps
        self._first = last - lengths + 1
        self._returns_to_go = _returns_to_go(rows[:, -2].cpu(), last.cpu(), lengths.cpu()).to(rows.device)
        self._steps = torch.arange(context_length, device=rows.device)

    def at(self, index: Tensor) -> tuple[Tensor, dict[Key, Tensor]]:
        """The rows of the windows that begin at ``index [B]``, ``[B, K]``, and ``WINDOW_KEYS``; False is padding."""
        episode = torch.searchsorted(self._last, index)
        rows, last = index[..., None] + self._steps, self._last[episode][..., None]
        mask, rows = rows <= last, torch.minimum(rows, last)
        step_count = (rows - self._first[episode][..., None])[..., None]
        return rows, {"return_to_go": self._returns_to_go[rows], "step_count": step_count, "mask": mask}


def _returns_to_go(rewards: Tensor, last: Tensor, lengths: Tensor) -> Tensor:
    """Undiscounted sum of the rewards from a row to the end of its episode, ``[N + E, 1]`` float32; elsewhere 0."""
    to_the_end_of_the_data = rewards.double().flip(0).cumsum(0).flip(0)  # [N + E]
    returns, rows = torch.zeros_like(to_the_end_of_the_data), rows_of_steps(lengths, last - lengths + 1)
    after = to_the_end_of_the_data[last + 1].repeat_interleave(lengths)  # [N]; a last observation has no reward
    returns[rows] = to_the_end_of_the_data[rows] - after
    return returns.float()[:, None]
