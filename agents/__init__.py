"""Offline reinforcement learning on Minari datasets, built from TorchRL's primitives."""

from agents.headless import gl_backend  # first: TorchRL imports MuJoCo, which this makes possible in any case

# isort: split
from agents.adam import AdamConfig, WarmUpAdamConfig
from agents.agent import Agent
from agents.algorithms import ALGORITHMS
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
from agents.algorithms.sac import SACConfig
from agents.algorithms.td3_bc import TD3BCConfig
from agents.checkpoint import load_policy
from agents.data import DatasetStatistics, OfflineDataset, Specs, load_dataset
from agents.diffusion import DiffusionActorConfig
from agents.envs import EvaluationEnv, Reference
from agents.errors import AgentsError, CheckpointError, ConfigError, DataError, NonFiniteLossError
from agents.evaluation import EvalResult, evaluate, random_policy, record_video
from agents.inspection import Inspection, inspect_dataset
from agents.networks import (
    ActorConfig,
    CategoricalActorConfig,
    DeterministicActorConfig,
    MLPConfig,
    QValueConfig,
    ValueConfig,
)
from agents.sequences import TransformerConfig

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
