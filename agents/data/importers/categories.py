"""Columns of words: each word is a number, by the order in which it comes first in the log."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from agents.data.importers.rows import Array, Rows
from agents.data.importers.settings import MeaningConfig
from agents.errors import ConfigError, DataError

MOST_WORDS = 1000  # of a category


def no_words_yet(
    columns: Sequence[str], vectors: Mapping[str, Sequence[str]], meaning: MeaningConfig
) -> dict[str, dict[str, int]]:
    """The words of each category, none yet; a next observation has those of its observation.

    Raises:
        ConfigError: a column has no other use, or actions are categories and something else.
    """
    words: dict[str, dict[str, int]] = {column: {} for column in columns}
    if stray := [column for column in columns if not any(column in chosen for chosen in vectors.values())]:
        raise ConfigError(f"columns.category: {stray[0]!r} is neither an observation nor an action; name it as one too")
    actions = [column in words for column in vectors["action"]]
    if any(actions) and not all(actions):
        number = vectors["action"][actions.index(False)]
        raise ConfigError(f"actions are all categories or none: {number!r} is none; name it in columns.category too")
    if any(actions) and (meaning.action_kind == "continuous" or not isinstance(meaning.action_bounds, str)):
        raise ConfigError("actions are names, by columns.category: they have no action_bounds, and are not continuous")
    for column, following in zip(vectors["observation"], vectors.get("next_observation", ())):
        if column in words:
            words[following] = words[column]
    return words


def in_order(words: Iterable[str]) -> list[str]:
    """By the alphabet; where all are numbers, by their size."""
    try:
        sizes = {word: float(word) for word in words}
    except ValueError:
        return sorted(words)
    return sorted(words, key=lambda word: (math.isnan(sizes[word]), sizes[word], word))


def read_words(rows: Rows, column: str, words: dict[str, int]) -> Array:
    """Numbers of words, which are added when they come for the first time; of none NaN."""
    values = rows.columns[column]
    if values.ndim > 1:
        raise DataError(f"{rows.file}: the category {column!r} has several values in a row")
    texts = ["" if value is None or value != value else str(value) for value in values.tolist()]
    codes = np.array([words.setdefault(text, len(words)) if text else np.nan for text in texts], np.float32)
    if len(words) > MOST_WORDS:
        problem = f"the category {column!r} has more than {MOST_WORDS} different values"
        raise DataError(f"{rows.file}: {problem}; numbers and names of single things are none: leave it out")
    return codes
