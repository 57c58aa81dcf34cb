"""A replay buffer's storage over packed rows: single steps, or windows of an episode.

Legend: ``N`` steps of the dataset, ``E`` episodes, ``B`` batch, ``K`` steps of a window, ``D`` columns of a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from torchrl.data import TensorStorage

from agents.data.layout import DEFAULT_KEYS, END_KEYS, NEXT_ACTION, Key, Layout


class PackedStorage(TensorStorage):
    """Storage over packed rows: one gather per batch, then views of it; half the time of a TensorDict's storage.

    Args:
        rows: ``[N, D]`` float32, columns as in ``layout``.
        lengths: steps of each episode, ``[E]`` int64.
        arrival: the device of the batches.
        subset: the rows to draw from, ``[M]`` int64; None: all.
        context_length: K, for windows that begin at these rows; None: the rows themselves.
    """

    def __init__(
        self,
        rows: Tensor,
        layout: Layout,
        lengths: Tensor,
        keys: Iterable[Key],
        *,
        arrival: torch.device,
        subset: Tensor | None = None,
        context_length: int | None = None,
    ) -> None:
        super().__init__(rows, device=rows.device)
        self._rows, self._layout, self._keys = rows, layout, frozenset(keys)
        self._arrival = None if arrival == rows.device else arrival
        self._subset, self._len = subset, len(rows if subset is None else subset)
        self._ends: Tensor | None = None  # [N, 1] bool
        if self._keys.intersection((*END_KEYS, NEXT_ACTION)):
            self._ends = torch.zeros(len(rows), 1, dtype=torch.bool, device=rows.device)
            self._ends[(lengths.cumsum(0) - 1).to(rows.device)] = True
        self._windows = None if context_length is None else _Windows(rows, lengths, context_length)

    def get(self, index: Any) -> TensorDict:
        if self._subset is not None:
            index = self._subset[index]
        of_windows: dict[Key, Tensor] = {}
        if self._windows is not None:
            index, of_windows = self._windows.at(self._as_tensor(index))  # [B] -> [B, K]
        gather = isinstance(index, Tensor) and index.ndim > 0
        rows = self._rows.index_select(0, index.flatten()) if gather else self._rows[index]  # [B, D]
        rows = rows.unflatten(0, index.shape) if self._windows is not None else rows  # [B * K, D] -> [B, K, D]
        parts: dict[Key, Tensor] = dict(zip(DEFAULT_KEYS, self._arrive(rows).split(self._layout.widths, -1)))
        terminated = parts["next", "terminated"] = parts["next", "terminated"] != 0
        if self._ends is not None:
            last = self._ends[index]
            ends = self._arrive(last)
            parts["next", "done"], parts["next", "truncated"] = ends | terminated, ends & ~terminated
            if NEXT_ACTION in self._keys:
                parts[NEXT_ACTION] = self._arrive(self._next_action(index, last))
        if self._layout.discrete:
            for key in parts.keys() & {"action", NEXT_ACTION}:
                parts[key] = parts[key].squeeze(-1).long()  # [B, 1] -> [B], as Categorical has it
        parts.update({key: self._arrive(part) for key, part in of_windows.items()})
        top = {key: part for key, part in parts.items() if key in self._keys and isinstance(key, str)}
        following = {key[1]: part for key, part in parts.items() if key in self._keys and isinstance(key, tuple)}
        # the checks of TensorDict() would cost as much as everything above
        top["next"] = TensorDict._new_unsafe(following, rows.shape[:-1])
        return TensorDict._new_unsafe(top, rows.shape[:-1])

    def _arrive(self, values: Tensor) -> Tensor:
        return values if self._arrival is None else values.to(self._arrival)

    def _next_action(self, index: Any, last: Tensor) -> Tensor:
        """The action of the row below, ``[B, A]``; at the last step of an episode, which has none, its own."""
        below = self._as_tensor(index) + ~last.squeeze(-1)
        start = self._layout.observation
        return self._rows[:, start : start + self._layout.action][below]

    def _as_tensor(self, index: Any) -> Tensor:
        return index if isinstance(index, Tensor) else torch.arange(len(self._rows), device=self.device)[index]


class _Windows:
    """Windows of ``K`` steps that begin anywhere in an episode and never leave it: the rest is padding."""

    def __init__(self, rows: Tensor, lengths: Tensor, context_length: int) -> None:
        self._last = (lengths.cumsum(0) - 1).to(rows.device)  # [E], rows
        self._first = self._last - lengths.to(rows.device) + 1
        self._returns_to_go = _returns_to_go(rows[:, -2].cpu(), lengths).to(rows.device)
        self._steps = torch.arange(context_length, device=rows.device)

    def at(self, index: Tensor) -> tuple[Tensor, dict[Key, Tensor]]:
        """The rows of the windows that begin at ``index [B]``, ``[B, K]``, and ``WINDOW_KEYS``; False is padding."""
        episode = torch.searchsorted(self._last, index)
        rows, last = index[..., None] + self._steps, self._last[episode][..., None]
        mask, rows = rows <= last, torch.minimum(rows, last)
        step_count = (rows - self._first[episode][..., None])[..., None]
        return rows, {"return_to_go": self._returns_to_go[rows], "step_count": step_count, "mask": mask}


def _returns_to_go(rewards: Tensor, lengths: Tensor) -> Tensor:
    """Undiscounted sum of the rewards from a step to the end of its episode, ``[N, 1]`` float32."""
    to_the_end_of_the_data = rewards.double().flip(0).cumsum(0).flip(0)  # [N]
    after = torch.cat([to_the_end_of_the_data, torch.zeros(1, dtype=torch.float64)])[lengths.cumsum(0)]  # [E]
    return (to_the_end_of_the_data - after.repeat_interleave(lengths)).float()[:, None]
