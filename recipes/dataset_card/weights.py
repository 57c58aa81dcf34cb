"""The weights that IQL would give the data's actions, as far as the data alone can tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.algorithms.discrete_iql import DiscreteIQLConfig
from agents.algorithms.iql import IQLConfig
from agents.data.contents import Inspection


@dataclass(frozen=True)
class Weights:
    """Statistics of exp(temperature x advantage), clipped, over the sampled steps."""

    algorithm: str  # with the temperature of its preset
    temperature: float
    size: float  # standard deviation of the estimated advantages, > 0
    effective_sample_size: float  # as a share, as train/effective_sample_size
    clipped: float  # share of all weight that lies on clipped ones

    @property
    def spread(self) -> float:
        """Coefficient of variation."""
        return float(np.sqrt(max(1.0 / self.effective_sample_size - 1.0, 0.0)))

    @property
    def scale(self) -> float:
        """Of rewards with which advantages have about the size of 1 / temperature; one digit."""
        return float(f"{1.0 / (self.temperature * self.size):.1g}")


def expected_weights(inspection: Inspection) -> Weights | None:
    """The weights by settings of the IQL that suits the actions, advantages as they are; None where none matters."""
    discrete = inspection.actions.discrete
    name, config = ("discrete_iql", DiscreteIQLConfig()) if discrete else ("iql_official", IQLConfig())
    advantages, clip = inspection.advantages, config.advantage_clip
    size = float(advantages.std()) if len(advantages) else 0.0
    if not size > 0.0 or clip is None:
        return None
    log_weights = np.minimum(config.temperature * advantages, np.log(clip))
    weights = np.exp(log_weights - log_weights.max())
    share = weights.mean() ** 2 / (weights**2).mean()
    clipped = weights[log_weights >= np.log(clip)].sum() / weights.sum()
    return Weights(name, config.temperature, size, float(share), float(clipped))
