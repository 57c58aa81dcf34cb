"""The inspection of an offline dataset in one pass, with one episode in memory; also if it cannot be trained on.

Nothing is converted, clipped or refused but what cannot be read: values that are not finite, and actions outside their
bounds, are counted.

Legend: ``T`` steps of an episode, ``A`` action.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.data import advantages
from agents.data.contents import Actions, Array, Columns, Inspection, NotFinite, Sample
from agents.data.dataset_statistics import SATURATION, Moments, collect, summarise
from agents.data.episodes import Episode, read_episodes, steps_bar
from agents.data.opening import open_source
from agents.data.rows import BOUND_SLACK
from agents.data.source import Source
from agents.errors import DataError

SAMPLE = 20_000  # steps, evenly spaced, that are kept whole for plots


def inspect_dataset(
    dataset_id: str, *, include: Sequence[str] = (), exclude: Sequence[str] = (), progress: bool = True
) -> Inspection:
    """The contents of a Minari dataset: local, built in (``demo/...``), or downloaded.

    Memory is for one episode, about 20 bytes per step, and ``SAMPLE`` whole steps. ``include`` and ``exclude`` choose
    parts of the observations, as in ``load_dataset``; ``progress`` shows a bar on a terminal, for what takes longer
    than two seconds.

    Raises:
        DataError: the dataset is unknown, damaged, of an unsupported kind, or holds no steps.
    """
    source = open_source(dataset_id, include=include, exclude=exclude, progress=progress)
    scan = _Scan(source)
    with steps_bar(source, "inspecting", progress=progress) as bar:
        for index, episode in enumerate(read_episodes(source)):
            scan.add(index, episode)
            bar.update(episode.num_steps)
    return scan.result()


class _Scan:
    """Sums and lists over the episodes of one pass."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.num_steps = self.num_empty = self.early_terminations = self.outside = 0
        self.stride = -(-max(source.num_steps, 1) // SAMPLE)
        self.summaries: list[dict[str, Any]] = []
        self.rewards: list[Array] = []
        self.observation, self.action = Moments(), Moments()
        self.at_low, self.at_high = np.zeros(source.num_actions), np.zeros(source.num_actions)
        self.counts = [np.zeros(count, np.int64) for count in source.actions.categories]
        self.success_key: str | None = None
        self.not_finite: dict[str, NotFinite] = {}
        self.step_digests: list[NDArray[np.uint64]] = []
        self.episode_digests: set[bytes] = set()
        self.starts: set[bytes] = set()
        self.samples: list[tuple[NDArray[Any], ...]] = []  # the fields of Sample, of each episode
        self.checks = [scoring.reward_check() for scoring in source.scorings.values() if scoring.reward_check]

    def add(self, index: int, episode: Episode) -> None:
        if episode.num_steps == 0:
            self.num_empty += 1
            return
        self.success_key = self.success_key or episode.success_key
        observations, rewards = episode.observations, episode.rewards
        actions = episode.actions.reshape(episode.num_steps, -1)  # [T, A]
        for name, values in {"observations": observations, "actions": actions, "rewards": rewards}.items():
            self._count_not_finite(name, values, index)
        self._sample(observations, actions, episode.terminations)
        self._add_actions(actions)
        for moments, values in ((self.observation, observations), (self.action, actions)):
            finite = values[np.isfinite(values).all(1)]
            if len(finite):
                moments.add(finite)
        for check in self.checks:
            check.add(observations, rewards)
        self.rewards.append(rewards.astype(np.float64))
        self.early_terminations += int(np.count_nonzero(episode.terminations[:-1]))
        flags = {"terminated": bool(episode.terminations[-1]), "truncated": bool(episode.truncations[-1])}
        repeats = self._is_repeat(observations, actions, rewards)
        self.summaries.append({**summarise(episode, self.source), **flags, "repeats": repeats})

    def _count_not_finite(self, name: str, values: NDArray[Any], index: int) -> None:
        invalid = ~np.isfinite(values)
        if invalid.any():
            first = self.not_finite.get(name, NotFinite(name, 0, index, int(np.argwhere(invalid)[0, 0])))
            self.not_finite[name] = replace(first, count=first.count + int(invalid.sum()))

    def _add_actions(self, actions: NDArray[Any]) -> None:
        low, high = self.source.low, self.source.high
        extent = np.where(np.isfinite(high - low), high - low, 1.0)
        slack = BOUND_SLACK * extent
        self.outside += int(((actions < low - slack) | (actions > high + slack)).sum())
        for part, counts in enumerate(self.counts):
            inside = actions[:, part][(actions[:, part] >= 0) & (actions[:, part] < len(counts))]
            counts += np.bincount(inside.astype(np.int64), minlength=len(counts))
        if not self.source.discrete:
            free = low < high
            self.at_low += ((actions <= low + SATURATION * extent) & free).sum(0)
            self.at_high += ((actions >= high - SATURATION * extent) & free).sum(0)

    def _counts_by_name(self) -> dict[str, int]:
        """As the environment counts, and of several parts with the part in front, as ``1=0``."""
        actions = self.source.actions
        words = iter(actions.words)
        return {
            next(words, str(start + index))
            if actions.single
            else f"{actions.labels[part] if actions.labels else part}={next(words, start + index)}": int(count)
            for part, (start, counts) in enumerate(zip(actions.starts, self.counts))
            for index, count in enumerate(counts)
        }

    def _is_repeat(self, observations: NDArray[Any], actions: NDArray[Any], rewards: NDArray[Any]) -> bool:
        parts = (observations[:-1], actions, rewards[:, None], observations[1:])
        # a row of bytes per step; adding 0 makes one zero of both
        rows = np.ascontiguousarray(np.concatenate(parts, axis=1, dtype=np.float64) + 0.0)
        digests = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in rows)
        self.step_digests.append(np.frombuffer(digests, np.uint64))
        self.starts.add(hashlib.blake2b(observations[0].tobytes()).digest())
        known = len(self.episode_digests)
        self.episode_digests.add(hashlib.blake2b(digests).digest())
        return len(self.episode_digests) == known

    def _sample(self, observations: NDArray[Any], actions: NDArray[Any], terminations: NDArray[np.bool_]) -> None:
        steps = np.arange(-self.num_steps % self.stride, len(actions), self.stride)
        episodes = np.full(len(steps), len(self.summaries))
        values = (observations[steps], actions[steps], observations[steps + 1], terminations[steps])
        self.samples.append((*values, episodes, self.num_steps + steps))
        self.num_steps += len(actions)

    def result(self) -> Inspection:
        source = self.source
        if not self.summaries:
            raise DataError(f"dataset {source.id!r} holds no steps; {source.remedy}")
        rewards, sample = np.concatenate(self.rewards), Sample(*map(np.concatenate, zip(*self.samples)))
        of_episodes = collect(self.summaries)
        of_actions = source.actions.categories or (None,) * source.num_actions
        return Inspection(
            source=source,
            num_empty=self.num_empty,
            early_terminations=self.early_terminations,
            rewards=rewards,
            observations=_columns(self.observation, source.num_observations),
            actions=Actions(
                discrete=source.discrete,
                low=source.low,
                high=source.high,
                columns=_columns(self.action, source.num_actions),
                at_low=self.at_low / self.num_steps,
                at_high=self.at_high / self.num_steps,
                outside=self.outside,
                counts=self._counts_by_name() if source.discrete else None,
            ),
            not_finite=tuple(self.not_finite.values()),
            num_repeated_steps=self.num_steps - len(np.unique(np.concatenate(self.step_digests))),
            num_starts=len(self.starts),
            success_key=self.success_key,
            remarks=tuple(check.remark() for check in self.checks),
            sample=sample,
            advantages=advantages.estimate(
                sample.observations,
                sample.actions,
                sample.next_observations,
                sample.terminated,
                sample.steps,
                rewards,
                of_episodes["lengths"],
                categories=(source.layout.categories, of_actions),
            ),
            **of_episodes,
        )


def _columns(moments: Moments, number: int) -> Columns:
    if moments.count == 0:
        return Columns(*np.full((4, number), np.nan))
    return Columns(*np.array((moments.min, moments.max, moments.mean, moments.std), np.float64))
