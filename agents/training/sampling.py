"""The draws from the data that an agent learns from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from agents.data.layout import DEFAULT_KEYS, OPTIONAL_KEYS, Key


@dataclass(frozen=True)
class Sampling:
    """The arguments of :meth:`~agents.OfflineDataset.replay_buffer` that an algorithm decides on: ``**sampling``."""

    entries: tuple[Key, ...] = DEFAULT_KEYS  # of a batch; the argument ``keys``
    best_episodes: float | None = None  # share of the episodes, those with the largest returns, in (0, 1]; None: all
    context_length: int | None = None  # steps of a window, >= 1; None: single steps
    gamma: float | None = None  # discount in [0, 1] of the entry discounted_return

    def including(self, keys: Iterable[Any]) -> Sampling:
        """The same with those of the data's optional entries that are among ``keys``, such as a loss's ``in_keys``."""
        further = {*keys} - {*self.entries}
        return replace(self, entries=(*self.entries, *(key for key in OPTIONAL_KEYS if key in further)))

    def keys(self) -> tuple[str, ...]:
        return "keys", "best_episodes", "context_length", "gamma"

    def __getitem__(self, name: str) -> Any:
        return self.entries if name == "keys" else getattr(self, name)
