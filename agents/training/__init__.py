"""The update: an agent, its optimizer, what makes it fast, and several agents as one."""

from typing import TYPE_CHECKING

from agents.faces import resolve_lazily

if TYPE_CHECKING:
    from agents.training.adam import AdamConfig as AdamConfig
    from agents.training.adam import WarmUpAdamConfig as WarmUpAdamConfig
    from agents.training.agent import Agent as Agent
    from agents.training.cuda_graphs import GraphedUpdates as GraphedUpdates
    from agents.training.online import OnlineConfig as OnlineConfig
    from agents.training.sampling import Sampling as Sampling
    from agents.training.stack import AgentStack as AgentStack
    from agents.training.transfer import TakeOver as TakeOver
    from agents.training.transfer import take_over as take_over
    from agents.training.transfer import with_networks_of as with_networks_of
    from agents.training.values import critic_values as critic_values

resolve_lazily(__name__)
