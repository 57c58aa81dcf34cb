"""Loss modules of our own, with TorchRL's keys and call."""

from agents.objectives.cql import CQLLoss
from agents.objectives.edac import EDACLoss, gradient_similarity
from agents.objectives.iql import IQLLoss, advantage_weight, expectile_loss

__all__ = ["CQLLoss", "EDACLoss", "IQLLoss", "advantage_weight", "expectile_loss", "gradient_similarity"]
