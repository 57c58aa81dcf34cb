"""A loss and its gradients as a graph of operations on tensors, recorded once."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Generator, Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

if TYPE_CHECKING:
    from agents.training.compilation import LossAndGradients


Losses = dict[str, Tensor]  # losses and statistics by name: detached scalars, means of what has a shape
Gradients = list[Tensor | None]  # one per parameter; None where no loss depends on it
Draw = Callable[[Generator | None], Tensor]
Function = Callable[[TensorDictBase], tuple[Losses, Gradients]]
aten = torch.ops.aten

# tensors whose values do not matter to what overwrites them
FRESH = (aten.empty.memory_format, aten.empty_like.default, aten.new_empty.default, aten.zeros.default)
INDUCTOR = {"pattern_matcher": False}  # it would undo the decompositions


class Trace:
    """The operations of :class:`LossAndGradients` on batches of one shape, as a function of tensors.

    ``graph(*tensors, *draws, *values of the batch)`` gives the losses, then the gradients, and depends on nothing else.

    Attributes:
        tensors: what the loss reads beside the batch, by reference: parameters, targets, buffers, constants.
        draws: per random tensor, in the order of the eager way, a function of a generator (None: the default one).
    """

    _names: list[str]  # of the losses
    _used: list[bool]  # whether a parameter has a gradient

    def __init__(self, function: LossAndGradients, batch: TensorDictBase) -> None:
        def record(*values: Tensor) -> list[Tensor]:
            inputs = dict(zip(batch.keys(True, True), values))
            losses, gradients = function.eager(TensorDict(inputs, batch.batch_size))
            self._names = list(losses)
            self._used = [gradient is not None for gradient in gradients]
            return [*losses.values(), *(gradient for gradient in gradients if gradient is not None)]

        self.graph = make_fx(record, decomposition_table=DECOMPOSITIONS, record_stack_traces=True)(*leaves(batch))
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
        """The same as machine code, made once: later processes find it in torch's cache, if nothing has changed."""
        with torch.no_grad():
            inductor: Any = torch._inductor  # whose plain ``compile`` looks into the cache of code, not of graphs
            run = inductor.standalone_compile(self.graph, self.arguments(batch), options={"config_patches": INDUCTOR})
        return functools.partial(self._evaluate, run)

    def stack(self, stacked: Mapping[int, Tensor], generators: list[Generator], batch: TensorDictBase) -> Trace:
        """The same operations on ``S`` sets of tensors at once.

        Args:
            stacked: ``[S, ...]`` by the ``id`` of one of ``self.tensors``; one without is a constant that all share.
            generators: ``S`` of them, each for the random numbers of its part.
            batch: ``[S, B]``.
        """
        other = copy.copy(self)
        other.tensors = [stacked.get(id(tensor), tensor) for tensor in self.tensors]
        other.draws = [functools.partial(_draw_each, draw, generators) for draw in self.draws]
        arguments = other.arguments(batch)
        dims = [0 if id(tensor) in stacked else None for tensor in self.tensors]
        dims += [0] * (len(arguments) - len(dims))
        with torch.no_grad():
            other.graph = make_fx(torch.vmap(self.graph, tuple(dims)), decomposition_table=DECOMPOSITIONS)(*arguments)
        return other

    def arguments(self, batch: TensorDictBase) -> list[Tensor]:
        """The arguments of ``graph``; draws the random numbers."""
        return [*self.tensors, *(draw(None) for draw in self.draws), *leaves(batch)]

    def _evaluate(self, run: Callable[..., Sequence[Tensor]], batch: TensorDictBase) -> tuple[Losses, Gradients]:
        with torch.no_grad():
            outputs = run(*self.arguments(batch))
        gradients = iter(outputs[len(self._names) :])
        return dict(zip(self._names, outputs)), [next(gradients) if used else None for used in self._used]


def leaves(batch: TensorDictBase) -> list[Tensor]:
    """The tensors of a batch in the order of ``batch.keys(True, True)``."""
    tensors: list[Tensor] = []
    for value in batch.values():
        tensors.extend((value,) if isinstance(value, Tensor) else leaves(value))
    return tensors


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
            raise ValueError(f"the shape of the result of {node.target} depends on values{_place(node)}")


def _lift_random_numbers(graph: fx.GraphModule) -> list[Draw]:
    """Make every random tensor an input of the graph; returns what draws them."""
    nodes = [node for node in graph.graph.nodes if _is_random(node)]
    draws = [_draw(node) for node in nodes]
    _lift(graph, "draw", [[node] for node in nodes])
    graph.graph.eliminate_dead_code()  # what was overwritten by random numbers
    return draws


def _is_random(node: fx.Node) -> bool:
    """Whether an operation draws random numbers; attention without dropout draws none."""
    operation: Any = node.target
    if torch.Tag.nondeterministic_seeded not in getattr(operation, "tags", ()):
        return False
    names = [argument.name for argument in operation._schema.arguments]
    values = {argument.name: argument.default_value for argument in operation._schema.arguments}
    return {**values, **dict(zip(names, node.args)), **node.kwargs}.get("dropout_p") != 0.0


def _draw(node: fx.Node) -> Draw:
    operation: Any = node.target
    name = operation.overloadpacket.__name__
    like = node.meta["val"]
    if not isinstance(like, Tensor):
        raise ValueError(f"the random numbers of {operation} stay inside it{_place(node)}")
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
    raise ValueError(f"the random numbers of {node.target} depend on values{_place(node)}")


def _place(node: fx.Node) -> str:
    """File and line of what recorded an operation, where that is no installed package's."""
    files = re.findall(r'File "(.*?)", line (\d+)', node.meta.get("stack_trace") or "")
    theirs = [f"{file}:{line}" for file, line in files if "site-packages" not in file and __package__ not in file]
    return f", at {theirs[-1]}" if theirs else ""


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
    _lift(graph, "tensor", [*nodes.values()])
    tensors: list[Tensor] = [getattr(graph, target) for target in nodes]
    return [owners.get((tensor.data_ptr(), tensor.shape, tensor.stride()), tensor) for tensor in tensors]


def _lift(graph: fx.GraphModule, name: str, groups: Sequence[Sequence[fx.Node]]) -> None:
    """Put an input in the place of each group of nodes, in front of the inputs that the graph has."""
    with graph.graph.inserting_before(next(iter(graph.graph.nodes))):
        places = [graph.graph.placeholder(f"{name}_{i}") for i in range(len(groups))]
    for nodes, place in zip(groups, places):
        for node in nodes:
            place.meta = node.meta
            node.replace_all_uses_with(place)
            graph.graph.erase_node(node)


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
