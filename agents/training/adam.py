"""Adam's settings for a group of parameters, schedules among them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from agents.errors import require


@dataclass
class AdamConfig:
    """Adam for one group of parameters."""

    lr: float = 3e-4  # learning rate at the first update, > 0
    decay_steps: int | None = None  # updates to 0, by half a cosine; None: constant
    weight_decay: float = 0.0  # share of a parameter that a step takes away, over the rate: AdamW's, >= 0
    every: int = 1  # a step at every n-th update of the agent, >= 1
    after: int = 0  # updates of the agent before the first step, >= 0
    torch_optimizer: dict[str, Any] = field(default_factory=dict)  # {name: of torch.optim, its arguments}; {}: Adam
    torch_scheduler: dict[str, Any] = field(default_factory=dict)  # the same of torch.optim.lr_scheduler; {}: as above

    def __post_init__(self) -> None:
        require(0.0 < self.lr < math.inf, "lr", "be positive", self.lr)
        counts = self.decay_steps is None or self.decay_steps >= 1
        require(counts, "decay_steps", "be at least 1 or null", self.decay_steps)
        require(0.0 <= self.weight_decay < math.inf, "weight_decay", "be at least 0", self.weight_decay)
        require(self.every >= 1, "every", "be at least 1", self.every)
        require(self.after >= 0, "after", "be at least 0", self.after)
        for setting in ("torch_optimizer", "torch_scheduler"):
            value = getattr(self, setting)
            named = not value or isinstance(value.get("name"), str)
            require(named, setting, "have a name, as in {name: SGD, momentum: 0.9}", value)
        alone = not self.torch_scheduler or self.decay_steps is None
        require(alone, "torch_scheduler", "stand without decay_steps, which is to be null", self.torch_scheduler)

    def due(self, update: int) -> bool:
        """Whether the parameters take a step at an update, counted from 1."""
        return update > self.after and update % self.every == 0

    def lr_at(self, num_updates: int) -> float:
        """Learning rate of the update that follows ``num_updates`` others."""
        if self.decay_steps is None:
            return self.lr
        progress = min(num_updates / self.decay_steps, 1.0)
        return self.lr * 0.5 * (1.0 + math.cos(math.pi * progress))


@dataclass
class WarmUpAdamConfig(AdamConfig):
    """Adam whose learning rate rises to its value in a straight line first."""

    warm_up: int = 10_000  # the update from which on the rate is as above, >= 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.warm_up >= 1, "warm_up", "be at least 1", self.warm_up)

    def lr_at(self, num_updates: int) -> float:
        return super().lr_at(num_updates) * min((num_updates + 1) / self.warm_up, 1.0)
