"""Loss modules of our own, with TorchRL's keys and call."""

from agents.objectives.awac import AWACLoss
from agents.objectives.cql import CQLLoss
from agents.objectives.dqn import DQNLoss, conservative_gap
from agents.objectives.dt import DTLoss
from agents.objectives.edac import EDACLoss, gradient_similarity
from agents.objectives.iql import IQLLoss, advantage_weight, expectile_loss
from agents.objectives.rebrac import ReBRACLoss

__all__ = [
    "AWACLoss",
    "CQLLoss",
    "DQNLoss",
    "DTLoss",
    "EDACLoss",
    "IQLLoss",
    "ReBRACLoss",
    "advantage_weight",
    "conservative_gap",
    "expectile_loss",
    "gradient_similarity",
]
