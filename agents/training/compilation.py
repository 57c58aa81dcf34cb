"""A loss and its gradients as one function of tensors: traced once, then compiled.

A trace runs the loss and its backward pass once and records what they do to tensors. Modules, TensorDicts and autograd
are gone from it, a good part of an update's time on a CPU, and what is left can be compiled, captured or stacked as a
whole, whatever the loss is.

What a loss has to keep to, for that:

* It is a function of tensors: the batch, its parameters and its buffers. It reads no value back (``.item()``,
  ``if loss > 0``). An attribute that is no tensor is a constant of the trace: what changes during training is a buffer.
* How it draws random numbers depends on shapes alone, and they come from torch's default generator. They are drawn
  outside the trace, in the same order, so that a compiled update sees the numbers that the eager one sees.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDictBase
from tensordict.utils import NestedKey
from torch import Tensor, nn
from torchrl.objectives import LossModule

from agents.errors import ConfigError, require_choice
from agents.training.settings import MODES
from agents.training.trace import Function, Gradients, Losses, Trace, leaves

PRIORITY = "_priority"  # among the outputs: what is no output, but was written into the batch


class LossAndGradients:
    """One evaluation of a loss, and the gradient of the (weighted) sum of its losses by some parameters."""

    def __init__(
        self,
        loss_module: LossModule,
        parameters: Sequence[nn.Parameter],
        *,
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        self.loss_module = loss_module
        self.parameters = parameters
        self.loss_weights = loss_weights
        self.dtype = torch.float32
        self._signature: tuple[Any, ...] | None = None
        self._compiled: Function = self.eager

    def __call__(self, batch: TensorDictBase) -> tuple[Losses, Gradients]:
        """Compiled, where the batch has the shapes that were compiled for; eager otherwise."""
        batch = self._unjudged(batch)
        known = self._signature and self._signature == self._sign(batch)
        return self._compiled(batch) if known else self.eager(batch)

    def eager(self, batch: TensorDictBase) -> tuple[Losses, Gradients]:
        """The definition, by autograd."""
        device = next(self.loss_module.parameters()).device.type
        with torch.autocast(device, self.dtype, enabled=self.dtype != torch.float32):
            inputs = batch.copy()  # many of TorchRL's losses write into what they are given
            losses = self.loss_module(inputs)
        total: Any = sum(self._weighted(losses))
        gradients = torch.autograd.grad(total, self.parameters, allow_unused=True) if self.parameters else []
        values = {name: _scalar(value.detach()) for name, value in losses.items()}
        key = self.priority_key
        if (priority := inputs.get(key, None)) is not None and priority is not batch.get(key, None):
            values[PRIORITY] = priority.detach()
        return values, list(gradients)

    @property
    def priority_key(self) -> NestedKey:
        """Where TorchRL's loss writes the errors of single transitions, ``[B]``, into its batch."""
        return getattr(self.loss_module.tensor_keys, "priority", "td_error")

    def _unjudged(self, batch: TensorDictBase) -> TensorDictBase:
        """The batch without what an earlier update has left in it, which would be of another shape, or written into."""
        return batch if batch.get(self.priority_key, None) is None else batch.exclude(self.priority_key)

    def minimised(self, losses: Iterable[str]) -> list[str]:
        """The names of those outputs that are minimised."""
        return loss_names(losses, self.loss_weights)

    def _weighted(self, losses: Any) -> list[Tensor]:
        weights, names, outputs = self.loss_weights or {}, self.minimised(losses.keys()), {*losses.keys()}
        if not names or not outputs.issuperset(names):
            wanted = " or ".join({*names} - outputs) or "loss or loss_*"
            raise ConfigError(f"{type(self.loss_module).__name__} has no output {wanted}; it has {', '.join(outputs)}")
        return [weights[name] * losses[name] if name in weights else losses[name] for name in names]

    def compile(self, batch: TensorDictBase, mode: str = "auto", *, dtype: torch.dtype = torch.float32) -> Compilation:
        """:meth:`Agent.compile` of this function."""
        require_choice("compile", mode, MODES)
        self.dtype, self._signature, self._compiled = dtype, None, self.eager
        if mode == "off":
            return Compilation("off")
        batch = self._unjudged(batch)
        with self.undone():
            functions, problem = self._candidates(batch, mode)
            if problem is not None and mode != "auto":
                raise ConfigError(f"compile={mode} cannot be had here: {problem}; use compile=auto")
            milliseconds = _milliseconds(functions, batch) if mode == "auto" else {}
        chosen = _fastest(milliseconds) if milliseconds else mode
        self._signature, self._compiled = self._sign(batch), functions[chosen]
        return Compilation(chosen, milliseconds, problem)

    def trace(self, batch: TensorDictBase) -> Trace:
        """The operations on batches of these shapes."""
        return Trace(self, batch)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Whatever happens inside, random generators and buffers are afterwards as they were."""
        state = (*self.loss_module.parameters(), *self.loss_module.buffers())
        buffers = [(buffer, buffer.clone()) for buffer in self.loss_module.buffers()]
        with torch.random.fork_rng(devices=list({tensor.device for tensor in state if tensor.is_cuda})):
            try:
                yield
            finally:
                with torch.no_grad():
                    for buffer, before in buffers:
                        buffer.copy_(before)

    def _candidates(self, batch: TensorDictBase, mode: str) -> tuple[dict[str, Function], str | None]:
        """The functions to choose from, and why one is missing."""
        functions: dict[str, Function] = {"off": self.eager}
        try:
            trace = self.trace(batch)
            functions["trace"] = self._checked(trace, batch)
            if mode != "trace":
                functions["inductor"] = self._checked(trace.compile(batch), batch)
        except Exception as error:  # of whatever kind: a slower way is there
            if _is_interrupt(error):
                raise KeyboardInterrupt from error
            missing = "inductor" if "trace" in functions else "trace"
            reason = next(iter(str(error).strip().splitlines()), "")
            return functions, f"no {missing} of this loss ({type(error).__name__}: {reason}{place(error)})"
        return functions, None

    def _checked(self, function: Function, batch: TensorDictBase) -> Function:
        """Refuse what differs from the definition by more than rounding."""
        tolerance = 1e-3 if self.dtype == torch.float32 else 0.1
        with self.undone():
            losses, gradients = self.eager(batch)
        with self.undone():
            ours, our_gradients = function(batch)
        pairs = [*zip(losses.values(), ours.values()), *zip(gradients, our_gradients)]
        for expected, value in pairs:
            if (expected is None) != (value is None):
                raise ArithmeticError("it finds other parameters in use")
            if expected is not None and (value - expected).norm() > tolerance * expected.norm() + 1e-6:
                raise ArithmeticError("its results differ from the eager ones")
        return function

    def _sign(self, batch: TensorDictBase) -> tuple[Any, ...]:
        return self.loss_module.training, *((value.shape, value.dtype) for value in leaves(batch))


@dataclass(frozen=True)
class Compilation:
    """The outcome of :meth:`~agents.Agent.compile`; as text, one line."""

    mode: str  # off, trace or inductor
    milliseconds: dict[str, float] = field(default_factory=dict)  # of one evaluation, by mode, where it was measured
    problem: str | None = None  # why a mode could not be had

    def __str__(self) -> str:
        times = ", ".join(f"{name} {value:.1f} ms" for name, value in self.milliseconds.items())
        return f"compile={self.mode}" + (f" ({times})" if times else "") + (f"; {self.problem}" if self.problem else "")


def loss_names(outputs: Iterable[str], loss_weights: Mapping[str, float] | None = None) -> list[str]:
    """The outputs of a TorchRL loss that are to be minimised: with weights, or called ``loss_*``, or else ``loss``."""
    if loss_weights is not None:
        return [*loss_weights]
    outputs = list(outputs)
    return [name for name in outputs if name.startswith("loss_")] or [name for name in outputs if name == "loss"]


def place(error: BaseException) -> str:
    """File and line where an error arose: in somebody's loss if it went through one, else in an installed package."""
    ours = Path(__file__).parent
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent != ours]
    own = [frame for frame in frames if "site-packages" not in frame.filename and not frame.filename.startswith("<")]
    return "".join(f", at {frame.filename}:{frame.lineno}" for frame in (own or frames)[-1:])


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether it is what a library has made of a Ctrl-C."""
    return error is not None and (
        isinstance(error, KeyboardInterrupt) or _is_interrupt(error.__cause__ or error.__context__)
    )


def _scalar(statistic: Tensor) -> Tensor:
    """The mean over batch and critics of what a loss returns for each of them."""
    return statistic.float().mean() if statistic.ndim else statistic


def _milliseconds(functions: Mapping[str, Function], batch: TensorDictBase) -> dict[str, float]:
    """Shortest time of a call, as others may be at work too; measured in turns, a twelfth of a second per function."""
    spent: dict[str, list[float]] = {name: [] for name in functions}
    started = time.perf_counter()
    while len(next(iter(spent.values()))) < 3 or time.perf_counter() - started < len(functions) / 12:
        for name, function in functions.items():
            start = time.perf_counter()
            losses, _ = function(batch)
            next(iter(losses.values())).tolist()  # on a GPU: wait; a stack has several
            spent[name].append(1e3 * (time.perf_counter() - start))
    return {name: min(times) for name, times in spent.items()}


def _fastest(milliseconds: Mapping[str, float]) -> str:
    """The most compiled, which is the last, unless one before it needs less than four fifths of its time, and so on.

    They round differently: were the clock to choose between two that are about as fast, the same command would give
    other results at each start.
    """
    *others, chosen = milliseconds
    for name in reversed(others):
        if milliseconds[name] < 0.8 * milliseconds[chosen]:
            chosen = name
    return chosen
