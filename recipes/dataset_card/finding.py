"""A sentence of the verdict, and numbers as it writes them."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Finding:
    """A sentence of the verdict."""

    level: str  # note or warning
    says: str
    computed_from: str
    advice: str | None = None


Findings = Iterator[Finding]
note = functools.partial(Finding, "note")
warning = functools.partial(Finding, "warning")


def counted(count: int, noun: str) -> str:
    """As in 1 episode, 2,000 episodes."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def number(value: float | np.floating) -> str:
    """Four digits that matter."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def percent(share: float | np.floating) -> str:
    """Of a share; it is 100 % of all alone."""
    if 0.995 <= share < 1.0:
        return f"{math.floor(1000 * share) / 10:g} %"
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def indices(mask: np.ndarray) -> list[int]:
    """Where a mask ``[K]`` holds."""
    return np.flatnonzero(mask).tolist()
