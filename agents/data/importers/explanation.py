"""What an import has understood, in words: what it is, why it is guessed so, and the setting that changes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from agents.data.importers.columns import listing
from agents.data.importers.meaning import BARE, DROPPED, GIVEN, REPEATED
from agents.data.importers.rows import Array, Log
from agents.data.importers.understanding import EVEN, MARGIN, Understanding

AT_ENDS = 0.1  # share of the actions at their smallest or largest value: these look like limits
UNEVEN = 1.5  # ratio of the longest step of time to the shortest
MOST_LIMITS = 8  # dimensions whose limits are proposed
SHOWN = 4  # dimensions whose bounds are shown


def explain(log: Understanding) -> Iterator[tuple[str, str]]:
    """Each subject with what is understood of it."""
    yield "source", f"{log.source}, {log.headers.title}"
    yield from log.headers.facts.items()
    if log.headers.subsets:
        yield "subset", _subset(log.headers)
    for use, array in (("observation", log.observation), ("action", log.action)):
        assert array is not None
        pairs = zip(log.names[use], log.units[use])
        names = listing([f"{name} [{unit}]" if unit else name for name, unit in pairs])
        yield f"{use}s", f"{names or f'of shape {[*array.shape[1:]]}'} ({array.dtype})"
    if log.pictures:
        shapes = ", ".join(
            f"{log.part_names[column]} ({' x '.join(map(str, space.shape))})" for column, space in log.pictures.items()
        )
        size = f"up to {log.num_picture_bytes / 1e9:.1g} GB (pictures=drop leaves them out of the dataset too)"
        yield "pictures", f"{shapes}: kept, and left out of training; {size}"
    if choices := log.choices("observation"):
        words = (f"{log.names['observation'][index]} ({listing(each)})" for index, each in choices.items())
        yield "categories", f"{', '.join(words)}: a one-hot of each"
    yield "kind of actions", _discrete(log) if log.discrete else _continuous(log)
    yield "rewards", _rewards(log)
    shortest, longest = log.lengths
    steps = f"{shortest:,}" if shortest == longest else f"{shortest:,} to {longest:,}"
    yield "episodes", f"{log.num_episodes:,} of {steps} steps, {log.num_steps:,} in all, by {log.rule}"
    if log.num_dropped or log.num_empty:
        yield "left out", f"{log.num_dropped:,} episodes with missing values, {log.num_empty:,} without a step"
    yield "ends", _ends(log)
    yield "last observation", _last_observations(log)
    if log.infos:
        yield "kept with the steps", f"{listing([*log.infos])}; not learned from"
    if log.pace is not None:
        low, high = log.pace
        cut = "" if log.config.gap is not None else "; gap=N begins an episode behind a longer time"
        uneven = (
            f": irregular, which no algorithm knows of (time_step=N resamples it{cut})" if high > UNEVEN * low else ""
        )
        if log.config.time_step is not None:
            uneven = f", resampled to {log.config.time_step:g}: the last values before, and sums of rewards"
        yield "time between steps", (f"{low:g} to {high:g}" if high > EVEN * low else f"{high:.4g}") + uneven


def first_steps(log: Understanding) -> Iterator[list[str]]:
    """A table of the first steps, below its header."""
    names = [log.names[use] for use in ("observation", "action")]
    yield [*(names[0] or ["observation"]), *(names[1] or ["action"]), "reward"]
    for *vectors, reward in log.first:
        cells = [
            cell
            for vector, named in zip(vectors, names)
            for cell in (map(log.shown, named, np.ravel(vector)) if named else [vector])
        ]
        yield [_short(cell) for cell in (*cells, reward)]


def _discrete(log: Understanding) -> str:
    if choices := log.choices("action"):
        return f"discrete, since columns.category names them: {'; '.join(listing(words) for words in choices.values())}"
    why = "as set" if log.config.action_kind == "discrete" else "all are few whole numbers"
    as_in_data = "" if log.bounds_are_given else " as in the data (action_bounds=[first,last] for more)"
    return f"discrete, since {why}; {_bounds(log)}{as_in_data}. Else: action_kind=continuous"


def _continuous(log: Understanding) -> str:
    if log.config.action_kind == "continuous":
        why = "as set"
    else:
        why = "whole numbers in a wide range" if log.whole else f"{log.example:g} is no whole number"
    source = f"the data's and {100 * MARGIN:g} % on each side; action_bounds=[low,high]"
    text = f"continuous, since {why}; bounds {_bounds(log)} ({'as set' if log.bounds_are_given else source})"
    extent = log.extent
    assert extent is not None
    at_ends = np.where(extent.low < extent.high, (extent.at_low + extent.at_high) / log.num_steps, 0.0)
    worst = int(at_ends.argmax())
    if log.bounds_are_given or at_ends[worst] < AT_ENDS:
        return text
    low, high = f"{extent.low[worst]:g}", f"{extent.high[worst]:g}"
    share = f"{100 * at_ends[worst]:.0f} % of {log.action_name(worst)} are {low} or {high}"
    return f"{text}. {share}: if these are limits, action_bounds={_as_limits(log, at_ends >= AT_ENDS)}"


def _as_limits(log: Understanding, limits: Array) -> str:
    """A setting by which the ends of some actions are their limits, and those of the others stay."""
    assert log.extent is not None
    pairs = zip((log.extent.low, log.extent.high), log.bounds)
    each = [[f"{value:.6g}" for value in np.where(limits, end, bound)] for end, bound in pairs]
    if len(limits) == 1:
        return f"[{each[0][0]},{each[1][0]}]"
    if len(limits) > MOST_LIMITS:
        return "[[...],[...]] with the low and the high of each"
    return f"[[{','.join(each[0])}],[{','.join(each[1])}]]"


def _bounds(log: Understanding) -> str:
    low, high = log.bounds
    shown = ", ".join(f"{least:g} to {most:g}" for least, most in zip(low[:SHOWN], high[:SHOWN]))
    return shown + (", ..." if len(low) > SHOWN else "")


def _rewards(log: Understanding) -> str:
    if log.config.reward == "last":
        return f"1 at the end of the {log.num_successes:,} episodes with a success, else 0"
    if log.selection.expression is not None:
        return log.selection.expression.text
    if "reward" in log.selection.single:
        return f"the column {log.selection.single['reward']!r}"
    return "none, all are 0: only cloning can use these data (columns.reward, or reward=last or an expression)"


def _ends(log: Understanding) -> str:
    counts = f"{log.num_terminated:,} terminated, {log.num_episodes - log.num_terminated:,} truncated"
    single = log.selection.single
    if "terminated" in single:
        return f"{counts}, by {single['terminated']!r}"
    other = "truncated" if log.config.end == "terminated" else "terminated"
    says = f"{single['done']!r} does not say which" if "done" in single else "nothing says which"
    return f"{counts}: {says} (end={other}, or columns.terminated)"


def _last_observations(log: Understanding) -> str:
    repeated = "that of the last row once more"
    if log.config.last_observation != "repeat":
        repeated += ", behind a termination, where it counts for nothing"
    texts = {
        GIVEN: "given",
        BARE: "that of the last step, whose action and reward mean nothing in this format (last_observation=repeat "
        "keeps them)",
        DROPPED: "that of the last row, whose action and reward are left out (last_observation=repeat keeps them)",
        REPEATED: repeated,
    }
    counts = log.last_observations
    text = "; ".join(f"in {counts[how]:,} {text}" for how, text in texts.items() if counts[how])
    way_out = "last_observation=repeat keeps it" if counts[BARE] else "end=terminated, if the task is over there"
    lost = f". In {log.num_rewards_lost:,} of these it is the only reward: {way_out}"
    return text + (lost if log.num_rewards_lost else "")


def _subset(headers: Log) -> str:
    counts = ", ".join(f"{name} {count:,}" for name, count in headers.subsets.items())
    if headers.subset is not None:
        return f"{headers.subset!r} alone, as set; there are {counts} episodes"
    return f"all episodes; subset=NAME takes some alone: {counts}"


def _short(value: Any) -> str:
    if isinstance(value, str):
        return value
    numbers = np.ravel(value) + 0.0  # which makes one zero of both
    return f"{numbers[0]:g}" if len(numbers) == 1 else f"[{numbers[0]:g}, ...]"
