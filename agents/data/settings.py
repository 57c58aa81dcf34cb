"""Settings of the data that a learner gets; nothing here loads torch or NumPy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from agents.errors import ConfigError, require

SCALES = ("return_range", "std")


@dataclass
class RewardsConfig:
    """Rewards as a learner gets them, ``scale * reward + shift``; whatever is logged as a return is in the data's unit.

    ``return_range`` is what IQL's official code does on locomotion; it subtracts 1 on AntMaze.
    """

    scale: Any = 1.0  # > 0, or return_range: 1000 / (largest - smallest return), or std: 1 / that of rewards
    shift: float = 0.0  # added after scaling: -1 where an episode ends at its goal, so that steps cost

    def __post_init__(self) -> None:
        if not isinstance(self.scale, (int, float)) or isinstance(self.scale, bool):
            if self.scale not in SCALES:
                raise ConfigError(f"rewards.scale must be a number, {' or '.join(SCALES)}, got {self.scale!r}")
        else:
            require(0.0 < self.scale < math.inf, "rewards.scale", "be positive", self.scale)
        require(math.isfinite(self.shift), "rewards.shift", "be finite", self.shift)
