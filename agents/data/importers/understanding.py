"""What an import has understood of a log, counted episode by episode: its shapes, ends, actions and their bounds.

Legend: ``T`` steps of an episode, ``O`` observation, ``A`` action.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from agents.data.importers.categories import in_order
from agents.data.importers.columns import Selection
from agents.data.importers.extent import Extent
from agents.data.importers.meaning import Episode, require_whole
from agents.data.importers.pictures import part_names, space_of
from agents.data.importers.rows import Array, Log
from agents.data.importers.settings import MeaningConfig
from agents.data.source import bound_pair
from agents.data.units import RATE
from agents.errors import ConfigError, DataError

EVEN = 1.001  # ratio of the longest step of time to the shortest
MARGIN = 0.05  # of the range of the data's actions, on each side
MOST_CATEGORIES = 256  # whole numbers in a wider range are an amount, and no choice
FIRST = 3  # rows that are shown


@dataclass
class Understanding:
    """What is understood so far; ``add`` an episode after the other."""

    selection: Selection
    config: MeaningConfig
    rule: str  # what cuts rows into episodes
    source: str
    headers: Log  # what the format says by itself
    names: Mapping[str, list[str]]  # of the dimensions of observation and action, [O] and [A]; []: they have none
    units: Mapping[str, list[str | None]]  # the same, None: not known
    num_episodes: int = 0
    num_steps: int = 0
    num_dropped: int = 0  # episodes with missing values
    num_empty: int = 0  # without a step
    lengths: tuple[int, int] = (0, 0)
    num_terminated: int = 0
    num_successes: int = 0
    num_rewards_lost: int = 0  # of episodes that earn nothing but in the step that is dropped
    last_observations: Counter[str] = field(default_factory=Counter)
    pace: tuple[float, float] | None = None
    first: list[tuple[Array, Array, Any]] = field(default_factory=list)  # rows: observation, action, reward
    observation: NDArray[Any] | None = None  # an empty one, of the type and shape of all
    action: NDArray[Any] | None = None
    infos: dict[str, NDArray[Any]] = field(default_factory=dict)  # the same of what is kept
    extent: Extent | None = None
    pictures: dict[str, spaces.Box] = field(default_factory=dict)  # by column
    num_picture_bytes: int = 0  # about
    whole: bool = True  # all actions are whole numbers
    example: float | None = None  # of one that is not

    def add(self, episode: Episode | None) -> None:
        """Add an episode, None for one that is left out; a DataError where it is of other width than those before."""
        if episode is None or not episode.num_steps:
            self.num_dropped += episode is None
            self.num_empty += episode is not None
            return
        actions = episode.actions.reshape(episode.num_steps, -1)
        self.observation = self._same("observations", self.observation, episode.observations, episode)
        self.action = self._same("actions", self.action, episode.actions, episode)
        for name, values in episode.infos.items():
            self.infos[name] = self._same(name, self.infos.get(name), values, episode)
        if self.config.action_kind == "discrete":
            require_whole(episode.actions, episode.place)
        self._require_inside(actions, episode)
        extent = Extent.of(actions)
        self.extent = extent if self.extent is None else self.extent.add(extent)
        if self.whole and actions.dtype.kind == "f" and (actions % 1).any():
            self.whole, self.example = False, float(actions[actions % 1 != 0][0])
        shortest, longest = self.lengths if self.num_episodes else (episode.num_steps, 0)
        self.lengths = min(shortest, episode.num_steps), max(longest, episode.num_steps)
        self.num_episodes += 1
        self.num_steps += episode.num_steps
        self.num_terminated += episode.terminated
        self.num_successes += episode.success is not None and bool(episode.success.any())
        self.last_observations[episode.last_observation] += 1
        self.num_rewards_lost += episode.only_reward_lost
        if episode.pace is not None:
            low, high = self.pace or episode.pace
            self.pace = min(low, episode.pace[0]), max(high, episode.pace[1])
        self._add_pictures(episode)
        if not self.first:
            self.first = [*zip(episode.observations[:FIRST], actions, episode.rewards)]

    def _add_pictures(self, episode: Episode) -> None:
        for name, pictures in episode.pictures.items():
            if name not in self.pictures:
                try:
                    self.pictures[name] = space_of(pictures[0])
                except ValueError as error:
                    raise DataError(f"{episode.place(0)}: {name!r} holds no picture ({error}); leave it out") from error
            first = pictures[0]
            self.num_picture_bytes += len(pictures) * (len(first) if isinstance(first, bytes) else first.nbytes)

    def _same(self, what: str, known: Array | None, values: Array, episode: Episode) -> Array:
        here = values[:0]
        if 0 in here.shape[1:]:
            raise DataError(f"{episode.place(0)}: {what} of shape {list(here.shape[1:])} hold nothing; leave them out")
        if known is None:
            return here
        if known.shape[1:] != here.shape[1:]:
            raise DataError(
                f"{episode.place(0)}: {what} of shape {list(here.shape[1:])}, in the episodes before "
                f"{list(known.shape[1:])}; all have to be alike"
            )
        return known if known.dtype == here.dtype else np.zeros(known.shape, np.result_type(known, here))

    def _require_inside(self, actions: Array, episode: Episode) -> None:
        if (bounds := self._given_bounds(actions.shape[1])) is not None:
            dtype = actions.dtype if actions.dtype.kind == "f" else np.float64
            low, high = (bound.astype(dtype) for bound in bounds)
            if len(outside := np.argwhere((actions < low) | (actions > high))):
                row, column = map(int, outside[0])
                where, value = episode.place(row), actions[row, column]
                raise ConfigError(
                    f"{where}: action {self.action_name(column)} is {value:g}, outside action_bounds "
                    f"[{low[column]:g}, {high[column]:g}]; give wider ones"
                )

    def _given_bounds(self, num_actions: int) -> tuple[Array, Array] | None:
        if not self.bounds_are_given:
            return None
        return bound_pair(self.config.action_bounds, num_actions, demand="be data or [low,high]")

    @property
    def rate(self) -> float | None:
        """Steps a second, where the format says them or the times are dates with even steps between them."""
        step, kind = self.config.time_step, self.headers.columns.get(self.selection.single.get("time", ""), "")
        of_format, dated = self.headers.metadata.get(RATE), kind.startswith(("date", "duration", "timestamp"))
        if step is not None:
            return 1 / step if dated or of_format else None
        if not of_format and dated and self.pace is not None and self.pace[1] <= EVEN * self.pace[0]:
            return 1 / self.pace[1]
        return of_format

    def action_name(self, index: int) -> str:
        return repr(self.names["action"][index]) if self.names["action"] else str(index)

    @property
    def bounds_are_given(self) -> bool:
        return not isinstance(self.config.action_bounds, str)

    @property
    def discrete(self) -> bool:
        """Whether actions are choices."""
        assert self.extent is not None
        if self.choices("action"):
            return True
        few = bool((self.extent.high - self.extent.low < MOST_CATEGORIES).all())
        return self.config.action_kind == "discrete" or (self.config.action_kind == "auto" and self.whole and few)

    @property
    def bounds(self) -> tuple[Array, Array]:
        """Smallest and largest actions that there may be, ``[A]``."""
        assert self.extent is not None
        low, high = self.extent.low.astype(np.float64), self.extent.high.astype(np.float64)
        if (given := self._given_bounds(len(low))) is not None:
            return given
        if choices := self.choices("action"):
            return np.zeros(len(low)), np.array([len(words) - 1.0 for words in choices.values()])
        if self.discrete:
            return low, high
        margin = MARGIN * np.where(high > low, high - low, np.maximum(np.abs(high), 1.0))
        return low - margin, high + margin

    @property
    def part_names(self) -> dict[str, str]:
        """Of the parts of an observation that are pictures or categories, by column."""
        return part_names(
            [*self.pictures, *(self.names["observation"][index] for index in self.choices("observation"))]
        )

    def choices(self, use: str) -> dict[int, list[str]]:
        """The words of each dimension of observations or actions that is a category, in their order."""
        words = self.selection.words
        return {index: in_order(words[name]) for index, name in enumerate(self.names[use]) if name in words}

    def observation_space(self) -> spaces.Space:
        """One of parts where there are pictures or categories."""
        if not self.part_names:
            return self._vector_space()
        parts: dict[str, spaces.Space] = {}
        if self.numbers or not self.choices("observation"):
            parts["observation"] = self._vector_space()
        parts |= {self.part_names[column]: space for column, space in self.pictures.items()}
        for index, words in self.choices("observation").items():
            parts[self.part_names[self.names["observation"][index]]] = spaces.Discrete(len(words))
        return spaces.Dict(parts)

    @property
    def numbers(self) -> list[int]:
        """The dimensions of a vector of observations that are no categories."""
        return [index for index in range(len(self.names["observation"])) if index not in self.choices("observation")]

    def _vector_space(self) -> spaces.Box:
        assert self.observation is not None
        dtype, shape = self.observation.dtype, self.observation.shape[1:]
        if self.choices("observation"):
            shape = (len(self.numbers),)
        if dtype.kind == "f":
            return spaces.Box(-np.inf, np.inf, shape, dtype.type)
        limits = np.iinfo(dtype)
        return spaces.Box(limits.min, limits.max, shape, dtype.type)

    def places(self, use: str, index: int, codes: Array) -> NDArray[np.int64]:
        """The words of a category, by the order in which they came, as places in their own order."""
        places = {word: place for place, word in enumerate(self.choices(use)[index])}
        return np.array([places[word] for word in self.selection.words[self.names[use][index]]])[codes.astype(np.int64)]

    def shown(self, name: str, value: Any) -> Any:
        """A value for a person: of a category its word."""
        return [*self.selection.words[name]][int(value)] if name in self.selection.words else value

    def action_space(self) -> spaces.Space:
        assert self.action is not None
        low, high = self.bounds
        if self.discrete:
            counts, starts = (high - low).astype(np.int64) + 1, low.astype(np.int64)
            if len(low) == 1:
                return spaces.Discrete(int(counts[0]), start=int(starts[0]))
            return spaces.MultiDiscrete(counts, start=starts)
        shape, dtype = self.action.shape[1:], self._action_dtype
        return spaces.Box(low.reshape(shape).astype(dtype), high.reshape(shape).astype(dtype), dtype=dtype.type)

    @property
    def _action_dtype(self) -> np.dtype[Any]:
        """Of amounts."""
        assert self.action is not None
        return self.action.dtype if self.action.dtype.kind == "f" else np.dtype(np.float64)

    def stored_actions(self, actions: Array) -> Array:
        """Actions as the dataset holds them: indices of a single choice as ``[T]``."""
        if not self.discrete:
            return actions.astype(self._action_dtype, copy=False)
        assert self.extent is not None
        if self.choices("action"):
            columns = actions.reshape(len(actions), -1)
            actions = np.stack(
                [self.places("action", index, columns[:, index]) for index in range(columns.shape[1])], 1
            )
        return actions.astype(np.int64).reshape((len(actions), -1) if self.extent.low.size > 1 else len(actions))
