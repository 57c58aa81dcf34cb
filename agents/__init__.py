"""Offline reinforcement learning on Minari datasets, built from TorchRL's primitives."""

import os
from typing import TYPE_CHECKING

if "MUJOCO_GL" in os.environ:  # TorchRL imports MuJoCo, which must not fail where that names a broken backend
    from agents.environments.headless import gl_backend as gl_backend

from agents.faces import resolve_lazily

if TYPE_CHECKING:
    from agents.algorithms.awac import AWACConfig as AWACConfig
    from agents.algorithms.bc import BCConfig as BCConfig
    from agents.algorithms.cal_ql import CalQLConfig as CalQLConfig
    from agents.algorithms.common import PenaltyDecayConfig as PenaltyDecayConfig
    from agents.algorithms.cql import CQLConfig as CQLConfig
    from agents.algorithms.diffusion_bc import DiffusionBCConfig as DiffusionBCConfig
    from agents.algorithms.discrete_bc import DiscreteBCConfig as DiscreteBCConfig
    from agents.algorithms.discrete_cql import DiscreteCQLConfig as DiscreteCQLConfig
    from agents.algorithms.discrete_iql import DiscreteIQLConfig as DiscreteIQLConfig
    from agents.algorithms.dt import DTConfig as DTConfig
    from agents.algorithms.edac import EDACConfig as EDACConfig
    from agents.algorithms.iql import ExpectileScheduleConfig as ExpectileScheduleConfig
    from agents.algorithms.iql import ExtractionConfig as ExtractionConfig
    from agents.algorithms.iql import IQLConfig as IQLConfig
    from agents.algorithms.rebrac import ReBRACConfig as ReBRACConfig
    from agents.algorithms.registry import ALGORITHMS as ALGORITHMS
    from agents.algorithms.rlpd import RLPDConfig as RLPDConfig
    from agents.algorithms.sac import SACConfig as SACConfig
    from agents.algorithms.td3_bc import TD3BCConfig as TD3BCConfig
    from agents.algorithms.wsrl import WSRLConfig as WSRLConfig
    from agents.checkpoint import load_policy as load_policy
    from agents.data.contents import Inspection as Inspection
    from agents.data.dataset import OfflineDataset as OfflineDataset
    from agents.data.dataset_statistics import DatasetStatistics as DatasetStatistics
    from agents.data.importers.importing import Import as Import
    from agents.data.importers.importing import import_dataset as import_dataset
    from agents.data.importers.settings import ColumnsConfig as ColumnsConfig
    from agents.data.inspection import inspect_dataset as inspect_dataset
    from agents.data.loading import load_dataset as load_dataset
    from agents.data.settings import RewardsConfig as RewardsConfig
    from agents.data.specs import Specs as Specs
    from agents.environments.environment import EvaluationEnv as EvaluationEnv
    from agents.environments.headless import gl_backend as gl_backend
    from agents.environments.scoring import Reference as Reference
    from agents.errors import AgentsError as AgentsError
    from agents.errors import CheckpointError as CheckpointError
    from agents.errors import ConfigError as ConfigError
    from agents.errors import DataError as DataError
    from agents.errors import NonFiniteLossError as NonFiniteLossError
    from agents.errors import PolicyError as PolicyError
    from agents.errors import WriteError as WriteError
    from agents.evaluation.offline.estimate import Estimate as Estimate
    from agents.evaluation.offline.estimation import Estimates as Estimates
    from agents.evaluation.offline.estimation import estimate_policy as estimate_policy
    from agents.evaluation.offline.fqe import fitted_q_evaluation as fitted_q_evaluation
    from agents.evaluation.offline.policy import Policy as Policy
    from agents.evaluation.offline.policy import policy_of as policy_of
    from agents.evaluation.offline.settings import FQEConfig as FQEConfig
    from agents.evaluation.rollouts import EvalResult as EvalResult
    from agents.evaluation.rollouts import evaluate as evaluate
    from agents.evaluation.rollouts import random_policy as random_policy
    from agents.evaluation.video import record_video as record_video
    from agents.networks.configs import ActorConfig as ActorConfig
    from agents.networks.configs import CategoricalActorConfig as CategoricalActorConfig
    from agents.networks.configs import DeterministicActorConfig as DeterministicActorConfig
    from agents.networks.configs import DiffusionActorConfig as DiffusionActorConfig
    from agents.networks.configs import MLPConfig as MLPConfig
    from agents.networks.configs import QValueConfig as QValueConfig
    from agents.networks.configs import TransformerConfig as TransformerConfig
    from agents.networks.configs import ValueConfig as ValueConfig
    from agents.training.adam import AdamConfig as AdamConfig
    from agents.training.adam import WarmUpAdamConfig as WarmUpAdamConfig
    from agents.training.agent import Agent as Agent

resolve_lazily(__name__)
