"""A replay buffer's storage over packed rows: single steps, or windows of an episode.

Legend: ``N`` steps of the dataset, ``E`` episodes, ``B`` batch, ``K`` steps of a window, ``D`` columns of a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDict
from torch import Tensor
from torchrl.data import TensorStorage

from agents.data.layout import DEFAULT_KEYS, Key

if TYPE_CHECKING:
    from agents.data.dataset import OfflineDataset


NEXT_ACTION: Key = ("next", "action")
ENDS: tuple[Key, ...] = (("next", "truncated"), ("next", "done"))
WINDOW_KEYS: tuple[Key, ...] = ("return_to_go", "step_count", "mask")
OPTIONAL_KEYS: tuple[Key, ...] = (*ENDS, NEXT_ACTION, *WINDOW_KEYS)


class PackedStorage(TensorStorage):
    """Storage over packed rows: one gather per batch, then views of it; half the time of a TensorDict's storage.

    Args:
        chosen: the rows to draw from, ``[M]`` int64; None: all.
        context_length: K, for windows that begin at these rows; None: the rows themselves.
    """

    def __init__(
        self,
        dataset: OfflineDataset,
        keys: Iterable[Key],
        chosen: Tensor | None = None,
        context_length: int | None = None,
    ) -> None:
        super().__init__(dataset.rows, device=dataset.rows.device)
        self._layout = dataset.layout
        self._keys = frozenset(keys)
        self._batch_device = None if dataset.device == dataset.rows.device else dataset.device
        self._chosen = chosen
        if chosen is not None:
            self._len = len(chosen)
        self._ends: Tensor | None = None  # [N, 1] bool
        if self._keys.intersection((*ENDS, NEXT_ACTION)):
            self._ends = dataset.last_steps().to(dataset.rows.device)
        self._windows = None if context_length is None else _Windows(dataset, context_length)

    def get(self, index: Any) -> TensorDict:
        if self._chosen is not None:
            index = self._chosen[index]
        if self._windows is not None:
            index, of_windows = self._windows.at(self._as_tensor(index))  # [B] -> [B, K]
        gather = isinstance(index, Tensor) and index.ndim > 0
        rows = self._storage.index_select(0, index.flatten()) if gather else self._storage[index]  # [B, D]
        rows = rows.unflatten(0, index.shape) if self._windows is not None else rows  # [B * K, D] -> [B, K, D]
        parts: dict[Key, Tensor] = dict(zip(DEFAULT_KEYS, self._arrive(rows).split(self._layout.widths, -1)))
        terminated = parts["next", "terminated"] = parts["next", "terminated"] != 0
        if NEXT_ACTION in self._keys:
            parts[NEXT_ACTION] = self._arrive(self._next_action(index))
        if self._layout.discrete:
            for key in parts.keys() & {"action", NEXT_ACTION}:
                parts[key] = parts[key].squeeze(-1).long()  # [B, 1] -> [B], as Categorical has it
        if self._ends is not None:
            ends = self._arrive(self._ends[index])
            parts["next", "done"], parts["next", "truncated"] = ends | terminated, ends & ~terminated
        if self._windows is not None:
            parts.update({key: self._arrive(part) for key, part in of_windows.items()})
        top = {key: part for key, part in parts.items() if key in self._keys and isinstance(key, str)}
        following = {key[1]: part for key, part in parts.items() if key in self._keys and isinstance(key, tuple)}
        # the checks of TensorDict() would cost as much as everything above
        top["next"] = TensorDict._new_unsafe(following, rows.shape[:-1])
        return TensorDict._new_unsafe(top, rows.shape[:-1])

    def _arrive(self, values: Tensor) -> Tensor:
        return values if self._batch_device is None else values.to(self._batch_device)

    def _next_action(self, index: Any) -> Tensor:
        """The action of the row below, ``[B, A]``; at the last step of an episode, which has none, its own."""
        index = self._as_tensor(index)
        below = index + ~self._ends[index].squeeze(-1)
        start = self._layout.observation
        return self._storage[:, start : start + self._layout.action][below]

    def _as_tensor(self, index: Any) -> Tensor:
        return index if isinstance(index, Tensor) else torch.arange(len(self._storage), device=self.device)[index]


class _Windows:
    """Windows of ``K`` steps that begin anywhere in an episode and never leave it: the rest of such a one is padding.

    Args:
        context_length: K.
    """

    def __init__(self, dataset: OfflineDataset, context_length: int) -> None:
        device = dataset.rows.device
        lengths = torch.from_numpy(dataset.statistics.lengths)
        self._last = (lengths.cumsum(0) - 1).to(device)  # [E], rows
        self._first = self._last - lengths.to(device) + 1
        self._returns_to_go = dataset.returns_to_go().to(device)
        self._steps = torch.arange(context_length, device=device)

    def at(self, index: Tensor) -> tuple[Tensor, dict[Key, Tensor]]:
        """The rows of the windows that begin at ``index [B]``, ``[B, K]``, and ``WINDOW_KEYS``.

        Padding repeats the last row of the episode, where ``mask`` is False.
        """
        episode = torch.searchsorted(self._last, index)
        rows, last = index[..., None] + self._steps, self._last[episode][..., None]
        mask, rows = rows <= last, torch.minimum(rows, last)
        step_count = rows - self._first[episode][..., None]
        return rows, {
            "return_to_go": self._returns_to_go[rows],
            "step_count": step_count[..., None],
            "mask": mask,
        }
