"""The registry, a line per algorithm: a config class with ``build(specs, *, device) -> Agent`` that knows no run."""

from __future__ import annotations

import sys

from agents.algorithms.awac import AWACConfig
from agents.algorithms.bc import BCConfig
from agents.algorithms.bc_top import BCTopConfig
from agents.algorithms.cql import CQLConfig
from agents.algorithms.edac import EDACConfig
from agents.algorithms.iql import IQLConfig
from agents.algorithms.rebrac import ReBRACConfig
from agents.algorithms.sac import SACConfig
from agents.algorithms.td3_bc import TD3BCConfig
from agents.errors import ConfigError

ALGORITHMS: dict[str, type] = {
    "awac": AWACConfig,
    "bc": BCConfig,
    "bc_top": BCTopConfig,
    "cql": CQLConfig,
    "edac": EDACConfig,
    "iql": IQLConfig,
    "rebrac": ReBRACConfig,
    "sac": SACConfig,
    "td3_bc": TD3BCConfig,
}


def tuned(algorithm: str, dataset_id: str) -> dict[str, float]:
    """Settings of an algorithm that a paper tuned for one dataset: an entry of ``TUNED`` in the algorithm's file.

    Raises:
        ConfigError: if the table has no entry for the dataset.
    """
    table = sys.modules[ALGORITHMS[algorithm].__module__].TUNED
    if dataset_id not in table:
        raise ConfigError(f"no tuned settings for {dataset_id!r}; there are some for {', '.join(table)}")
    return table[dataset_id]
