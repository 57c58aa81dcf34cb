"""The rows of an episode -> the episode: its last observation, what ends it, missing values, rewards.

Legend: ``R`` rows, ``T`` steps, ``O`` observation, ``A`` action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from agents.data.importers.columns import INFOS, PICTURES, Selection
from agents.data.importers.resampling import resample
from agents.data.importers.rows import Array
from agents.data.importers.settings import MeaningConfig
from agents.data.importers.splitting import ENDS, Recording, differences, seconds
from agents.data.importers.values import FLAGS
from agents.data.infos import ACTION_PROBABILITY
from agents.errors import ConfigError, DataError

GIVEN, BARE, DROPPED, REPEATED = "given", "bare", "dropped", "repeated"
FILL = "missing=drop-episode leaves such episodes out, missing=forward-fill takes the value before"


@dataclass(frozen=True)
class Episode:
    """An episode as it is written."""

    observations: Array  # [T + 1, O]
    actions: Array  # [T, A], or [T]
    rewards: Array  # [T]
    terminated: bool  # behind the last step; else it is truncated there
    success: NDArray[np.bool_] | None  # [T]
    last_observation: str  # whether it is given, of a step that is dropped or has nothing else, or repeated
    pace: tuple[float, float] | None  # smallest and largest difference of its times
    place: Callable[[int], str]  # where a person finds a step
    infos: Mapping[str, Array] = field(default_factory=dict)  # [T, ...] each: what is kept beside them
    pictures: Mapping[str, Array] = field(default_factory=dict)  # by column [T + 1], [T] where the last is repeated
    only_reward_lost: bool = False  # the step that is dropped has earned all that its episode has

    @property
    def num_steps(self) -> int:
        return len(self.rewards)


@dataclass(frozen=True)
class Meaning:
    """What rows mean, by what the log says and by the settings."""

    selection: Selection
    config: MeaningConfig

    def episode(self, recording: Recording) -> Episode | None:
        """The episode; None: values are missing in it, and it is to be left out.

        Raises:
            DataError: what is missing or contradicts.
        """
        pace = _pace(recording)
        if self.config.time_step is not None:
            recording = resample(self._with_known(recording), self.config.time_step)
        parts = dict(recording.parts)
        num_rows = len(parts["action"])
        observations, last = self._observations(recording)
        if last in (GIVEN, BARE) and len(observations) == num_rows:  # its row says nothing else
            num_rows -= 1
            parts = _shorten(parts, num_rows)
        filled = self._fill(recording, {"observation": observations, "action": parts["action"]})
        if filled is None:
            return None
        observations, actions = filled["observation"], filled["action"]
        terminated = self._terminated(recording, parts, num_rows)
        if last not in (GIVEN, BARE):
            drop = self.config.last_observation == "drop" and not terminated
            last = DROPPED if drop else REPEATED
            if not drop:
                observations = np.concatenate([observations, observations[-1:]])
        num_steps = len(observations) - 1
        parts = _shorten(parts, num_steps)
        rewards = self._rewards(recording, parts, num_steps)
        if rewards is None:
            return None
        densities = self.config.action_kind == "continuous" or bool((actions % 1).any())
        infos = _infos(recording, parts, num_steps, most=np.inf if densities else 1)
        success = parts.get("success")
        return Episode(
            observations,
            actions[:num_steps],
            rewards,
            terminated,
            success,
            last,
            pace,
            recording.place,
            infos,
            self._pictures(recording, num_steps + (last != REPEATED)),
            last in (DROPPED, BARE)
            and not rewards.any()
            and bool(recording.parts.get("reward", rewards)[num_steps:].any()),
        )

    def _with_known(self, recording: Recording) -> Recording:
        """The rows with what was known at each, since those between even times go; an empty last action stays."""
        if self.config.missing != "forward-fill":
            return recording
        parts = dict(recording.parts)
        for use in ("observation", "action"):
            if parts[use].dtype.kind == "f":
                filled = _forward_fill(parts[use].reshape(len(parts[use]), -1)).reshape(parts[use].shape)
                bare = use == "action" and np.isnan(parts[use][-1]).all()
                parts[use] = np.concatenate([filled[:-1], parts[use][-1:]]) if bare else filled
        return replace(recording, parts=parts)

    def _observations(self, recording: Recording) -> tuple[Array, str]:
        """All that are recorded, and whether the last one is among them."""
        parts = recording.parts
        observations, num_rows = parts["observation"], len(parts["action"])
        if len(observations) == num_rows + 1:
            return observations, GIVEN
        if len(observations) != num_rows:
            raise DataError(
                f"{recording.place(0)}: {len(observations)} observations for {num_rows} actions; an episode has as "
                "many, or one more"
            )
        if "next_observation" in parts:
            following = parts["next_observation"]
            if recording.blocks[0].rows.whole and len(other := differences(following[:-1], observations[1:])):
                raise DataError(
                    f"{recording.place(int(other[0]))}: its next observation is not the observation of the step after; "
                    "an episode's steps follow each other: cut it there, or leave out columns.next_observation"
                )
            return np.concatenate([observations, following[-1:]]), GIVEN
        if num_rows > 1 and parts["action"].dtype.kind == "f" and np.isnan(parts["action"][-1]).all():
            return observations, GIVEN
        if num_rows > 1 and recording.blocks[-1].rows.ends_bare and self.config.last_observation == "drop":
            return observations, BARE
        return observations, ""

    def _pictures(self, recording: Recording, count: int) -> dict[str, Array]:
        """Of each column, one for each observation that is recorded."""
        pictures = {name: recording.parts[f"{PICTURES}/{name}"] for name in self.selection.pictures}
        if short := next((name for name, each in pictures.items() if len(each) < count), None):
            raise DataError(
                f"{recording.place(0)}: {len(pictures[short])} pictures {short!r}, where {count} are needed"
            )
        return {name: each[:count] for name, each in pictures.items()}

    def _fill(self, recording: Recording, parts: dict[str, Array]) -> dict[str, Array] | None:
        """Without missing values, as the settings say; None: the episode is to be left out."""
        for use, part in parts.items():
            if part.dtype.kind != "f" or np.isfinite(part).all():
                continue
            rows = part.reshape(len(part), -1)
            if self.config.missing == "forward-fill":
                rows = _forward_fill(rows)
                parts[use] = rows.reshape(part.shape)
            broken = np.argwhere(~np.isfinite(rows))
            if len(broken) and self.config.missing == "drop-episode" and not np.isinf(rows).any():
                return None
            if len(broken):
                row, column = broken[0]
                value = "missing" if np.isnan(rows[row, column]) else f"{rows[row, column]}"
                names = self.selection.vectors[use]
                name = names[column] if len(names) == rows.shape[1] else f"{', '.join(names)}, {column}"
                way_out = FILL if value == "missing" else "leave its row out, or write a number"
                if self.config.missing == "forward-fill" and value == "missing":
                    way_out = "there is none before it in its episode to fill in: missing=drop-episode leaves it out"
                raise DataError(f"{recording.place(int(row))}: {use} {name!r} is {value}; {way_out}")
        return parts

    def _terminated(self, recording: Recording, parts: dict[str, Array], num_rows: int) -> bool:
        """Whether the task was over at the end."""
        for use in ENDS:
            if use in parts and parts[use][: num_rows - 1].any():
                raise DataError(
                    f"{recording.place(int(parts[use].argmax()))} is flagged as {use} by "
                    f"{self.selection.single[use]!r}, but its episode goes on; leave out columns.episode to cut "
                    f"there, or columns.{use}"
                )
        if "terminated" in parts:
            return bool(num_rows and parts["terminated"][-1])
        cut_off = "truncated" in parts and bool(num_rows and parts["truncated"][-1])
        return self.config.end == "terminated" and not cut_off

    def _rewards(self, recording: Recording, parts: dict[str, Array], num_steps: int) -> Array | None:
        if self.config.reward == "last":
            rewards = np.zeros(num_steps)
            rewards[-1:] = parts["success"].any()
            return rewards
        if "reward" not in parts:
            return np.zeros(num_steps)
        rewards = parts["reward"]
        if len(rewards) != num_steps:
            raise DataError(f"{recording.place(0)}: {len(rewards)} rewards for {num_steps} actions")
        if not np.isfinite(rewards).all():
            row = int(np.flatnonzero(~np.isfinite(rewards))[0])
            if self.config.missing == "drop-episode" and np.isnan(rewards[row]):
                return None
            way_out = "missing=drop-episode leaves such episodes out, and no reward is made up"
            if np.isinf(rewards[row]):
                way_out = "rewards have to be finite: correct the column, or the expression, by clip for example"
            value = "missing" if np.isnan(rewards[row]) else f"{rewards[row]}"
            raise DataError(f"{recording.place(row)}: the reward is {value}; {way_out}")
        return rewards


def _infos(recording: Recording, parts: Mapping[str, Array], num_steps: int, *, most: float) -> dict[str, Array]:
    """Of the steps, what is kept as it is, and the probabilities of their actions, of amounts the densities."""
    infos = {use.removeprefix(f"{INFOS}/"): part for use, part in parts.items() if use.startswith(f"{INFOS}/")}
    if ACTION_PROBABILITY in parts:
        infos[ACTION_PROBABILITY] = probabilities = parts[ACTION_PROBABILITY]
        if len(outside := np.flatnonzero(~((probabilities > 0) & (probabilities <= most)))):
            row = int(outside[0])
            raise DataError(
                f"{recording.place(row)}: the probability of the action is {probabilities[row]:g}; what was done had "
                f"one above 0{'' if most > 1 else ' and at most 1'}: correct the column, or leave out "
                f"columns.{ACTION_PROBABILITY}"
            )
    if short := next((name for name, part in infos.items() if len(part) != num_steps), None):
        raise DataError(f"{recording.place(0)}: {len(infos[short])} values of {short!r} for {num_steps} actions")
    return infos


def _shorten(parts: dict[str, Array], num_steps: int) -> dict[str, Array]:
    """The first steps; a flag of the row after them, which is there for its observation, is about the last step."""
    short = {use: part[:num_steps] for use, part in parts.items()}
    for use in FLAGS:
        if num_steps and use in parts and parts[use][num_steps:].any():
            short[use] = short[use] | (np.arange(num_steps) == num_steps - 1)
    return short


def require_whole(actions: Array, place: Callable[[int], str]) -> None:
    """Refuse actions that are no indices, of data that are told to have discrete ones."""
    if actions.dtype.kind == "f" and (broken := np.argwhere(actions % 1)).size:
        value = actions[tuple(broken[0])]
        raise ConfigError(f"action_kind=discrete: {place(int(broken[0][0]))} has the action {value:g}, no whole number")


def _forward_fill(rows: Array) -> Array:
    """Every NaN as the last number above it in its column; those at the top stay."""
    last = np.where(np.isnan(rows), 0, np.arange(len(rows))[:, None])
    return np.take_along_axis(rows, np.maximum.accumulate(last, axis=0), axis=0)


def _pace(recording: Recording) -> tuple[float, float] | None:
    """The smallest and the largest step of time; a DataError where it stands still or goes back."""
    if "time" not in recording.parts:
        return None
    times = recording.parts["time"]
    if len(missing := np.flatnonzero(times != times)):
        raise DataError(f"{recording.place(int(missing[0]))} has no time; write one, or leave out columns.time")
    steps = seconds(np.diff(times))
    if len(broken := np.flatnonzero(~(steps > 0))):
        where = recording.place(int(broken[0]) + 1)
        twice = steps[broken[0]] == 0
        problem = "has the time of the row before" if twice else "is earlier than the row before"
        way_out = "leave out what is there twice" if twice else "sort the rows by time, or set sort=true"
        raise DataError(f"{where} {problem}, in the same episode; {way_out}")
    return (float(steps.min()), float(steps.max())) if len(steps) else None
