"""One gradient step and one step of the targets, for an agent alone and for a stack of them.

Legend: ``S`` agents of a stack, whose losses are ``[S]`` and whose gradients ``[S, ...]``.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor, nn
from torchrl.objectives import LossModule, SoftUpdate

from agents.errors import NonFiniteLossError
from agents.training.adam import AdamConfig
from agents.training.compilation import PRIORITY, Compilation, LossAndGradients, loss_names
from agents.training.fused_adam import FusedAdam
from agents.training.torch_optimizers import Schedule
from agents.training.trace import Gradients

Due = tuple[bool, ...]  # whether a group takes a step, by group


class UpdateRule:
    """Which parameters step at which update, at which rates, and when the targets follow.

    Args:
        groups: parameters and Adam settings by name.
        evaluation: makes the function of a batch for the groups that are due, and their parameters.
        target_net_updater: None where the loss has no targets.
        target_every, max_grad_norm: see :class:`Agent`.
        on_count: called whenever updates have been counted.
    """

    def __init__(
        self,
        groups: Mapping[str, tuple[list[nn.Parameter], AdamConfig]],
        *,
        evaluation: Callable[[Due, list[nn.Parameter]], LossAndGradients],
        target_net_updater: ForeachSoftUpdate | None,
        target_every: int,
        max_grad_norm: float | None,
        on_count: Callable[[], None] = lambda: None,
    ) -> None:
        self.groups = groups
        self.parameters = [parameter for parameters, _ in groups.values() for parameter in parameters]
        self.optimizer = FusedAdam([*groups.values()])
        configs = [config for _, config in groups.values()]
        self._rates = [Schedule(config).rate if config.torch_scheduler else config.lr_at for config in configs]
        self.target_net_updater, self.target_every = target_net_updater, target_every
        self.max_grad_norm = max_grad_norm
        self.num_updates = 0
        self.functions: dict[Due, LossAndGradients] = {}
        self._evaluation, self._on_count = evaluation, on_count

    @property
    def device(self) -> torch.device:
        return self.parameters[0].device

    @property
    def period(self) -> int:
        """Updates after which the pattern of groups and targets that are due comes again."""
        return math.lcm(self.target_every, *(config.every for _, config in self.groups.values()))

    def rates(self, num_updates: int) -> list[float]:
        """Learning rate per group for the update that follows ``num_updates`` others."""
        return [rate(num_updates) * scale for rate, scale in zip(self._rates, self.optimizer.scales)]

    def update(self, batch: TensorDictBase) -> TensorDict:
        """See :meth:`Agent.update` and :meth:`AgentStack.update`."""
        return self.update_at(self.rates(self.num_updates), batch)

    def update_at(self, rates: Sequence[float | Tensor], batch: TensorDictBase) -> TensorDict:
        """:meth:`update` with these learning rates; what a CUDA graph captures, where rates are tensors."""
        step = self.num_updates + 1
        function = self.function(self.due(step))
        losses, gradients = function(batch)
        if (priority := losses.pop(PRIORITY, None)) is not None:
            batch.set(function.priority_key, priority)
        if self.device.type == "cpu":
            check_finite(losses, step=step, batch=batch, names=function.minimised(losses))
        statistics = TensorDict(losses)
        if self.max_grad_norm is not None:
            like = next(iter(losses.values()))
            statistics["grad_norm"], gradients = _clip(gradients, self.max_grad_norm, like)
        self.optimizer.apply(function.parameters, gradients, rates)
        if self.target_net_updater is not None and step % self.target_every == 0:
            self.target_net_updater.step()
        self.count(step)
        return statistics

    def count(self, num_updates: int) -> None:
        """Set the number of updates made."""
        self.num_updates = num_updates
        self._on_count()

    def function(self, due: Due) -> LossAndGradients:
        """The loss, and its gradients by the parameters of the groups that are due."""
        if due not in self.functions:
            parameters = [p for is_due, (group, _) in zip(due, self.groups.values()) if is_due for p in group]
            self.functions[due] = self._evaluation(due, parameters)
        return self.functions[due]

    def compile(self, batch: TensorDictBase, mode: str, *, dtype: torch.dtype) -> Compilation:
        """See :meth:`Agent.compile`; the groups that are due together most decide on the mode for all."""
        first, *others = self._patterns()
        compilation = self.function(first).compile(batch, mode, dtype=dtype)
        for fewer in others:
            self.function(fewer).compile(batch, compilation.mode, dtype=dtype)
        return compilation

    @property
    def most_due(self) -> Due:
        """The groups that are due together most."""
        return self._patterns()[0]

    def _patterns(self) -> list[Due]:
        starts = {0, *(config.after for _, config in self.groups.values())}
        due = {self.due(start + i) for start in starts for i in range(1, self.period + 1)}
        return sorted(due, key=sum, reverse=True)

    def due(self, step: int) -> Due:
        """The groups that step at an update, counted from 1."""
        return tuple(config.due(step) for _, config in self.groups.values())


def check_finite(
    losses: Mapping[str, Tensor] | TensorDictBase,
    *,
    step: int,
    batch: TensorDictBase | None = None,
    names: Iterable[str] | None = None,
) -> None:
    """Refuse NaN or infinity in a loss, of an agent or of the first one in a stack that has any.

    Args:
        names: of the losses; None: all that are called so.

    Raises:
        NonFiniteLossError: naming the step, the losses that broke and the range of each entry of the batch.
    """
    minimised = {name: losses[name] for name in (loss_names(losses.keys()) if names is None else names)}
    values = [loss.tolist() if loss.ndim else [loss.item()] for loss in minimised.values()]
    for index, of_agent in enumerate(zip(*values)):
        if all(map(math.isfinite, of_agent)):
            continue
        broken = ", ".join(f"{name} = {value}" for name, value in zip(minimised, of_agent) if not math.isfinite(value))
        part = batch if batch is None or len(values[0]) == 1 else batch[index]
        ranges = "" if part is None else f"; the batch held {_ranges(part)}"
        raise NonFiniteLossError(
            f"{broken} at step {step}{ranges}; lower the learning rate or the temperature, clip gradients "
            "(algorithm.max_grad_norm=1.0), or look at the data for outliers"
        )


def _ranges(batch: TensorDictBase) -> str:
    entries = ((name, value.float()) for name, value in batch.flatten_keys(".").items() if name != "index")
    return ", ".join(f"{name} in [{value.min():.4g}, {value.max():.4g}]" for name, value in entries)


def _clip(gradients: Gradients, max_norm: float, like: Tensor) -> tuple[Tensor, Gradients]:
    """The norm, in the shape of a loss, and the gradients made shorter where it is above the largest."""
    used = [gradient for gradient in gradients if gradient is not None]
    if like.ndim == 0:
        norm = nn.utils.get_total_norm(used)
        scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        return norm, [None if g is None else g * scale for g in gradients]
    norms = [g.reshape(len(g), -1).norm(dim=1) for g in used] or [torch.zeros_like(like)]
    norm = torch.stack(norms).norm(dim=0)  # [S]
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    return norm, [None if g is None else g * scale.view(-1, *[1] * (g.ndim - 1)) for g in gradients]


class ForeachSoftUpdate(SoftUpdate):
    """TorchRL's SoftUpdate with one fused kernel launch for all parameters: a tenth of the time on CPU."""

    def __init__(self, loss_module: LossModule, *, tau: float) -> None:
        with warnings.catch_warnings():  # of a large tau, such as 1 to copy: it might be meant for eps
            warnings.filterwarnings("ignore", message="Found an eps value < 0.5")
            super().__init__(loss_module, tau=tau)
        sides = (cast(Iterable[Tensor], side.values(True, True)) for side in (self._targets, self._sources))
        self.targets, self.sources = map(list, sides)

    @functools.cached_property
    def _pairs(self) -> tuple[list[Tensor], list[Tensor]]:
        return [target.data for target in self.targets], [source.data for source in self.sources]

    def step(self) -> None:
        torch._foreach_lerp_(*self._pairs, 1.0 - self.eps)  # pyright: ignore[reportPrivateImportUsage]  # no other name
