"""Adam's settings, and its step as one kernel for each group of parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from agents.errors import require


@dataclass
class AdamConfig:
    """Adam for one group of parameters.

    Raises:
        ConfigError: if a field is outside the range given in its comment.
    """

    lr: float = 3e-4  # learning rate at the first update, > 0
    decay_steps: int | None = None  # updates over which a half cosine takes the rate to 0; None keeps it constant
    weight_decay: float = 0.0  # L2 penalty as Adam has it, >= 0
    every: int = 1  # a step at every n-th update of the agent, >= 1
    after: int = 0  # updates of the agent before the first step, >= 0

    def __post_init__(self) -> None:
        require(0.0 < self.lr < math.inf, "lr", "be positive", self.lr)
        counts = self.decay_steps is None or self.decay_steps >= 1
        require(counts, "decay_steps", "be at least 1 or null", self.decay_steps)
        require(0.0 <= self.weight_decay < math.inf, "weight_decay", "be at least 0", self.weight_decay)
        require(self.every >= 1, "every", "be at least 1", self.every)
        require(self.after >= 0, "after", "be at least 0", self.after)

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
    """Adam whose learning rate rises to its value in a straight line first.

    Raises:
        ConfigError: if a field is outside the range given in its comment.
    """

    warm_up: int = 10_000  # the update from which on the rate is as above, >= 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.warm_up >= 1, "warm_up", "be at least 1", self.warm_up)

    def lr_at(self, num_updates: int) -> float:
        return super().lr_at(num_updates) * min((num_updates + 1) / self.warm_up, 1.0)


class FusedAdam:
    r"""Adam (Kingma and Ba 2015, arXiv 1412.6980) with betas 0.9 and 0.999 and epsilon 1e-8.

    The kernel is that of ``torch.optim.Adam(fused=True)``, and so are the results. On small networks the bookkeeping
    around it takes that class as long as the kernel, so gradients and rates are arguments here and stored nowhere.

    Args:
        groups: parameters and settings; a group has one learning rate.

    Attributes:
        state: of each parameter that has taken a step: ``step``, ``exp_avg`` and ``exp_avg_sq``, as in torch.
    """

    def __init__(self, groups: Sequence[tuple[Sequence[nn.Parameter], AdamConfig]]) -> None:
        self.state: dict[nn.Parameter, dict[str, Tensor]] = {}
        self._weight_decays = [config.weight_decay for _, config in groups]
        self._group_of = {parameter: i for i, (parameters, _) in enumerate(groups) for parameter in parameters}

    @torch.no_grad()
    def step(
        self,
        parameters: Sequence[nn.Parameter],
        gradients: Sequence[Tensor | None],
        rates: Sequence[float | Tensor],
    ) -> None:
        """One step of some parameters.

        Args:
            gradients: of each; a parameter without one stays as it is, and so do its moments.
            rates: learning rate of each group, of all groups.
        """
        chosen: list[list[tuple[nn.Parameter, Tensor]]] = [[] for _ in rates]
        for parameter, gradient in zip(parameters, gradients):
            if gradient is not None:
                chosen[self._group_of[parameter]].append((parameter, _laid_out_as(parameter, gradient)))
        for pairs, rate, weight_decay in zip(chosen, rates, self._weight_decays):
            if pairs:
                self._step_group(*map(list, zip(*pairs)), rate, weight_decay)

    def _step_group(
        self, parameters: list[nn.Parameter], gradients: list[Tensor], rate: float | Tensor, weight_decay: float
    ) -> None:
        states = [self.state.get(parameter) or self._begin(parameter) for parameter in parameters]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        torch._fused_adam_(
            parameters,
            gradients,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            lr=rate,
            beta1=0.9,
            beta2=0.999,
            weight_decay=weight_decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )

    def _begin(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        step = torch.zeros((), device=parameter.device)  # beside the parameter, where the kernel wants it
        moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
        return self.state.setdefault(parameter, {"step": step, **moments})


def _laid_out_as(parameter: nn.Parameter, gradient: Tensor) -> Tensor:
    """The gradient in the memory layout of its parameter; the kernel reads both in the order of memory."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
