"""The columns of a converted dataset: which key of a batch has which width.

Legend: ``S`` numbers kept of an observation, ``A`` action, ``B`` batch.
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
KEYS_OF_A_ROW: tuple[Key, ...] = ("observation", "action", ("next", "reward"), ("next", "terminated"))
NEXT_ACTION: Key = ("next", "action")
END_KEYS: tuple[Key, ...] = (("next", "truncated"), ("next", "done"))
WINDOW_KEYS: tuple[Key, ...] = ("return_to_go", "step_count", "mask")
NUM_STEPS_AHEAD: Key = "steps_to_next_obs"  # with n-step rewards
DISCOUNTED_RETURN: Key = "discounted_return"  # from a step to the end of its episode
OPTIONAL_KEYS: tuple[Key, ...] = (*END_KEYS, NEXT_ACTION, DISCOUNTED_RETURN, *WINDOW_KEYS)


@dataclass(frozen=True)
class Layout:
    """Columns of a row: observation [S] | action [A] | reward [1] | terminated [1], all float32.

    A row is a step; the row below is the next step of the episode or, after its last one, a row that holds nothing but
    the last observation. So a step's next observation is the first ``S`` columns of the row below, and is not stored a
    second time: a row and those columns lie one after the other in memory, and are read at once.
    """

    categories: tuple[int | None, ...]  # of the S numbers kept of an observation; None: it is a number, no index
    action: int  # A
    single_index: bool  # an action is one index, [B] in a batch
    discrete: bool  # actions are indices, of any number

    @property
    def observation(self) -> int:
        """S"""
        return len(self.categories)

    @property
    def one_hot(self) -> bool:
        """Whether an observation has categories, which a batch has as one-hots."""
        return any(count is not None for count in self.categories)

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """Of observation, action, reward and terminated."""
        return self.observation, self.action, 1, 1

    @property
    def num_columns(self) -> int:
        return sum(self.widths)

    def parts(self, rows: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Views of the four parts."""
        action, reward, terminated = self.observation, self.observation + self.action, self.num_columns - 1
        return [rows[:, :action], rows[:, action:reward], rows[:, reward:terminated], rows[:, terminated:]]

    def of_dimensions(self, values: NDArray[np.float64], of_a_category: float) -> NDArray[np.float32]:
        """Of an observation's dimensions ``[O]``, given the kept numbers' ``[S]``; one-hots are never scaled."""
        columns = zip(values, self.categories)
        pieces = [[value] if count is None else [of_a_category] * count for value, count in columns]
        return np.concatenate(pieces).astype(np.float32)

    def key_of(self, column: int) -> Key:
        return KEYS_OF_A_ROW[int(np.searchsorted(np.cumsum(self.widths), column, side="right"))]

    def identity(self) -> str:
        """Text that two layouts share if equal rows mean the same; of plain vectors as it always was."""
        if self.one_hot or self.discrete != self.single_index:
            return repr(self)
        return f"Layout(observation={self.observation}, action={self.action}, discrete={self.discrete})"
