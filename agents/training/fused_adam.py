"""Adam's step as one kernel for each group of parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from agents.errors import ConfigError, one_line
from agents.training.adam import AdamConfig
from agents.training.torch_optimizers import make_optimizer

MOMENTS = ("exp_avg", "exp_avg_sq")  # of a parameter, in torch's words
# a number would be made a tensor once more for each parameter: on a CPU, counting steps is no fused kernel
ONE = torch.ones((), device="cpu")
kernels: Any = torch  # its annotations know neither these kernels nor a rate that is a tensor


class FusedAdam(torch.optim.Optimizer):
    r"""Adam (Kingma and Ba 2015, arXiv 1412.6980) with betas 0.9 and 0.999 and epsilon 1e-8.

    A weight decay is AdamW's (Loshchilov and Hutter 2017, arXiv 1711.05101): no part of the gradient, whose square
    root of the second moment would divide it.

    The kernel is that of ``torch.optim.AdamW(fused=True)``, and so are the results. On small networks the bookkeeping
    around it takes that class as long as the kernel, so gradients and rates are arguments here and stored nowhere.

    A group with a ``torch_optimizer`` is left to that. To others this is an optimizer like any of torch's: a scheduler
    changes ``lr`` of its ``param_groups``, which scales the rates of a config's schedule, and :meth:`step` takes the
    gradients that a ``backward()`` left.

    Attributes:
        state: of each parameter that has taken a step: ``step``, ``exp_avg`` and ``exp_avg_sq``, as in torch.
    """

    def __init__(self, groups: Sequence[tuple[Sequence[nn.Parameter], AdamConfig]]) -> None:
        described = [
            {"params": [*parameters], "lr": config.lr, "weight_decay": config.weight_decay}
            for parameters, config in groups
        ]
        super().__init__(described, {"betas": (0.9, 0.999), "eps": 1e-8})
        self.others = [make_optimizer(parameters, config) for parameters, config in groups]
        for other in self.others:
            if other is not None:
                self.state.update(other.state)
        self._share_state()
        self._weight_decays = [config.weight_decay for _, config in groups]
        self._rates = [config.lr for _, config in groups]
        self._group_of = {parameter: i for i, (parameters, _) in enumerate(groups) for parameter in parameters}

    def _share_state(self) -> None:
        """One state for all groups, whichever optimizer they have."""
        for other in self.others:
            if other is not None:
                other.state = self.state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # which load_state_dict calls, too
        self._share_state()

    @property
    def scales(self) -> list[float]:
        """What a scheduler has made of each group's rate, as a share of it."""
        return [group["lr"] / rate for group, rate in zip(self.param_groups, self._rates)]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step by the gradients in ``parameter.grad``, at the rates of ``param_groups``."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        self.apply(parameters, [p.grad for p in parameters], [group["lr"] for group in self.param_groups])
        return loss

    @torch.no_grad()
    def apply(
        self, parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None], rates: Sequence[float | Tensor]
    ) -> None:
        """One step of those of the parameters that have a gradient, at the ``rates`` of all groups."""
        self._opt_called = True  # a scheduler of torch's warns without
        chosen: list[list[tuple[nn.Parameter, Tensor]]] = [[] for _ in rates]
        for parameter, gradient in zip(parameters, gradients):
            if gradient is not None:
                chosen[self._group_of[parameter]].append((parameter, _laid_out_as(parameter, gradient)))
        for pairs, rate, weight_decay, other in zip(chosen, rates, self._weight_decays, self.others):
            if pairs and other is None:
                self._step_group(pairs, rate, weight_decay)
            elif pairs:
                _step_other(other, pairs, rate)

    def _step_group(self, pairs: list[tuple[nn.Parameter, Tensor]], rate: float | Tensor, weight_decay: float) -> None:
        states = [self.state.get(parameter) or self._begin(parameter) for parameter, _ in pairs]
        steps = [state["step"] for state in states]
        kernels._foreach_add_(steps, ONE if steps[0].is_cpu else 1)
        kernels._fused_adamw_(
            [parameter for parameter, _ in pairs],
            [gradient for _, gradient in pairs],
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
        moments = {name: torch.zeros_like(parameter) for name in MOMENTS}
        return self.state.setdefault(parameter, {"step": step, **moments})


def _step_other(optimizer: Any, pairs: list[tuple[nn.Parameter, Tensor]], rate: float | Tensor) -> None:
    for parameter, gradient in pairs:
        parameter.grad = gradient
    optimizer.param_groups[0]["lr"] = rate
    try:
        optimizer.step()
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:  # arguments that only a step refuses
        raise ConfigError(f"torch_optimizer {type(optimizer).__name__}: {one_line(error)}") from error
    optimizer.zero_grad()  # those of the loss are its own


def _laid_out_as(parameter: nn.Parameter, gradient: Tensor) -> Tensor:
    """The gradient in the memory layout of its parameter; the kernel reads both in the order of memory."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
