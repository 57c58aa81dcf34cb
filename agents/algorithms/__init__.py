"""The registry, a line per algorithm: a config class with ``build(specs, *, device) -> Agent`` that knows no run."""

from __future__ import annotations

from agents.algorithms.awac import AWACConfig
from agents.algorithms.bc import BCConfig
from agents.algorithms.iql import IQLConfig

ALGORITHMS: dict[str, type] = {
    "awac": AWACConfig,
    "bc": BCConfig,
    "iql": IQLConfig,
}
