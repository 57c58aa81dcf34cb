"""Networks as TensorDictModules, built from specs and a small config.

Observations enter raw: the scaling to zero mean and unit variance, where asked for, is part of the network, and so are
the action bounds. A saved policy therefore needs nothing beside its own tensors.
"""

from agents.faces import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "configs": (
            "ActorConfig CategoricalActorConfig DeterministicActorConfig DiffusionActorConfig MLPConfig QValueConfig "
            "TransformerConfig ValueConfig"
        ),
        "actors": "DeterministicActor NormalActor TanhNormalActor",
        "critics": "ActionValueEnsemble QValueEnsemble separate_critics",
        "policies": "deterministic_policy greedy_policy sharing_tensors",
        "distributions": "BoundedTanhNormal",
        "layers": "Dropout Normalizer",
        "bounds": "default_target_entropy",
        "transformer": "DecisionTransformer return_conditioned_policy",
        "diffusion": "DiffusionActor diffusion_policy",
        "search": "searching_policy",
    },
)
