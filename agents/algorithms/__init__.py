"""The algorithms, one file each, and the registry of their names."""

from typing import TYPE_CHECKING

from agents.faces import resolve_lazily

if TYPE_CHECKING:
    from agents.algorithms.common import AlgorithmConfig as AlgorithmConfig
    from agents.algorithms.common import CloningConfig as CloningConfig
    from agents.algorithms.common import MaxEntropyConfig as MaxEntropyConfig
    from agents.algorithms.common import TDConfig as TDConfig
    from agents.algorithms.registry import ALGORITHMS as ALGORITHMS
    from agents.algorithms.registry import check_actions as check_actions
    from agents.algorithms.registry import tuned as tuned

resolve_lazily(__name__)
