"""The update: an agent, its optimizer, what makes it fast, and several agents as one."""

from typing import TYPE_CHECKING

from agents.faces import resolve_lazily

if TYPE_CHECKING:
    from agents.training.adam import AdamConfig as AdamConfig
    from agents.training.adam import WarmUpAdamConfig as WarmUpAdamConfig
    from agents.training.agent import Agent as Agent
    from agents.training.cuda_graphs import GraphedUpdates as GraphedUpdates
    from agents.training.sampling import Sampling as Sampling
    from agents.training.stack import AgentStack as AgentStack
    from agents.training.values import critic_values as critic_values

resolve_lazily(__name__)
