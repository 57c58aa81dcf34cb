"""Estimates of a policy's value from logged data, without an environment, and what says when not to believe them."""

from typing import TYPE_CHECKING

from agents.faces import resolve_lazily

if TYPE_CHECKING:
    from agents.evaluation.offline.behavior import Behavior as Behavior
    from agents.evaluation.offline.behavior import cloned as cloned
    from agents.evaluation.offline.behavior import logged as logged
    from agents.evaluation.offline.behavior import read_behavior as read_behavior
    from agents.evaluation.offline.critics import fit_critics as fit_critics
    from agents.evaluation.offline.doubly_robust import doubly_robust_evaluation as doubly_robust_evaluation
    from agents.evaluation.offline.estimate import Estimate as Estimate
    from agents.evaluation.offline.estimate import Trust as Trust
    from agents.evaluation.offline.estimate import difference as difference
    from agents.evaluation.offline.estimation import Estimates as Estimates
    from agents.evaluation.offline.estimation import estimate_policy as estimate_policy
    from agents.evaluation.offline.fit import Fit as Fit
    from agents.evaluation.offline.fqe import fit_policies as fit_policies
    from agents.evaluation.offline.fqe import fitted_q_evaluation as fitted_q_evaluation
    from agents.evaluation.offline.importance import importance_sampling as importance_sampling
    from agents.evaluation.offline.importance import weighted_importance_sampling as weighted_importance_sampling
    from agents.evaluation.offline.model import Dynamics as Dynamics
    from agents.evaluation.offline.model import fit_model as fit_model
    from agents.evaluation.offline.model import model_evaluation as model_evaluation
    from agents.evaluation.offline.policy import Policy as Policy
    from agents.evaluation.offline.policy import policy_of as policy_of
    from agents.evaluation.offline.settings import FQEConfig as FQEConfig
    from agents.evaluation.offline.settings import ModelConfig as ModelConfig
    from agents.evaluation.offline.support import outside_support as outside_support
    from agents.evaluation.offline.transitions import Transitions as Transitions
    from agents.evaluation.offline.transitions import read_transitions as read_transitions

resolve_lazily(__name__)
