"""The registry, a line per algorithm: a config class with ``build(specs, *, device) -> Agent`` that knows no run."""

from __future__ import annotations

from agents.algorithms.bc import BCConfig
from agents.algorithms.cql import CQLConfig
from agents.algorithms.edac import EDACConfig
from agents.algorithms.iql import IQLConfig
from agents.algorithms.sac import SACConfig
from agents.algorithms.td3_bc import TD3BCConfig

ALGORITHMS: dict[str, type] = {
    "bc": BCConfig,
    "cql": CQLConfig,
    "edac": EDACConfig,
    "iql": IQLConfig,
    "sac": SACConfig,
    "td3_bc": TD3BCConfig,
}
