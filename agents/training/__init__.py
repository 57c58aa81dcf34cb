"""The update: an agent, its optimizer, what makes it fast, and several agents as one."""

from agents.faces import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "adam": "AdamConfig WarmUpAdamConfig",
        "fused_adam": "FusedAdam",
        "agent": "Agent",
        "stack": "AgentStack",
        "compilation": "Compilation",
        "cuda_graphs": "GraphedUpdates",
        "precision": "choose_matmul_precision",
        "generators": "random_generator",
        "values": "critic_values",
    },
)
