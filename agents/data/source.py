"""A dataset in the local store, as far as its metadata describe it.

Legend: ``O`` observation, ``A`` action.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from agents.data.layout import Layout
from agents.data.store import remedy
from agents.environments.adapter import Spaces
from agents.environments.parts import Actions, Observations
from agents.environments.protocols import scorings
from agents.environments.scoring import Reference, Scoring
from agents.errors import ConfigError, DataError, require_choice

Bounds = (
    str | Sequence[float] | Sequence[Sequence[float]]
)  # declared, data, or [low, high], of each dimension or of all


@dataclass(frozen=True)
class Source:
    """A dataset in the local store, as far as its metadata describe it."""

    id: str
    path: Path  # the dataset's data folder
    format: str
    num_episodes: int
    num_steps: int  # as announced; for the progress bar only
    spaces: Spaces
    low: NDArray[np.float32]  # [A] bounds of its actions; of indices 0
    high: NDArray[np.float32]  # [A]; of indices their largest
    reference: Reference | None
    env_spec: EnvSpec | None  # for evaluation
    recorded_elsewhere: bool = False  # by the metadata, in another environment than that: with other goals, say
    chosen_parts: bool = False  # not all parts of its observations are learned from
    own_bounds: bool = False  # low and high are not those of the action space, but chosen

    @property
    def observations(self) -> Observations:
        return self.spaces.observations

    @property
    def actions(self) -> Actions:
        return self.spaces.actions

    @property
    def num_observations(self) -> int:
        """Numbers that are kept of an observation."""
        return self.observations.num_columns

    @property
    def num_actions(self) -> int:
        """A; 1 for a single index."""
        return self.actions.size

    @property
    def discrete(self) -> bool:
        """Whether actions are indices from 0 to ``high``."""
        return bool(self.actions.categories)

    def bounded(self, bounds: Bounds) -> Source:
        """The same with other bounds of its actions: ``declared``, the ``data``'s own, or ``[low, high]``.

        Infinite ones stand for the smallest and largest actions of the data; indices have no other bounds.

        Raises:
            ConfigError: bounds that are none.
        """
        if isinstance(bounds, str):
            require_choice("action_bounds", bounds, ("declared", "data"))
        if bounds == "declared" or self.discrete:
            return self
        pair = (-np.inf, np.inf) if isinstance(bounds, str) else bounds
        low, high = bound_pair(pair, self.num_actions, demand="be declared, data, or [low, high]")
        return replace(self, low=low.astype(np.float32), high=high.astype(np.float32), own_bounds=True)

    @functools.cached_property
    def scorings(self) -> dict[str, Scoring]:
        """How its episodes are scored, by protocol."""
        return scorings(self.env_spec, self.reference, self.spaces.observations.column_names)

    @property
    def layout(self) -> Layout:
        """The columns that it has when converted."""
        return Layout(self.observations.categories, self.num_actions, self.actions.single, self.discrete)

    @property
    def horizon(self) -> int | None:
        """Steps after which the environment cuts an evaluation off; None where that is not known."""
        return None if self.env_spec is None else self.env_spec.max_episode_steps

    def error(self, episode: int, problem: str, way_out: str | None = None) -> DataError:
        return DataError(f"dataset {self.id!r}, episode {episode}: {problem}; {way_out or self.remedy}")

    @property
    def remedy(self) -> str:
        """How to come by a whole copy of a damaged dataset."""
        return remedy(self.id, self.path.parent)


def bound_pair(bounds: Any, num_actions: int, *, demand: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and the highest action, ``[A]`` each, of ``[low, high]``; a ConfigError for what is none.

    ``demand``: what ``action_bounds`` has to be there, for the message.
    """
    try:
        low, high = (np.broadcast_to(np.asarray(bound, np.float64), (num_actions,)) for bound in bounds)
    except (TypeError, ValueError) as error:
        each = f"each a number or {num_actions} of them"
        raise ConfigError(f"action_bounds must {demand}, {each}, got {bounds!r}") from error
    if not (low <= high).all():
        raise ConfigError(f"action_bounds must have no low above its high, got {bounds!r}")
    return low, high
