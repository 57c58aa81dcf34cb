"""The requests of a policy server, counted: for its metrics, and so that none takes more than its share."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.deployment.contract import Contract

RECENT = 10_000  # actions that quantiles and shares are of


class Allowance:
    """So many requests a second of one client, and as many at once."""

    def __init__(self, rate: float) -> None:
        self._rate, self._left, self._since = rate, rate, time.monotonic()

    def take(self) -> bool:
        """Whether there is one more."""
        now = time.monotonic()
        self._left = min(self._rate, self._left + (now - self._since) * self._rate)
        self._since = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Traffic:
    """What a server did since it began, as Prometheus reads it."""

    def __init__(self, contract: Contract) -> None:
        self.actions = self.errors = self.sessions = 0
        self._seconds: deque[float] = deque(maxlen=RECENT)
        self._outside: deque[bool] = deque(maxlen=RECENT)
        parts = contract.observations
        self._ranges = {part.name: (_flat(part.low, np.float32), _flat(part.high, np.float32)) for part in parts}

    def add(self, seconds: float, arrays: dict[str, NDArray[Any]]) -> None:
        """An action that took so long, at an observation of one row."""
        self.actions += 1
        self._seconds.append(seconds)
        self._outside.append(any(self._is_outside(name, array) for name, array in arrays.items()))

    def _is_outside(self, name: str, array: NDArray[Any]) -> bool:
        low, high = self._ranges[name]
        values = array.reshape(-1)
        return bool(((values < low) | (values > high)).any())

    def text(self) -> str:
        """A line for each metric."""
        p50, p99 = np.quantile(self._seconds, (0.5, 0.99)).tolist() if self._seconds else (0.0, 0.0)
        values = {
            "actions_total": self.actions,
            "errors_total": self.errors,
            "sessions": self.sessions,
            'latency_seconds{quantile="0.5"}': p50,
            'latency_seconds{quantile="0.99"}': p99,
            "outside_data_share": float(np.mean(self._outside)) if self._outside else 0.0,
        }
        return "".join(f"offline_agents_{name} {value:.9g}\n" for name, value in values.items())


def _flat(values: Any, dtype: Any) -> NDArray[Any]:
    return np.array(values, dtype).reshape(-1)
