"""Agent: a loss, its optimizer, learning-rate schedules and target networks behind one ``update(batch)``.

The agent knows no dataset, logger or step budget.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.objectives import LossModule, SoftUpdate

from agents.data.dataset import DEFAULT_KEYS
from agents.data.storage import OPTIONAL_KEYS
from agents.errors import ConfigError, NonFiniteLossError
from agents.training.adam import AdamConfig
from agents.training.compilation import Compilation, LossAndGradients
from agents.training.fused_adam import FusedAdam
from agents.training.settings import check_update
from agents.training.trace import Gradients, Losses


class Agent:
    """Owns everything that an update changes.

    Args:
        loss_module: any TorchRL LossModule; every output whose key starts with ``loss_`` is minimised, the rest are
            statistics.
        policy: ``observation -> action``, deterministic, sharing the loss module's parameters; what is evaluated and
            deployed.
        optimizers: parameters and Adam settings per group name; the names appear as ``lr_<name>`` in
            ``learning_rates``.
        target_tau: Polyak step of the target networks in (0, 1]; None when the loss has none.
        target_every: the target networks move at every n-th update, >= 1.
        max_grad_norm: largest global gradient norm; None means no clipping.
        best_episodes: share of the data's episodes to train on, in (0, 1], those with the largest returns; None: all.
        context_length: steps of the windows to train on, >= 1; None: single steps.

    Raises:
        ConfigError: if a setting is out of range or a trained parameter is in no group.
    """

    def __init__(
        self,
        loss_module: LossModule,
        policy: TensorDictModule,
        *,
        optimizers: Mapping[str, tuple[Iterable[nn.Parameter], AdamConfig]],
        target_tau: float | None = None,
        target_every: int = 1,
        max_grad_norm: float | None = None,
        best_episodes: float | None = None,
        context_length: int | None = None,
    ) -> None:
        check_update(target_tau=target_tau, target_every=target_every, max_grad_norm=max_grad_norm)
        self.loss_module = loss_module
        self.policy = policy
        self.max_grad_norm = max_grad_norm
        self.target_every = target_every
        self.best_episodes = best_episodes
        self.context_length = context_length
        self.num_updates = 0
        self._groups = {name: (list(parameters), config) for name, (parameters, config) in optimizers.items()}
        self._parameters = [p for parameters, _ in self._groups.values() for p in parameters]
        self._check_parameters()
        self.optimizer = FusedAdam(list(self._groups.values()))
        self.target_net_updater = None if target_tau is None else ForeachSoftUpdate(loss_module, tau=target_tau)
        self._functions: dict[tuple[bool, ...], LossAndGradients] = {}  # by which groups are due

    @property
    def device(self) -> torch.device:
        return self._parameters[0].device

    @property
    def sampling(self) -> dict[str, Any]:
        """What of a dataset this agent trains on, as arguments for :meth:`OfflineDataset.replay_buffer`."""
        optional = [key for key in OPTIONAL_KEYS if key in self.loss_module.in_keys]
        return {
            "keys": (*DEFAULT_KEYS, *optional),
            "best_episodes": self.best_episodes,
            "context_length": self.context_length,
        }

    @property
    def learning_rates(self) -> dict[str, float]:
        """``lr_<group>``: the rates that the last update used."""
        last = max(self.num_updates - 1, 0)
        return {f"lr_{name}": config.lr_at(last) for name, (_, config) in self._groups.items()}

    def update(self, batch: TensorDictBase) -> TensorDict:
        """One gradient step on every loss, then one step of the target networks.

        Args:
            batch: transitions on the agent's device: ``observation [B, O]``, ``action [B, A]`` and, under ``next``,
                ``observation``, ``reward [B, 1]`` and ``terminated [B, 1]``; ``sampling`` says what else, and
                whether in windows ``[B, K]``.

        Returns:
            Detached scalars: the losses, the loss module's statistics and, when clipping, ``grad_norm``.

        Raises:
            NonFiniteLossError: on CPU, before any parameter changes. On a GPU the check would wait for the device at
                every update: call :func:`check_finite` on what is logged and before saving.
        """
        return self.update_at(self.rates(self.num_updates), batch)

    def rates(self, num_updates: int) -> list[float]:
        """Learning rate per group for the update that follows ``num_updates`` others."""
        return [config.lr_at(num_updates) for _, config in self._groups.values()]

    def update_at(self, rates: Sequence[float | Tensor], batch: TensorDictBase) -> TensorDict:
        """:meth:`update` with these learning rates; what a CUDA graph captures, where rates are tensors."""
        step = self.num_updates + 1
        function = self._function(self._due(step))
        losses, gradients = function(batch)
        if self.device.type == "cpu":
            self._check_finite(losses, step, batch)
        statistics = TensorDict(losses)
        if self.max_grad_norm is not None:
            statistics["grad_norm"], gradients = self._clip(gradients)
        self.optimizer.step(function.parameters, gradients, rates)
        if self.target_net_updater is not None and step % self.target_every == 0:
            self.target_net_updater.step()
        self.count(step)
        return statistics

    def count(self, num_updates: int) -> None:
        """Set the number of updates made."""
        self.num_updates = num_updates

    @property
    def period(self) -> int:
        """Updates after which the pattern of groups and targets that are due comes again."""
        return math.lcm(self.target_every, *(config.every for _, config in self._groups.values()))

    @property
    def settled_after(self) -> int:
        """Updates after which every group has begun to step."""
        return max(config.after for _, config in self._groups.values())

    def compile(self, batch: TensorDictBase, mode: str = "auto", *, dtype: torch.dtype = torch.float32) -> Compilation:
        """Make updates on batches of these shapes faster, with the same results up to rounding.

        Later changes of the loss module's attributes go unnoticed, but for its training mode, parameters and buffers:
        compile again after one. Batches of other shapes take the eager way.

        Args:
            batch: one like those of :meth:`update`; nothing is learnt from it.
            mode: ``auto``, ``off``, ``trace`` or ``inductor``, see :meth:`LossAndGradients.compile`.
            dtype: of the products in the networks, float32 or bfloat16; parameters stay float32.

        Returns:
            The mode in force and what was measured; as text, one line.

        Raises:
            ConfigError: ``mode`` is unknown or, unless it is ``auto``, cannot be had.
        """
        starts = {0, *(config.after for _, config in self._groups.values())}
        due = {self._due(start + i) for start in starts for i in range(1, self.period + 1)}
        first, *others = sorted(due, key=sum, reverse=True)
        compilation = self._function(first).compile(batch, mode, dtype=dtype)
        for fewer in others:
            self._function(fewer).compile(batch, compilation.mode, dtype=dtype)
        return compilation

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next update depends on, as a nested dictionary of tensors and the number of updates."""
        return {
            "loss_module": self.loss_module.state_dict(),
            "optimizer": {str(i): dict(self.optimizer.state.get(p, {})) for i, p in enumerate(self._parameters)},
            "num_updates": self.num_updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`state_dict`; the tensors are copied.

        Raises:
            ValueError: if the names or shapes of the parameters are others; nothing is loaded then.
        """
        there, here = _shapes(state["loss_module"]), _shapes(self.loss_module.state_dict())
        # a LossModule would broadcast a tensor of another shape and overlook a missing one
        if differing := sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name)):
            name = differing[0]
            raise ValueError(f"the shape of {name} is {there.get(name)} there, {here.get(name)} here")
        self.loss_module.load_state_dict(state["loss_module"])
        for i, parameter in enumerate(self._parameters):
            self.optimizer.state.pop(parameter, None)
            if moments := state["optimizer"].get(str(i)):  # empty, if the parameter had not yet taken a step
                # beside the parameter, where the fused kernel wants them
                self.optimizer.state[parameter] = {
                    name: value.to(parameter.device, copy=True) for name, value in moments.items()
                }
        self.num_updates = int(state["num_updates"])

    def _check_finite(self, losses: Losses, step: int, batch: TensorDictBase) -> None:
        check_finite(losses, step=step, batch=batch)

    def _clip(self, gradients: Gradients) -> tuple[Tensor, Gradients]:
        """The global norm, and the gradients made shorter where it is above the largest."""
        norm = nn.utils.get_total_norm([gradient for gradient in gradients if gradient is not None])
        scale = (self.max_grad_norm / (norm + 1e-6)).clamp(max=1.0)
        return norm, [None if gradient is None else gradient * scale for gradient in gradients]

    def _due(self, step: int) -> tuple[bool, ...]:
        return tuple(config.due(step) for _, config in self._groups.values())

    def _function(self, due: tuple[bool, ...]) -> LossAndGradients:
        if due not in self._functions:
            parameters = [p for is_due, (group, _) in zip(due, self._groups.values()) if is_due for p in group]
            self._functions[due] = LossAndGradients(self.loss_module, parameters)
        return self._functions[due]

    def _check_parameters(self) -> None:
        owned = {id(p) for p in self._parameters}
        missing = [n for n, p in self.loss_module.named_parameters() if p.requires_grad and id(p) not in owned]
        if missing:
            raise ConfigError(f"no optimizer trains {', '.join(missing)}: put each parameter of the loss into a group")


class ForeachSoftUpdate(SoftUpdate):
    """TorchRL's SoftUpdate with one fused kernel launch for all parameters: a tenth of the time on CPU."""

    def __init__(self, loss_module: LossModule, *, tau: float) -> None:
        with warnings.catch_warnings():  # of a large tau, such as 1 to copy: it might be meant for eps
            warnings.filterwarnings("ignore", message="Found an eps value < 0.5")
            super().__init__(loss_module, tau=tau)

    def pairs(self) -> tuple[list[Tensor], list[Tensor]]:
        """Targets, and what each of them follows."""
        return [t.data for t in self._targets.values(True, True)], [s.data for s in self._sources.values(True, True)]

    def step(self) -> None:
        if not hasattr(self, "_pairs"):
            self._pairs = self.pairs()
        torch._foreach_lerp_(*self._pairs, 1.0 - self.eps)


def check_finite(
    losses: Mapping[str, Tensor] | TensorDictBase, *, step: int, batch: TensorDictBase | None = None
) -> None:
    """Refuse a NaN or infinite loss.

    Raises:
        NonFiniteLossError: naming the step, the losses that broke and, where given, the range of each entry of the
            batch.
    """
    values = {name: loss.item() for name, loss in losses.items() if name.startswith("loss_")}
    broken = {name: value for name, value in values.items() if not math.isfinite(value)}
    if not broken:
        return
    named = ", ".join(f"{name} = {value}" for name, value in broken.items())
    ranges = "" if batch is None else f"; the batch held {_describe(batch)}"
    raise NonFiniteLossError(
        f"{named} at step {step}{ranges}; lower the learning rate or the temperature, clip gradients "
        "(algorithm.max_grad_norm=1.0), or look at the data for outliers"
    )


def _describe(batch: TensorDictBase) -> str:
    def span(name: object, value: Tensor) -> str:
        label = ".".join(name) if isinstance(name, tuple) else name
        value = value.float()
        return f"{label} in [{value.min():.4g}, {value.max():.4g}]"

    return ", ".join(span(name, value) for name, value in batch.items(True, True) if name != "index")


def _shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items() if isinstance(value, Tensor)}
