"""A policy as a graph of tensors: parts of an observation and a memory in, an action as the environment takes it out.

One-hots of categories, the scaling of observations, action bounds, rounding and first indices are inside; so is the
guard. Shapes: ``B`` batch, ``O`` dimensions of an observation as policies see it, ``A`` action.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from agents.data.specs import Specs
from agents.deployment.memory import Core
from agents.environments.spaces import Actions, Part


class PolicyGraph(nn.Module):
    """What is written to a file, with the inputs and outputs of its contract in their order.

    Args:
        low, high: the smallest and the largest of each dimension in the data, ``[O]``, for the guard; None: no guard.
    """

    def __init__(self, core: Core, specs: Specs, *, data_range: tuple[Tensor, Tensor] | None = None) -> None:
        super().__init__()
        self.core = core
        self.takes_reward = core.takes_reward
        self.parts: Sequence[Part] = specs.numbers.observations.parts
        self.actions = ActionLayer(specs)
        self.guard = None if data_range is None else GuardLayer(*data_range)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        values, others = inputs[: len(self.parts)], inputs[len(self.parts) :]
        observation = torch.cat([_dimensions(part, value) for part, value in zip(self.parts, values)], -1)  # [B, O]
        reward, memory = (others[0], others[1:]) if self.takes_reward else (None, others)
        action, memory = self.core(observation, reward, memory)
        outside = () if self.guard is None else (self.guard(observation),)
        return (self.actions(action), *memory, *outside)


class ActionLayer(nn.Module):
    """A policy's action, ``[B, A]`` or indices from 0, as the environment takes it, inside the limits of the specs."""

    starts: Tensor

    def __init__(self, specs: Specs) -> None:
        super().__init__()
        self.actions: Actions = specs.numbers.actions
        self.register_buffer("starts", torch.tensor(self.actions.starts, dtype=torch.int64))
        self.bounds: tuple[Tensor, Tensor] | None = specs.declared_bounds
        self.limits: tuple[Tensor, Tensor] | None = specs.limits

    def forward(self, action: Tensor) -> Tensor:
        shape = self.actions.shape
        if self.actions.categories:
            return (action.reshape(action.shape[0], -1) + self.starts).reshape(action.shape[0], *shape)
        if self.limits is not None:
            action = action.clamp(*self.limits)
        if not self.actions.integer:
            return action.reshape(action.shape[0], *shape)
        rounded = action.round()
        if self.bounds is not None:  # bounds of our own may be no whole numbers
            rounded = rounded.clamp(*self.bounds)
        return rounded.to(torch.int64).reshape(action.shape[0], *shape)


class GuardLayer(nn.Module):
    r"""How far each dimension is outside the range of the data, as a share of that range, ``[B, O] -> [B, O]``.

    .. math:: \max(0, l - x, x - h) / (h - l)

    0 is inside; 1 is as far beyond the data as they are wide. Where all data are equal it is the distance itself, and a
    category that is not in the data has 1.
    """

    low: Tensor  # [O]
    high: Tensor
    width: Tensor

    def __init__(self, low: Tensor, high: Tensor) -> None:
        super().__init__()
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self.register_buffer("width", torch.where(high > low, high - low, 1.0))

    def forward(self, observation: Tensor) -> Tensor:
        beyond = torch.maximum(self.low - observation, observation - self.high).clamp(min=0.0)
        return beyond / self.width


def _dimensions(part: Part, value: Tensor) -> Tensor:
    """A part as policies see it: ``[B, *shape] -> [B, size]``."""
    flat = value.reshape(value.shape[0], part.width)
    if not part.categories:
        return flat
    columns = zip(flat.unbind(-1), part.categories, part.starts)
    one_hots = [(column[:, None] - start == torch.arange(count)).float() for column, count, start in columns]
    return torch.cat(one_hots, -1)
