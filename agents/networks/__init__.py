"""Networks as TensorDictModules, built from specs and a small config.

Observations enter raw: the scaling to zero mean and unit variance, where asked for, is part of the network, and so are
the action bounds. A saved policy therefore needs nothing beside its own tensors.
"""

from typing import TYPE_CHECKING

from agents.faces import resolve_lazily

if TYPE_CHECKING:
    from agents.networks.actors import DeterministicActor as DeterministicActor
    from agents.networks.actors import NormalActor as NormalActor
    from agents.networks.actors import TanhNormalActor as TanhNormalActor
    from agents.networks.bounds import default_target_entropy as default_target_entropy
    from agents.networks.configs import ActorConfig as ActorConfig
    from agents.networks.configs import CategoricalActorConfig as CategoricalActorConfig
    from agents.networks.configs import DeterministicActorConfig as DeterministicActorConfig
    from agents.networks.configs import DiffusionActorConfig as DiffusionActorConfig
    from agents.networks.configs import MLPConfig as MLPConfig
    from agents.networks.configs import QValueConfig as QValueConfig
    from agents.networks.configs import TransformerConfig as TransformerConfig
    from agents.networks.configs import ValueConfig as ValueConfig
    from agents.networks.configs import separate_critics as separate_critics
    from agents.networks.critics import ActionValueEnsemble as ActionValueEnsemble
    from agents.networks.critics import QValueEnsemble as QValueEnsemble
    from agents.networks.diffusion import DiffusionActor as DiffusionActor
    from agents.networks.diffusion import diffusion_policy as diffusion_policy
    from agents.networks.factored import FactoredCategorical as FactoredCategorical
    from agents.networks.factored import PartScores as PartScores
    from agents.networks.layers import Dropout as Dropout
    from agents.networks.layers import Normalizer as Normalizer
    from agents.networks.policies import deterministic_policy as deterministic_policy
    from agents.networks.policies import greedy_policy as greedy_policy
    from agents.networks.transformer import return_conditioned_policy as return_conditioned_policy

resolve_lazily(__name__)
