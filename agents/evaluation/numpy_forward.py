"""A network's forward pass in NumPy, for one observation at a time.

On a single row torch spends more time in reaching its kernels than in running them, and each of its calls may hand the
interpreter lock to another thread. The network's own ``forward`` remains the only definition: it runs once, and what it
calls is repeated from then on.

Shapes: ``O`` observation, ``A`` action, ``I`` and ``H`` inputs and outputs of a layer.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


def _linear(x: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any] | None = None) -> NDArray[Any]:
    product = np.vecdot(weight, x)  # [H, I], [I] -> [H]; BLAS would split weight @ x among threads of its own
    return product if bias is None else product + bias


def _layer_norm(x: NDArray[Any], _: Any, *, weight: Any, bias: Any, eps: float) -> NDArray[Any]:
    centered = x - x.mean()
    normal = centered / np.sqrt(np.square(centered).mean() + np.float32(eps))
    normal = normal if weight is None else normal * weight
    return normal if bias is None else normal + bias


NUMPY: dict[Callable[..., Tensor], Callable[..., NDArray[Any]]] = {
    F.linear: _linear,
    F.layer_norm: _layer_norm,
    F.relu: lambda x, inplace: np.maximum(x, 0.0),
    F.dropout: lambda x, p, training, inplace: x,  # in eval mode
    torch.tanh: np.tanh,
    Tensor.add: np.add,
    Tensor.__getitem__: operator.getitem,
    Tensor.argmax: np.argmax,
    Tensor.unflatten: lambda x, dim, sizes: x.reshape(*x.shape[:-1], *sizes),  # of the last dimension
    Tensor.sub: np.subtract,
    Tensor.mul: np.multiply,
}


class _Recorder(TorchFunctionMode):
    """Notes of what this thread calls of torch inside the block: function, arguments, keywords, result."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.calls.append((function, args, kwargs or {}, result))
        return result


@torch.inference_mode()
def as_numpy(network: nn.Module, shape: tuple[int, ...]) -> Callable[[NDArray[Any]], NDArray[Any]] | None:
    """``network`` for one observation, ``[O] float32 -> [A]``, equal to float32 rounding, sharing the tensors.

    None if it has to stay in torch: observations are of another ``shape`` than ``(O,)``, it calls a function that is
    not in ``NUMPY``, or a module in it is in training mode, has a hook, or is neither torch's nor ours.
    """
    if len(shape) != 1 or not all(map(_is_plain, network.modules())):
        return None
    example = torch.from_numpy(np.zeros((1, *shape), dtype=np.float32))
    with _Recorder() as recorder:
        output = network(example)
    calls = recorder.calls
    values = {id(example), *(id(result) for *_, result in calls)}
    by_name = (id(arg) for _, _, kwargs, _ in calls for arg in kwargs.values())
    if any(function not in NUMPY for function, *_ in calls) or not values.isdisjoint(by_name):
        return None  # only settings and parameters are given by name
    # a value goes by the identity of the object that stood for it while recording
    constants = {id(arg): _constant(arg) for _, args, _, _ in calls for arg in args}
    steps = [
        (NUMPY[function], [*map(id, args)], {name: _constant(arg) for name, arg in kwargs.items()}, id(result))
        for function, args, kwargs, result in calls
    ]
    id_of_input, id_of_output = id(example), id(output)

    def forward(observation: NDArray[Any]) -> NDArray[Any]:
        values = {**constants, id_of_input: observation}
        with np.errstate(all="ignore"):  # torch does not warn either
            for function, args, kwargs, result in steps:
                values[result] = function(*[values[arg] for arg in args], **kwargs)
        return values[id_of_output]

    return forward


def _constant(arg: Any) -> Any:
    return arg.numpy() if isinstance(arg, Tensor) else arg


def _is_plain(module: nn.Module) -> bool:
    known = type(module).__module__.startswith(("torch.nn.modules.", "agents."))
    return known and not (module.training or module._forward_hooks or module._forward_pre_hooks)
