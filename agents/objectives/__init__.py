"""Loss modules of our own, with TorchRL's keys and call."""

from agents.faces import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "awac": "AWACLoss",
        "cql": "CQLLoss",
        "dqn": "DQNLoss conservative_gap",
        "dt": "DTLoss",
        "edac": "EDACLoss gradient_similarity",
        "iql": "IQLLoss advantage_weight expectile_loss",
        "rebrac": "ReBRACLoss",
    },
)
