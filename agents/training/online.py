"""How learning goes on where the policy acts: the settings that the source of each algorithm has for it; no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from agents.errors import require


@dataclass(frozen=True)
class OnlineConfig:
    """What is collected and drawn online; the losses' own settings are those of ``AlgorithmConfig.going_online``."""

    offline_share: float | None = None  # of a batch, from the data, in [0, 1]; None: data and experience are one buffer
    updates_per_step: float = 1.0  # gradient steps for each step of the environment, > 0
    num_random_steps: int = 0  # of an agent from scratch, uniformly random ones before the first update, >= 0
    num_warm_up_steps: int = 0  # of the policy as it is, before the first update, >= 0
    noise: float | None = None  # standard deviation in half action ranges, >= 0; None: the actor's own distribution
    random_share: float = 0.0  # of the steps that are uniformly random, where actions are indices, in [0, 1]
    whole_episodes: bool = False  # experience is drawn from episodes that have ended only
    keep_moments: bool = True  # of the optimizer, from the offline updates

    def __post_init__(self) -> None:
        share = self.offline_share
        require(share is None or 0.0 <= share <= 1.0, "offline_share", "lie in [0, 1] or be null", share)
        require(0.0 < self.updates_per_step < math.inf, "updates_per_step", "be positive", self.updates_per_step)
        for name in ("num_random_steps", "num_warm_up_steps"):
            require(getattr(self, name) >= 0, name, "be at least 0", getattr(self, name))
        usable = self.noise is None or 0.0 <= self.noise < math.inf
        require(usable, "noise", "be at least 0 or null", self.noise)
        require(0.0 <= self.random_share <= 1.0, "random_share", "lie in [0, 1]", self.random_share)
