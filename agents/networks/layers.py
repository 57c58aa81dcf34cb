"""Layers that networks are made of: ensembles, dropout that compiles, the scaling of observations.

Shapes: ``B`` batch, ``O`` observation, ``H`` hidden, ``N`` critics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from agents.data.specs import Specs

if TYPE_CHECKING:
    from agents.networks.configs import MLPConfig

ACTIVATIONS = {
    "elu": nn.ELU, "gelu": nn.GELU, "mish": nn.Mish, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh
}  # fmt: skip

# CORL and TD3+BC add this to the standard deviation, so that a constant dimension is not blown up.
SCALING_EPS = 1e-3


def perceptron(config: MLPConfig, in_features: int, out_features: int) -> nn.Sequential:
    """A multilayer perceptron; :meth:`MLPConfig.layers` calls it."""
    modules: list[nn.Module] = []
    for size in config.hidden_sizes:
        modules.append(_linear(in_features, size, config.init))
        if config.layer_norm:
            modules.append(nn.LayerNorm(size))
        modules.append(ACTIVATIONS[config.activation]())
        if config.dropout > 0.0:
            modules.append(Dropout(config.dropout))
        in_features = size
    return nn.Sequential(*modules, _linear(in_features, out_features, config.init))


def _linear(in_features: int, out_features: int, init: str) -> nn.Linear:
    return (OrthogonalLinear if init == "orthogonal" else nn.Linear)(in_features, out_features)


class OrthogonalLinear(nn.Linear):
    """A Linear that begins with orthogonal weights, of gain sqrt 2, and without bias."""

    def reset_parameters(self) -> None:
        super().reset_parameters()  # for the random numbers that it draws, on which those of later layers depend
        nn.init.orthogonal_(self.weight, gain=math.sqrt(2.0))
        nn.init.constant_(self.bias, 0.0)


def stack_layers(modules: Sequence[nn.Module]) -> nn.Module:
    """One module over a leading ensemble dimension for the same layer of several networks."""
    if linears := [module for module in modules if isinstance(module, nn.Linear)]:
        return EnsembleLinear(linears)
    if norms := [module for module in modules if isinstance(module, nn.LayerNorm)]:
        return EnsembleLayerNorm(norms)
    return modules[0]  # activations and dropout have no parameters


class Dropout(nn.Module):
    """Dropout whose random numbers are hashes of a unit's index and two drawn words.

    A generator on a CPU draws one number after the other, for torch's dropout a seventh of a whole update; a hash is a
    function of tensors, which the compiler spreads over cores and vector lanes beside the activation.
    ``torch.compile(fullgraph=True)`` refuses how the words are drawn (``random_``), which
    :meth:`~agents.Agent.compile` takes.

    Args:
        p: share of units dropped while training, in [0, 1).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.num_dropped = min(round(p * 2**32), 2**32 - 1)  # of the 2^32 values of a hash

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        words = torch.empty(1, dtype=torch.int64, device=x.device).random_().view(torch.int32)
        index = torch.arange(x.numel(), dtype=torch.int32, device=x.device)
        mask = _hash(index, *words) >= self.num_dropped - 2**31
        return x * mask.view(x.shape) * (2**32 / (2**32 - self.num_dropped))


def _hash(index: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Evenly spread int32: two rounds of the finaliser of MurmurHash3 (Appleby, public domain) on a Weyl sequence.

    Products wrap around; ``>>`` keeps the sign, which the masks take away.
    """
    x = (index ^ one) * -0x61C8864F + other  # 2^32 over the golden ratio, as signed
    x = (x ^ (x >> 16 & 0xFFFF)) * -0x7A143595
    return (x ^ (x >> 13 & 0x7FFFF)) * -0x3D4D51CB


class EnsembleLinear(nn.Module):
    """``x [N, B, in] -> [N, B, out]``, one weight matrix per member."""

    def __init__(self, linears: list[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([linear.weight.detach().T for linear in linears]))  # [N, in, out]
        self.bias = nn.Parameter(torch.stack([linear.bias.detach()[None] for linear in linears]))  # [N, 1, out]
        self.member = type(linears[0])

    @torch.no_grad()
    def reset_parameters(self) -> None:
        # flat, as TorchRL's losses stack the parameters of networks once more
        for weight, bias in zip(self.weight.flatten(0, -3), self.bias.flatten(0, -3)):  # [in, out], [1, out]
            linear = self.member(weight.shape[0], weight.shape[1], device=weight.device, dtype=weight.dtype)
            weight.copy_(linear.weight.T)
            bias.copy_(linear.bias[None])

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class EnsembleLayerNorm(nn.Module):
    """``x [N, B, H] -> [N, B, H]``, one scale and shift per member."""

    def __init__(self, norms: list[nn.LayerNorm]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([norm.weight.detach()[None] for norm in norms]))  # [N, 1, H]
        self.bias = nn.Parameter(torch.stack([norm.bias.detach()[None] for norm in norms]))
        self.eps = norms[0].eps

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.layer_norm(x, x.shape[-1:], eps=self.eps) * self.weight + self.bias


class Normalizer(nn.Module):
    """``(observation - mean) / (std + eps)`` with the dataset's statistics, ``[..., O]``."""

    mean: Tensor  # [O]
    scale: Tensor  # [O]

    def __init__(self, mean: Tensor, std: Tensor, eps: float = SCALING_EPS) -> None:
        super().__init__()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("scale", 1.0 / (std + eps))

    def forward(self, observation: Tensor) -> Tensor:
        return (observation - self.mean) * self.scale


def normalizer(specs: Specs, normalize: bool, eps: float = SCALING_EPS) -> list[nn.Module]:
    return [Normalizer(specs.observation_mean, specs.observation_std, eps)] if normalize else []


def observation_layers(config: MLPConfig, specs: Specs, out_features: int, normalize: bool) -> nn.Sequential:
    """``[..., O] -> [..., out_features]``, the scaling of observations first."""
    return nn.Sequential(*normalizer(specs, normalize), config.layers(specs.observation.shape[-1], out_features))
