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

import copy
import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Generator, Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torchrl.objectives import LossModule

from agents.errors import ConfigError, require_choice

MODES = ("auto", "off", "trace", "inductor")
MATMUL_PRECISIONS = ("auto", "highest", "high", "medium")

Losses = dict[str, Tensor]  # losses and statistics by name: detached scalars, means of what has a shape
Gradients = list[Tensor | None]  # one per parameter; None where no loss depends on it
Draw = Callable[[Generator | None], Tensor]
Function = Callable[[TensorDictBase], tuple[Losses, Gradients]]
aten = torch.ops.aten

# tensors whose values do not matter to what overwrites them
FRESH = (aten.empty.memory_format, aten.empty_like.default, aten.new_empty.default, aten.zeros.default)
INDUCTOR = {"pattern_matcher": False}  # it would undo the decompositions


class LossAndGradients:
    """One evaluation of a loss, and the gradient of the sum of its ``loss_*`` outputs.

    Args:
        parameters: what to differentiate by.
    """

    def __init__(self, loss_module: LossModule, parameters: Sequence[nn.Parameter]) -> None:
        self.loss_module = loss_module
        self.parameters = parameters
        self.dtype = torch.float32
        self._signature: tuple[Any, ...] | None = None
        self._compiled: Function = self.eager

    def __call__(self, batch: TensorDictBase) -> tuple[Losses, Gradients]:
        """Compiled, where the batch has the shapes that were compiled for; eager otherwise."""
        known = self._signature is not None and self._signature == self._sign(batch)
        return self._compiled(batch) if known else self.eager(batch)

    def eager(self, batch: TensorDictBase) -> tuple[Losses, Gradients]:
        """The definition, by autograd."""
        device = next(self.loss_module.parameters()).device.type
        with torch.autocast(device, self.dtype, enabled=self.dtype != torch.float32):
            losses = self.loss_module(batch.copy())  # many of TorchRL's losses write into what they are given
        total = sum(loss for name, loss in losses.items() if name.startswith("loss_"))
        gradients = torch.autograd.grad(total, self.parameters, allow_unused=True) if self.parameters else []
        return {name: _scalar(value.detach()) for name, value in losses.items()}, list(gradients)

    def compile(self, batch: TensorDictBase, mode: str = "auto", *, dtype: torch.dtype = torch.float32) -> Compilation:
        """Evaluate batches of these shapes another way from now on; no random number is drawn, no buffer changed.

        Args:
            mode: ``off``: eager; ``trace``: the recorded operations as they are; ``inductor``: the same, compiled to
                machine code, for which it needs a C++ compiler (on a GPU, Triton); ``auto``: by measurement, see
                :func:`_fastest`.
            dtype: float32, or bfloat16 for products in that precision (``torch.autocast``); parameters and gradients
                are float32 in any case.

        Raises:
            ConfigError: ``mode`` is unknown or, unless it is ``auto``, cannot be had.
        """
        require_choice("compile", mode, MODES)
        self.dtype, self._signature, self._compiled = dtype, None, self.eager
        if mode == "off":
            return Compilation("off")
        with self.undone():
            functions, problem = self._candidates(batch, mode)
            if problem is not None and mode != "auto":
                raise ConfigError(f"compile={mode} cannot be had here: {problem}; use compile=auto")
            milliseconds = _milliseconds(functions, batch) if mode == "auto" else {}
        chosen = _fastest(milliseconds) if mode == "auto" else mode
        self._signature, self._compiled = self._sign(batch), functions[chosen]
        return Compilation(chosen, milliseconds, problem)

    def trace(self, batch: TensorDictBase) -> Trace:
        """The operations on batches of these shapes; no random number is drawn, no buffer changed."""
        with self.undone():
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
        """What there is to choose from, and why something is missing."""
        functions: dict[str, Function] = {"off": self.eager}
        name = "trace"
        try:
            trace = self.trace(batch)
            functions[name] = self._checked(trace, batch)
            if mode != "trace":
                name = "inductor"
                functions[name] = self._checked(trace.compile(batch), batch)
        except Exception as error:  # of whatever kind: a slower way is there
            reason = next(iter(str(error).strip().splitlines()), "")
            return functions, f"no {name} of this loss ({type(error).__name__}: {reason[:200]})"
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
        return self.loss_module.training, *((value.shape, value.dtype) for value in _leaves(batch))


@dataclass(frozen=True)
class Compilation:
    """What :meth:`LossAndGradients.compile` came to; as text, one line."""

    mode: str  # off, trace or inductor
    milliseconds: dict[str, float] = field(default_factory=dict)  # of one evaluation, by mode, where it was measured
    problem: str | None = None  # why a mode could not be had

    def __str__(self) -> str:
        times = ", ".join(f"{name} {value:.1f} ms" for name, value in self.milliseconds.items())
        return f"compile={self.mode}" + (f" ({times})" if times else "") + (f"; {self.problem}" if self.problem else "")


class Trace:
    """The operations of :class:`LossAndGradients` on batches of one shape, as a function of tensors.

    ``graph(*tensors, *draws, *values of the batch)`` gives the losses, then the gradients, and depends on nothing else.

    Attributes:
        tensors: what the loss reads beside the batch, by reference: parameters, targets, buffers, constants.
        draws: per random tensor, in the order of the eager way, a function of a generator (None: the default one).
    """

    def __init__(self, function: LossAndGradients, batch: TensorDictBase) -> None:
        keys = list(batch.keys(True, True))

        def record(*values: Tensor) -> list[Tensor]:
            losses, gradients = function.eager(TensorDict(dict(zip(keys, values)), batch.batch_size))
            self._names = list(losses)
            self._used = [gradient is not None for gradient in gradients]
            return [*losses.values(), *(gradient for gradient in gradients if gradient is not None)]

        self.graph = make_fx(record, decomposition_table=DECOMPOSITIONS)(*_leaves(batch))
        _refuse_shapes_that_depend_on_values(self.graph)
        _drop_detach(self.graph)
        self.draws = _lift_random_numbers(self.graph)
        module = function.loss_module
        self.tensors = _lift_tensors(self.graph, [*module.parameters(), *module.buffers()])
        self.graph.graph.eliminate_dead_code()
        self.graph.recompile()

    def __call__(self, batch: TensorDictBase) -> tuple[Losses, Gradients]:
        return self._evaluate(self.graph, batch)

    def compile(self, batch: TensorDictBase) -> Function:
        """The same as machine code."""
        with torch.no_grad():
            run = torch._inductor.compile(self.graph, self.arguments(batch), options=INDUCTOR)
        return functools.partial(self._evaluate, run)

    def stack(
        self, tensors: list[Tensor], shared: list[bool], generators: list[Generator], batch: TensorDictBase
    ) -> Trace:
        """The same operations on ``S`` sets of tensors at once.

        Args:
            tensors: in the order of ``self.tensors``: ``[S, ...]``, or as they are where ``shared``.
            generators: ``S`` of them, each for the random numbers of its part.
            batch: ``[S, B]``.
        """
        other = copy.copy(self)
        other.tensors = tensors
        other.draws = [functools.partial(_draw_each, draw, generators) for draw in self.draws]
        arguments = other.arguments(batch)
        dims = [None if is_shared else 0 for is_shared in shared] + [0] * (len(arguments) - len(shared))
        with torch.no_grad():
            other.graph = make_fx(torch.vmap(self.graph, tuple(dims)), decomposition_table=DECOMPOSITIONS)(*arguments)
        return other

    def arguments(self, batch: TensorDictBase) -> list[Tensor]:
        """What ``graph`` is to be called with; draws the random numbers."""
        return [*self.tensors, *(draw(None) for draw in self.draws), *_leaves(batch)]

    def _evaluate(self, run: Callable[..., Sequence[Tensor]], batch: TensorDictBase) -> tuple[Losses, Gradients]:
        with torch.no_grad():
            outputs = run(*self.arguments(batch))
        gradients = iter(outputs[len(self._names) :])
        return dict(zip(self._names, outputs)), [next(gradients) if used else None for used in self._used]


def _scalar(statistic: Tensor) -> Tensor:
    """The mean over batch and critics of what a loss returns for each of them."""
    return statistic.float().mean() if statistic.ndim else statistic


def _leaves(batch: TensorDictBase) -> list[Tensor]:
    """The tensors of a batch in the order of ``batch.keys(True, True)``."""
    leaves: list[Tensor] = []
    for value in batch.values():
        leaves.extend((value,) if isinstance(value, Tensor) else _leaves(value))
    return leaves


def _milliseconds(functions: Mapping[str, Function], batch: TensorDictBase) -> dict[str, float]:
    """Shortest time of a call, as others may be at work too; measured in turns, a third of a second per function."""
    spent: dict[str, list[float]] = {name: [] for name in functions}
    started = time.perf_counter()
    while len(next(iter(spent.values()))) < 3 or time.perf_counter() - started < len(functions) / 3:
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


# Passes over a trace --------------------------------------------------------------------------------------------------


def _drop_detach(graph: fx.GraphModule) -> None:
    """Nothing is differentiated any more."""
    for node in graph.graph.find_nodes(op="call_function", target=aten.detach.default):
        node.replace_all_uses_with(node.args[0])
        graph.graph.erase_node(node)


def _refuse_shapes_that_depend_on_values(graph: fx.GraphModule) -> None:
    for node in graph.graph.nodes:
        refused = torch.Tag.dynamic_output_shape in getattr(node.target, "tags", ())
        if node.target is aten.index.Tensor:  # only a mask makes it so
            refused = any(index is not None and index.meta["val"].dtype == torch.bool for index in node.args[1])
        if refused:
            raise ValueError(f"the shape of the result of {node.target} depends on values")


def _lift_random_numbers(graph: fx.GraphModule) -> list[Draw]:
    """Make every random tensor an input of the graph; returns what draws them."""
    draws = []
    for node in list(graph.graph.nodes):
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            draws.append((node, _draw(node)))
    for node, place in zip((node for node, _ in draws), _add_inputs(graph, "draw", len(draws))):
        _replace(node, place)
    graph.graph.eliminate_dead_code()  # what was overwritten by random numbers
    return [draw for _, draw in draws]


def _draw(node: fx.Node) -> Draw:
    name = node.target.overloadpacket.__name__
    like = node.meta["val"]
    tensors = node.all_input_nodes
    options = {"dtype": like.dtype, "device": like.device}
    if name.endswith("_") and tensors == [node.args[0]] and tensors[0].target in FRESH:
        fill = getattr(Tensor, name)
        return lambda generator: fill(torch.empty(like.shape, **options), *node.args[1:], generator=generator)
    if name in ("rand_like", "randn_like"):
        function = getattr(torch, name.removesuffix("_like"))
        return lambda generator: function(like.shape, generator=generator, **options)
    if name in ("rand", "randn", "randint", "randperm") and not tensors:
        function = getattr(torch, name)
        return lambda generator: function(*node.args, generator=generator, **options)
    raise ValueError(f"the random numbers of {node.target} depend on values")


def _draw_each(draw: Draw, generators: list[Generator], _: None) -> Tensor:
    return torch.stack([draw(generator) for generator in generators])


def _lift_tensors(graph: fx.GraphModule, state: Sequence[Tensor]) -> list[Tensor]:
    """Make every tensor that the graph holds an input; returns them.

    A loss may have read a parameter through an alias (``.data``): the parameter itself is what later updates change.
    """
    owners = {(tensor.data_ptr(), tensor.shape, tensor.stride()): tensor for tensor in state}
    nodes: dict[str, list[fx.Node]] = {}
    for node in graph.graph.find_nodes(op="get_attr"):
        nodes.setdefault(node.target, []).append(node)
    for uses, place in zip(nodes.values(), _add_inputs(graph, "tensor", len(nodes))):
        for node in uses:
            _replace(node, place)
    tensors = [getattr(graph, target) for target in nodes]
    return [owners.get((tensor.data_ptr(), tensor.shape, tensor.stride()), tensor) for tensor in tensors]


def _add_inputs(graph: fx.GraphModule, name: str, number: int) -> list[fx.Node]:
    """New inputs in front of those that the graph has."""
    with graph.graph.inserting_before(next(iter(graph.graph.nodes))):
        return [graph.graph.placeholder(f"{name}_{i}") for i in range(number)]


def _replace(node: fx.Node, other: fx.Node) -> None:
    other.meta = node.meta
    node.replace_all_uses_with(other)
    node.graph.erase_node(node)


# Decompositions -------------------------------------------------------------------------------------------------------
# What the compiler fuses with its neighbours; the library's kernels copy the bias first, and take as long for a product
# with one row or column as for one with twenty.


def _addmm(bias: Tensor, x: Tensor, weight: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return x @ weight + bias if beta == alpha == 1 else NotImplemented


def _mm(x: Tensor, weight: Tensor) -> Tensor:
    if weight.shape[-1] == 1:  # [.., B, H] x [.., H, 1]: the output layer of a critic
        return (x * weight.transpose(-1, -2)).sum(-1, keepdim=True)
    if x.shape[-1] == 1:  # its gradient by the hidden layer
        return x * weight
    return NotImplemented


DECOMPOSITIONS = {
    aten.addmm.default: _addmm,
    aten.baddbmm.default: _addmm,
    aten.mm.default: _mm,
    aten.bmm.default: _mm,
}


def choose_matmul_precision(precision: str, device: torch.device) -> str:
    """Set the precision of float32 products for this process; returns what it is now.

    Which of high and medium round their inputs to fewer bits, and which are faster, depends on the processor (on a CPU
    they are another library's exact products, or bfloat16; on a GPU TF32): ``auto`` measures the error and the time of
    one product, and goes on from highest to what is as exact and needs less than three quarters of the time. A smaller
    gain could be one of the clock's, and the choice, with the rounding of all that follows, another at each start.

    Raises:
        ConfigError: ``precision`` is none of auto, highest, high, medium.
    """
    require_choice("matmul_precision", precision, MATMUL_PRECISIONS)
    chosen = precision
    if precision == "auto":
        measured = _measure_products(device)
        chosen = "highest"
        for candidate in ("high", "medium"):
            error, seconds = measured[candidate]
            if error <= 2.0 * measured["highest"][0] and seconds < 0.75 * measured[chosen][1]:
                chosen = candidate
    torch.set_float32_matmul_precision(chosen)
    return chosen


def _measure_products(device: torch.device) -> dict[str, tuple[float, float]]:
    """Largest error, and seconds, of a float32 product of two ``[256, 256]`` of standard normal numbers, by precision.

    In turns, and the shortest of each, as others may be at work too.
    """
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 256, 256, generator=generator)
    ours, theirs, exact = x.to(device), y.to(device), x.double() @ y.double()
    precisions = [name for name in MATMUL_PRECISIONS if name != "auto"]
    products, seconds = {}, {name: math.inf for name in precisions}
    for _ in range(30):
        for name in precisions:
            torch.set_float32_matmul_precision(name)
            start = time.perf_counter()
            products[name] = (ours @ theirs).cpu()  # on a GPU: wait
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return {name: ((products[name].double() - exact).abs().max().item(), seconds[name]) for name in precisions}
