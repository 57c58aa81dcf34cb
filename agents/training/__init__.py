"""The update: an agent, its optimizer, what makes it fast, and several agents as one."""

from typing import TYPE_CHECKING

from agents.faces import resolve_lazily

if TYPE_CHECKING:
    from agents.training.adam import AdamConfig as AdamConfig
    from agents.training.adam import WarmUpAdamConfig as WarmUpAdamConfig
    from agents.training.agent import Agent as Agent
    from agents.training.compilation import Compilation as Compilation
    from agents.training.cuda_graphs import GraphedUpdates as GraphedUpdates
    from agents.training.fused_adam import FusedAdam as FusedAdam
    from agents.training.generators import random_generator as random_generator
    from agents.training.precision import choose_matmul_precision as choose_matmul_precision
    from agents.training.sampling import Sampling as Sampling
    from agents.training.stack import AgentStack as AgentStack
    from agents.training.update_rule import UpdateRule as UpdateRule
    from agents.training.values import critic_values as critic_values

resolve_lazily(__name__)
