"""Offline reinforcement learning on Minari datasets, built from TorchRL's primitives."""

from agents.agent import AdamConfig, Agent
from agents.algorithms import ALGORITHMS
from agents.algorithms.bc import BCConfig
from agents.algorithms.cql import CQLConfig
from agents.algorithms.edac import EDACConfig
from agents.algorithms.iql import IQLConfig
from agents.algorithms.sac import SACConfig
from agents.algorithms.td3_bc import TD3BCConfig
from agents.checkpoint import load_policy
from agents.data import DatasetStatistics, OfflineDataset, Specs, load_dataset
from agents.envs import EvaluationEnv, Reference
from agents.errors import AgentsError, CheckpointError, ConfigError, DataError, NonFiniteLossError
from agents.evaluation import EvalResult, evaluate, random_policy, record_video
from agents.networks import ActorConfig, DeterministicActorConfig, MLPConfig, QValueConfig, ValueConfig

__all__ = [
    "ALGORITHMS",
    "ActorConfig",
    "AdamConfig",
    "Agent",
    "AgentsError",
    "BCConfig",
    "CQLConfig",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DatasetStatistics",
    "DeterministicActorConfig",
    "EDACConfig",
    "EvalResult",
    "EvaluationEnv",
    "IQLConfig",
    "MLPConfig",
    "NonFiniteLossError",
    "OfflineDataset",
    "QValueConfig",
    "Reference",
    "SACConfig",
    "Specs",
    "TD3BCConfig",
    "ValueConfig",
    "evaluate",
    "load_dataset",
    "load_policy",
    "random_policy",
    "record_video",
]
