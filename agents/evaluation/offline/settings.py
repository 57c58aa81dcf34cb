"""Settings of the estimators: small, so that settings and help need no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from agents.errors import require, require_choice
from agents.networks.configs import MLPConfig
from agents.training.settings import MODES, check_update

ESTIMATORS = ("fqe", "wis", "is", "dr", "model")  # the first is the one to choose policies by
USUAL = ESTIMATORS[:4]  # where none is named
CRITICS = ("auto", "network", "table")
GAMMA = 0.99  # discount of a value where the policy was learned without one, or several with others
FQE_VERSION = 3  # raised when the same data and settings give other numbers: values that are kept are then fitted again


def _network() -> MLPConfig:
    return MLPConfig(hidden_sizes=[128, 128], layer_norm=True, init="default")


@dataclass
class FQEConfig:
    """Fitted Q evaluation: the networks are the same whatever algorithm trained a policy, so that estimates compare."""

    critic: str = "auto"  # network, table (few states, discrete actions: solved exactly), or auto: what fits
    num_members: int = 5  # fits of each policy, each on episodes drawn with replacement, >= 3
    gradient_steps: int | None = None  # updates, >= 1; None: as many as the horizon takes, of 8,000 to 40,000
    batch_size: int = 256  # transitions per update, the same for all fits, >= 1
    target_tau: float = 0.05  # Polyak step of the target networks, in (0, 1]
    qvalue: MLPConfig = field(default_factory=_network)
    lr: float = 1e-3  # of Adam at the first update, > 0; by half a cosine to 0 at the last
    compile: str = "auto"  # of updates: off, trace, inductor, or auto: the last, unless another is clearly faster

    def __post_init__(self) -> None:
        require(self.num_members >= 3, "num_members", "be at least 3", self.num_members)
        require_choice("critic", self.critic, CRITICS)
        for name in ("gradient_steps", "batch_size"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, "be at least 1", value)
        check_update(target_tau=self.target_tau)
        require(0.0 < self.lr < math.inf, "lr", "be positive", self.lr)
        require_choice("compile", self.compile, MODES)


@dataclass
class ModelConfig:
    """A learned model of the environment: an ensemble that predicts the next state and the reward."""

    num_members: int = 5  # fits, each on episodes drawn with replacement, >= 3
    gradient_steps: int = 8_000  # updates, >= 1
    batch_size: int = 256  # transitions per update, >= 1
    network: MLPConfig = field(default_factory=_network)
    lr: float = 1e-3  # of Adam at the first update, > 0; by half a cosine to 0 at the last
    compile: str = "auto"  # of updates: off, trace, inductor, or auto: the last, unless another is clearly faster

    def __post_init__(self) -> None:
        require(self.num_members >= 3, "num_members", "be at least 3", self.num_members)
        for name in ("gradient_steps", "batch_size"):
            require(getattr(self, name) >= 1, name, "be at least 1", getattr(self, name))
        require(0.0 < self.lr < math.inf, "lr", "be positive", self.lr)
        require_choice("compile", self.compile, MODES)
