"""Offline reinforcement learning on Minari datasets, built from TorchRL's primitives."""

from agents.environments.headless import (
    gl_backend,  # first: TorchRL imports MuJoCo, which this makes possible in any case
)

# isort: split
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
from agents.algorithms.iql import ExpectileScheduleConfig, ExtractionConfig, IQLConfig
from agents.algorithms.rebrac import ReBRACConfig
from agents.algorithms.registry import ALGORITHMS
from agents.algorithms.sac import SACConfig
from agents.algorithms.td3_bc import TD3BCConfig
from agents.checkpoint import load_policy
from agents.data.dataset import DatasetStatistics, OfflineDataset, load_dataset
from agents.data.inspection import Inspection, inspect_dataset
from agents.data.specs import Specs
from agents.environments.environment import EvaluationEnv
from agents.environments.protocols import Reference
from agents.errors import AgentsError, CheckpointError, ConfigError, DataError, NonFiniteLossError
from agents.evaluation.result import EvalResult
from agents.evaluation.rollouts import evaluate, random_policy
from agents.evaluation.video import record_video
from agents.networks.configs import (
    ActorConfig,
    CategoricalActorConfig,
    DeterministicActorConfig,
    DiffusionActorConfig,
    MLPConfig,
    QValueConfig,
    TransformerConfig,
    ValueConfig,
)
from agents.training.adam import AdamConfig, WarmUpAdamConfig
from agents.training.agent import Agent

__all__ = [
    "ALGORITHMS",
    "AWACConfig",
    "ActorConfig",
    "AdamConfig",
    "Agent",
    "AgentsError",
    "BCConfig",
    "BCTopConfig",
    "CQLConfig",
    "CategoricalActorConfig",
    "CheckpointError",
    "ConfigError",
    "DQNConfig",
    "DTConfig",
    "DataError",
    "DatasetStatistics",
    "DeterministicActorConfig",
    "DiffusionActorConfig",
    "DiffusionBCConfig",
    "DiscreteCQLConfig",
    "DiscreteIQLConfig",
    "EDACConfig",
    "EvalResult",
    "EvaluationEnv",
    "ExpectileScheduleConfig",
    "ExtractionConfig",
    "IQLConfig",
    "Inspection",
    "MLPConfig",
    "NonFiniteLossError",
    "OfflineDataset",
    "QValueConfig",
    "ReBRACConfig",
    "Reference",
    "SACConfig",
    "Specs",
    "TD3BCConfig",
    "TransformerConfig",
    "ValueConfig",
    "WarmUpAdamConfig",
    "evaluate",
    "gl_backend",
    "inspect_dataset",
    "load_dataset",
    "load_policy",
    "random_policy",
    "record_video",
]
