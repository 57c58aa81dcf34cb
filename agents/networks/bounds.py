"""Action bounds, as networks hold them, and the kinds of actions that they refuse.

Shapes: ``A`` action.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchrl.data import Bounded, Categorical, MultiCategorical, TensorSpec
from torchrl.data.tensor_specs import ContinuousBox

from agents.data.specs import Specs
from agents.errors import ConfigError


class BoundedNetwork(nn.Module):
    """A network whose actions ``c + h * x`` lie inside bounds; a ConfigError where the data's have none."""

    action_center: Tensor  # c, [A]
    action_half_range: Tensor  # h, [A]

    def __init__(self, specs: Specs) -> None:
        super().__init__()
        if not isinstance(specs.action, Bounded):
            discrete, unbounded = "choose a dataset with such actions", "write finite bounds into its action space"
            raise ConfigError(
                "this algorithm needs continuous actions in a Box, with bounds, the data have "
                f"{type(specs.action).__name__}; {discrete if specs.discrete else unbounded}"
            )
        center, half_range = center_and_half_range(*action_bounds(specs.action))
        self.register_buffer("action_center", center)
        self.register_buffer("action_half_range", half_range)


def action_bounds(action_spec: TensorSpec) -> tuple[Tensor, Tensor]:
    """The lowest and the highest action, ``[A]`` each."""
    space = action_spec.space
    assert isinstance(space, ContinuousBox), f"{action_spec} has no bounds"
    return space.low, space.high


def default_target_entropy(specs: Specs, nats_per_dimension: float = -1.0) -> float:
    """Entropy that SAC steers a policy to unless told otherwise: minus one nat per action dimension.

    Source: arXiv 1812.05905, where actions lie in +-1; for other bounds, the entropy of the same policy there.
    """
    _, half_range = center_and_half_range(*action_bounds(specs.action))
    return (divisor(half_range).log() + nats_per_dimension).sum().item()


def num_action_values(specs: Specs) -> int:
    """How many discrete actions there are, or values of their parts together; a ConfigError for continuous ones."""
    if not isinstance(specs.action, Categorical):
        raise ConfigError(
            f"this algorithm needs discrete actions, the data have {type(specs.action).__name__}; choose a dataset "
            "with such actions"
        )
    return int(specs.action.nvec.sum()) if isinstance(specs.action, MultiCategorical) else specs.action.n


def register_limits(module: nn.Module, action_spec: TensorSpec) -> None:
    """The bounds themselves, to clip actions to: ``action_low`` and ``action_high [A]`` where the parameters are."""
    device = next(module.parameters()).device
    for name, limit in zip(("action_low", "action_high"), action_bounds(action_spec)):
        module.register_buffer(name, limit.to(device))


def center_and_half_range(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """``c, h [A]`` so that ``c + h * x`` with any ``-1 <= x <= 1`` is inside the bounds, in float32 too."""
    center = (high + low) / 2
    half_range = torch.minimum(high - center, center - low)
    outside = (center + half_range > high) | (center - half_range < low)  # by rounding
    return center, torch.where(outside, half_range.nextafter(torch.zeros_like(half_range)), half_range)


def divisor(half_range: Tensor) -> Tensor:
    """The half range, to divide by: 1 where the bounds are equal, as for a joint that is locked."""
    return torch.where(half_range > 0.0, half_range, 1.0)
