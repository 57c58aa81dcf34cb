"""The registry: one line per algorithm. A config class has ``build(specs, *, device) -> Agent`` and nothing that knows a run."""

from __future__ import annotations

from agents.algorithms.bc import BCConfig
from agents.algorithms.iql import IQLConfig

ALGORITHMS: dict[str, type] = {
    "bc": BCConfig,
    "iql": IQLConfig,
}
