"""The columns of a converted dataset: which key of a batch has which width.

Legend: ``O`` observation, ``A`` action.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Key = str | tuple[str, ...]
DEFAULT_KEYS: tuple[Key, ...] = (
    "observation",
    "action",
    ("next", "observation"),
    ("next", "reward"),
    ("next", "terminated"),
)
NEXT_ACTION: Key = ("next", "action")
END_KEYS: tuple[Key, ...] = (("next", "truncated"), ("next", "done"))
WINDOW_KEYS: tuple[Key, ...] = ("return_to_go", "step_count", "mask")
OPTIONAL_KEYS: tuple[Key, ...] = (*END_KEYS, NEXT_ACTION, *WINDOW_KEYS)


@dataclass(frozen=True)
class Layout:
    """Columns of a row: observation [O] | action [A] | next observation [O] | reward [1] | terminated [1]."""

    observation: int
    action: int  # 1 for a discrete action, which is stored as its index
    discrete: bool

    @property
    def widths(self) -> tuple[int, int, int, int, int]:
        """In the order of ``DEFAULT_KEYS``."""
        return self.observation, self.action, self.observation, 1, 1

    @property
    def num_columns(self) -> int:
        return sum(self.widths)

    def parts(self, rows: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Views of the five parts."""
        return np.split(rows, np.cumsum(self.widths)[:-1], axis=1)

    def key_of(self, column: int) -> Key:
        return DEFAULT_KEYS[int(np.searchsorted(np.cumsum(self.widths), column, side="right"))]
