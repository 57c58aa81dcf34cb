"""The registry, a line per algorithm: a config class with ``build(specs, *, device) -> Agent`` that knows no run.

Its class attribute ``actions`` says what it learns from: ``continuous`` or ``discrete`` actions.
"""

from __future__ import annotations

import sys
from typing import Any

from agents.algorithms.awac import AWACConfig
from agents.algorithms.bc import BCConfig
from agents.algorithms.bc_top import BCTopConfig
from agents.algorithms.cql import CQLConfig
from agents.algorithms.diffusion_bc import DiffusionBCConfig
from agents.algorithms.discrete_cql import DiscreteCQLConfig
from agents.algorithms.discrete_iql import DiscreteIQLConfig
from agents.algorithms.dqn import DQNConfig
from agents.algorithms.dt import DTConfig
from agents.algorithms.edac import EDACConfig
from agents.algorithms.iql import IQLConfig
from agents.algorithms.rebrac import ReBRACConfig
from agents.algorithms.sac import SACConfig
from agents.algorithms.td3_bc import TD3BCConfig
from agents.data.source import Source
from agents.data.specs import Specs
from agents.errors import ConfigError

ALGORITHMS: dict[str, type] = {
    "awac": AWACConfig,
    "bc": BCConfig,
    "bc_top": BCTopConfig,
    "cql": CQLConfig,
    "diffusion_bc": DiffusionBCConfig,
    "discrete_cql": DiscreteCQLConfig,
    "discrete_iql": DiscreteIQLConfig,
    "dqn": DQNConfig,
    "dt": DTConfig,
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


def check_actions(config: Any, data: Specs | Source) -> None:
    """Refuse data whose actions are of the other kind.

    Raises:
        ConfigError: naming the registered algorithms that learn from such data.
    """
    kind = "discrete" if data.discrete else "continuous"
    if config.actions == kind:
        return
    chosen = next((name for name, known in ALGORITHMS.items() if known is type(config)), type(config).__name__)
    suited = [name for name, known in ALGORITHMS.items() if known.actions == kind]
    raise ConfigError(
        f"{chosen} learns from {config.actions} actions, the data have {kind} ones; choose from {', '.join(suited)}"
    )
