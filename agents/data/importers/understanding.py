"""What an import has understood of a log: its columns, episodes, ends, actions and their bounds, for a person to check.

Legend: ``T`` steps of an episode, ``O`` observation, ``A`` action.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from agents.data.importers.columns import Selection
from agents.data.importers.meaning import DROPPED, GIVEN, REPEATED, Episode, require_whole
from agents.data.importers.rows import Array
from agents.data.importers.settings import MeaningConfig
from agents.errors import ConfigError, DataError

MARGIN = 0.05  # of the range of the data's actions, on each side
MOST_CATEGORIES = 256  # whole numbers in a wider range are an amount, and no choice
AT_ENDS = 0.1  # share of the actions at their smallest or largest value: these look like limits
UNEVEN = 1.5  # ratio of the longest step of time to the shortest
FIRST = 3  # rows that are shown


@dataclass
class Extent:
    """The range of the actions, and how often they are at its ends."""

    low: Array  # [A]
    high: Array
    at_low: NDArray[np.int64]
    at_high: NDArray[np.int64]

    @classmethod
    def of(cls, actions: Array) -> Extent:
        low, high = actions.min(0), actions.max(0)
        return cls(low, high, (actions == low).sum(0), (actions == high).sum(0))

    def add(self, other: Extent) -> Extent:
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        at_low = self.at_low * (self.low == low) + other.at_low * (other.low == low)
        at_high = self.at_high * (self.high == high) + other.at_high * (other.high == high)
        return Extent(low, high, at_low, at_high)


@dataclass
class Understanding:
    """What is understood so far; ``add`` an episode after the other."""

    selection: Selection
    config: MeaningConfig
    rule: str  # what cuts rows into episodes
    source: str
    kind: str
    names: Mapping[str, list[str]]  # of the dimensions of observation and action, [O] and [A]; []: they have none
    num_episodes: int = 0
    num_steps: int = 0
    num_dropped: int = 0  # episodes with missing values
    num_empty: int = 0  # without a step
    lengths: tuple[int, int] = (0, 0)
    num_terminated: int = 0
    num_successes: int = 0
    last_observations: Counter[str] = field(default_factory=Counter)
    pace: tuple[float, float] | None = None
    first: list[tuple[Array, Array, Any]] = field(default_factory=list)  # rows: observation, action, reward
    observation: NDArray[Any] | None = None  # an empty one, of the type and shape of all
    action: NDArray[Any] | None = None
    extent: Extent | None = None
    whole: bool = True  # all actions are whole numbers
    example: float | None = None  # of one that is not

    def add(self, episode: Episode | None) -> None:
        """Add an episode, None for one that is left out; a DataError where it is of other width than those before."""
        if episode is None or not episode.num_steps:
            self.num_dropped += episode is None
            self.num_empty += episode is not None
            return
        actions = episode.actions.reshape(episode.num_steps, -1)
        self.observation = self._same("observation", self.observation, episode.observations, episode)
        self.action = self._same("action", self.action, episode.actions, episode)
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
        if episode.pace is not None:
            low, high = self.pace or episode.pace
            self.pace = min(low, episode.pace[0]), max(high, episode.pace[1])
        if not self.first:
            self.first = [*zip(episode.observations[:FIRST], actions, episode.rewards)]

    def _same(self, what: str, known: Array | None, values: Array, episode: Episode) -> Array:
        here = values[:0]
        if known is None:
            return here
        if known.shape[1:] != here.shape[1:]:
            raise DataError(
                f"{episode.place(0)}: {what}s of shape {list(here.shape[1:])}, in the episodes before "
                f"{list(known.shape[1:])}; all have to be alike"
            )
        return known if known.dtype == here.dtype else np.zeros(known.shape, np.result_type(known, here))

    def _require_inside(self, actions: Array, episode: Episode) -> None:
        if (bounds := self._given_bounds(actions.shape[1])) is not None:
            low, high = bounds
            if len(outside := np.argwhere((actions < low) | (actions > high))):
                row, column = map(int, outside[0])
                where, value = episode.place(row), actions[row, column]
                raise ConfigError(
                    f"{where}: action {self.action_name(column)} is {value:g}, outside action_bounds "
                    f"[{low[column]:g}, {high[column]:g}]; give wider ones"
                )

    def _given_bounds(self, num_actions: int) -> tuple[Array, Array] | None:
        if isinstance(self.config.action_bounds, str):
            return None
        try:
            low, high = (np.broadcast_to(np.asarray(b, np.float64), (num_actions,)) for b in self.config.action_bounds)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"action_bounds must be data or [low,high], each a number or {num_actions} of them, got "
                f"{self.config.action_bounds!r}"
            ) from error
        if not (low <= high).all():
            raise ConfigError(f"action_bounds must have no low above its high, got {self.config.action_bounds!r}")
        return low, high

    def action_name(self, index: int) -> str:
        return repr(self.names["action"][index]) if self.names["action"] else str(index)

    @property
    def discrete(self) -> bool:
        """Whether actions are choices."""
        assert self.extent is not None
        few = bool((self.extent.high - self.extent.low < MOST_CATEGORIES).all())
        return self.config.action_kind == "discrete" or (self.config.action_kind == "auto" and self.whole and few)

    @property
    def bounds(self) -> tuple[Array, Array]:
        """Smallest and largest actions that there may be, ``[A]``."""
        assert self.extent is not None
        low, high = self.extent.low.astype(np.float64), self.extent.high.astype(np.float64)
        if (given := self._given_bounds(len(low))) is not None:
            return given
        if self.discrete:
            return low, high
        margin = MARGIN * np.where(high > low, high - low, np.maximum(np.abs(high), 1.0))
        return low - margin, high + margin

    def observation_space(self) -> spaces.Space:
        assert self.observation is not None
        dtype, shape = self.observation.dtype, self.observation.shape[1:]
        if dtype.kind == "f":
            return spaces.Box(-np.inf, np.inf, shape, dtype.type)
        limits = np.iinfo(dtype)
        return spaces.Box(limits.min, limits.max, shape, dtype.type)

    def action_space(self) -> spaces.Space:
        assert self.action is not None
        low, high = self.bounds
        if self.discrete:
            counts, starts = (high - low).astype(np.int64) + 1, low.astype(np.int64)
            if len(low) == 1:
                return spaces.Discrete(int(counts[0]), start=int(starts[0]))
            return spaces.MultiDiscrete(counts, start=starts)
        shape = self.action.shape[1:]
        dtype = self.action.dtype if self.action.dtype.kind == "f" else np.dtype(np.float64)
        return spaces.Box(low.reshape(shape).astype(dtype), high.reshape(shape).astype(dtype), dtype=dtype.type)

    def stored_actions(self, actions: Array) -> Array:
        """Actions as the dataset holds them: indices of a single choice as ``[T]``."""
        if not self.discrete:
            return actions.astype(self.action_space().dtype, copy=False)
        assert self.extent is not None
        return actions.astype(np.int64).reshape((len(actions), -1) if self.extent.low.size > 1 else len(actions))

    def lines(self) -> Iterator[tuple[str, str]]:
        """For a person: what it is, and what is understood."""
        yield "source", f"{self.source}, {self.kind}"
        for use, array in (("observation", self.observation), ("action", self.action)):
            assert array is not None
            names = ", ".join(self.names[use])
            yield f"{use}s", f"{names or f'of shape {[*array.shape[1:]]}'} ({array.dtype})"
        yield "kind of actions", self._kind_in_words()
        yield "rewards", self._rewards_in_words()
        shortest, longest = self.lengths
        steps = f"{shortest:,}" if shortest == longest else f"{shortest:,} to {longest:,}"
        yield "episodes", f"{self.num_episodes:,} of {steps} steps, {self.num_steps:,} in all, by {self.rule}"
        if self.num_dropped or self.num_empty:
            yield "left out", f"{self.num_dropped:,} episodes with missing values, {self.num_empty:,} without a step"
        yield "ends", self._ends_in_words()
        yield "last observation", self._last_in_words()
        if self.pace is not None:
            low, high = self.pace
            uneven = ": irregular, which no algorithm knows of" if high > UNEVEN * low else ""
            yield "time between steps", (f"{low:g} to {high:g}" if high > low else f"{low:g}") + uneven

    def table(self) -> Iterator[list[str]]:
        """The first steps, below a header."""
        yield [name for use in ("observation", "action") for name in self.names[use] or [use]] + ["reward"]
        for observation, action, reward in self.first:
            parts = [
                part if names else [part]
                for part, names in ((observation, self.names["observation"]), (action, self.names["action"]))
            ]
            yield [_short(value) for part in parts for value in part] + [_short(reward)]

    def _kind_in_words(self) -> str:
        low, high = self.bounds
        assert self.extent is not None
        given = not isinstance(self.config.action_bounds, str)
        bounds = ", ".join(f"{least:g} to {most:g}" for least, most in zip(low[:4], high[:4]))
        bounds += ", ..." if len(low) > 4 else ""
        if self.discrete:
            why = "as set" if self.config.action_kind == "discrete" else "all are few whole numbers"
            other = "" if given else " as in the data (action_bounds=[first,last] for more)"
            return f"discrete, since {why}; {bounds}{other}. Else: action_kind=continuous"
        why = "as set" if self.config.action_kind == "continuous" else "whole numbers in a wide range"
        why = f"{self.example:g} is no whole number" if not self.whole else why
        source = "as set" if given else f"the data's and {100 * MARGIN:g} % on each side; action_bounds=[low,high]"
        ends = (self.extent.at_low + self.extent.at_high) / max(self.num_steps, 1)
        ends = np.where(self.extent.low < self.extent.high, ends, 0.0)
        hint = ""
        if not given and (worst := int(ends.argmax())) >= 0 and ends[worst] >= AT_ENDS:
            limits = f"[{self.extent.low[worst]:g},{self.extent.high[worst]:g}]"
            share = f"{100 * ends[worst]:.0f} % of {self.action_name(worst)}"
            hint = f". {share} are {limits[1:-1].replace(',', ' or ')}: if these are limits, action_bounds={limits}"
        return f"continuous, since {why}; bounds {bounds} ({source}){hint}"

    def _rewards_in_words(self) -> str:
        if self.config.reward == "last":
            return f"1 at the end of the {self.num_successes:,} episodes with a success, else 0"
        if self.selection.expression is not None:
            return self.selection.expression.text
        if "reward" in self.selection.single:
            return f"the column {self.selection.single['reward']!r}"
        return "none, all are 0: only cloning can use these data (columns.reward, or reward=last or an expression)"

    def _ends_in_words(self) -> str:
        counts = f"{self.num_terminated:,} terminated, {self.num_episodes - self.num_terminated:,} truncated"
        single = self.selection.single
        if "terminated" in single:
            return f"{counts}, by {single['terminated']!r}"
        other = "truncated" if self.config.end == "terminated" else "terminated"
        says = f"{single['done']!r} does not say which" if "done" in single else "nothing says which"
        return f"{counts}: {says} (end={other}, or columns.terminated)"

    def _last_in_words(self) -> str:
        texts = {
            GIVEN: "given",
            DROPPED: "that of the last row, whose action and reward are left out (last_observation=repeat keeps them)",
            REPEATED: "that of the last row once more"
            + (
                ""
                if self.config.last_observation == "repeat"
                else ", behind a termination, where it counts for nothing"
            ),
        }
        return "; ".join(
            f"in {self.last_observations[how]:,} {texts[how]}" for how in texts if self.last_observations[how]
        )


def _short(value: Any) -> str:
    numbers = np.ravel(value) + 0.0  # which makes one zero of both
    return f"{numbers[0]:g}" if len(numbers) == 1 else f"[{numbers[0]:g}, ...]"
