"""Loss modules of our own, with TorchRL's keys and call. Their losses use the parameters from before the update."""

from typing import TYPE_CHECKING

from agents.faces import resolve_lazily

if TYPE_CHECKING:
    from agents.objectives.awac import AWACLoss as AWACLoss
    from agents.objectives.cal_ql import CalQLLoss as CalQLLoss
    from agents.objectives.cql import CQLLoss as CQLLoss
    from agents.objectives.dqn import DQNLoss as DQNLoss
    from agents.objectives.dqn import conservative_gap as conservative_gap
    from agents.objectives.dt import DTLoss as DTLoss
    from agents.objectives.edac import EDACLoss as EDACLoss
    from agents.objectives.edac import gradient_similarity as gradient_similarity
    from agents.objectives.fqe import DiscreteFQELoss as DiscreteFQELoss
    from agents.objectives.fqe import FQELoss as FQELoss
    from agents.objectives.iql import IQLLoss as IQLLoss
    from agents.objectives.iql import expectile_loss as expectile_loss
    from agents.objectives.rebrac import ReBRACLoss as ReBRACLoss
    from agents.objectives.redq import REDQLoss as REDQLoss
    from agents.objectives.weighting import AdvantageScale as AdvantageScale
    from agents.objectives.weighting import advantage_weight as advantage_weight

resolve_lazily(__name__)
