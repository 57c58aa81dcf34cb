"""Loss modules of our own, with TorchRL's keys and call."""

from agents.objectives.awac import AWACLoss
from agents.objectives.iql import IQLLoss, advantage_weight, expectile_loss
from agents.objectives.rebrac import ReBRACLoss

__all__ = ["AWACLoss", "IQLLoss", "ReBRACLoss", "advantage_weight", "expectile_loss"]
