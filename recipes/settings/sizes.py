"""An estimate from below of the memory that a training needs, from its settings alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from agents.errors import require_memory
from recipes.settings.schema import TrainConfig

PER_WEIGHT = 16  # bytes: float32 of the weight, its gradient and Adam's two moments
PER_ACTIVATION = 4  # bytes
PER_TRANSITION = 32  # bytes: of an observation, an action, a reward and what comes next, one number each at least


def require_room(config: TrainConfig) -> None:
    """Refuse sizes that this machine cannot hold, with a ConfigError that names the setting."""
    num_steps = getattr(config.algorithm, "context_length", 1)  # a batch is of transitions, or of windows of so many
    batch = PER_TRANSITION * config.batch_size
    require_memory(batch, "batch_size", config.batch_size)
    require_memory(batch * num_steps, "algorithm.context_length", f"{num_steps} with batch_size={config.batch_size}")
    for name, network in networks(config.algorithm, "algorithm"):
        weights = PER_WEIGHT * network.num_weights
        require_memory(weights, name, f"{network.num_weights:,} weights")
        rows = PER_ACTIVATION * network.num_activations * config.batch_size * num_steps
        require_memory(weights + rows, "batch_size", f"{config.batch_size} with {name}")


def networks(config: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The networks in an algorithm's config that know their size, by the name of their setting."""
    if hasattr(config, "num_weights") and hasattr(config, "num_activations"):
        yield name, config
    if is_dataclass(config):
        for entry in fields(config):
            yield from networks(getattr(config, entry.name), f"{name}.{entry.name}")
