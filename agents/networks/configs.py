"""Networks as small configs, each with a ``build`` that imports what it builds: settings and help need no torch.

A field that is outside the range given in its comment is a ConfigError, and so is to build a network for actions of the
other kind than the data's.

Shapes: ``B`` batch, ``O`` observation, ``A`` action (where actions are discrete: how many there are), ``H`` hidden,
``N`` critics.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import TYPE_CHECKING

from agents.errors import require, require_choice, require_memory

if TYPE_CHECKING:
    from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModule
    from torch import nn

    from agents.data.specs import Specs
    from agents.networks.critics import ActionValueEnsemble

ACTIVATIONS = ("elu", "gelu", "mish", "relu", "silu", "tanh")
FLOAT32 = 4  # bytes


@dataclass
class MLPConfig:
    """A multilayer perceptron."""

    hidden_sizes: list[int] = field(default_factory=lambda: [256, 256])  # units per hidden layer, each >= 1
    activation: str = "relu"  # relu, gelu, silu, mish, elu or tanh
    dropout: float = 0.0  # share of hidden units dropped after each layer while training, in [0, 1)
    layer_norm: bool = False  # LayerNorm before each activation
    init: str = "orthogonal"  # orthogonal (gain sqrt 2, zero biases) or default (torch's own)

    def __post_init__(self) -> None:
        sizes = list(self.hidden_sizes)
        require(all(size >= 1 for size in sizes), "hidden_sizes", "all be at least 1", sizes)
        require(0.0 <= self.dropout < 1.0, "dropout", "lie in [0, 1)", self.dropout)
        require_choice("activation", self.activation, ACTIVATIONS)
        require_choice("init", self.init, ("orthogonal", "default"))
        require_memory(self.num_weights * FLOAT32, "hidden_sizes", sizes)

    @property
    def num_weights(self) -> int:
        """Parameters, at the least: those between hidden layers."""
        return sum(self.hidden_sizes) + sum(map(math.prod, pairwise(self.hidden_sizes)))

    @property
    def num_activations(self) -> int:
        """Hidden units that training keeps for each row of a batch."""
        return sum(self.hidden_sizes)

    def layers(self, in_features: int, out_features: int) -> nn.Sequential:
        """The perceptron itself, ``[..., in_features] -> [..., out_features]``, freshly initialised."""
        from agents.networks.layers import perceptron

        return perceptron(self, in_features, out_features)


@dataclass
class ValueConfig(MLPConfig):
    """State value V(s)."""

    def build(self, specs: Specs, *, normalize: bool = False) -> TensorDictModule:
        """``observation [B, O] -> state_value [B, 1]``."""
        from agents.networks.layers import observation_layers

        return _module(observation_layers(self, specs, 1, normalize), "observation", to="state_value")


@dataclass
class QValueConfig(MLPConfig):
    """An ensemble of independent state-action values Q(s, a).

    Dropout, if asked for, acts in the targets too, as in DroQ (arXiv 2110.02034).
    """

    num_nets: int = 2  # critics in the ensemble, each with its own initialisation, >= 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.num_nets >= 1, "num_nets", "be at least 1", self.num_nets)
        require_memory(self.num_weights * FLOAT32, "num_nets", self.num_nets)

    @property
    def num_weights(self) -> int:
        return self.num_nets * super().num_weights

    @property
    def num_activations(self) -> int:
        return self.num_nets * super().num_activations

    def build(self, specs: Specs, *, normalize: bool = False) -> TensorDictModule:
        """``observation [B, O], action [B, A] (discrete: [B], or [B, K] of parts) -> state_action_value [B, N]``."""
        from agents.networks.critics import ChosenActionValue, QValueEnsemble
        from agents.networks.layers import normalizer

        if specs.discrete:
            network = ChosenActionValue(self._action_values(specs, normalize))
        else:
            in_features = specs.observation.shape[-1] + specs.action.shape[-1]
            critics = [self.layers(in_features, 1) for _ in range(self.num_nets)]
            network = QValueEnsemble(critics, normalizer(specs, normalize))
        return _module(network, "observation", "action", to="state_action_value")

    def build_action_values(self, specs: Specs, *, normalize: bool = False) -> TensorDictModule:
        """``observation [B, O] -> action_value [B, N, A]``, the values of all actions.

        Of actions with parts, ``action_value [B, N, K, M]``: see :mod:`agents.networks.factored`.
        """
        return _module(self._action_values(specs, normalize), "observation", to="action_value")

    def _action_values(self, specs: Specs, normalize: bool) -> ActionValueEnsemble:
        from agents.networks.bounds import num_action_values
        from agents.networks.critics import ActionValueEnsemble
        from agents.networks.factored import part_scores
        from agents.networks.layers import normalizer

        num_outputs = num_action_values(specs)
        critics = [self.layers(specs.observation.shape[-1], num_outputs) for _ in range(self.num_nets)]
        return ActionValueEnsemble(critics, normalizer(specs, normalize), part_scores(specs))


def separate_critics(
    config: MLPConfig, specs: Specs, *, num_nets: int, normalize: bool = False
) -> list[TensorDictModule]:
    """Critics in the form that TorchRL's losses take, each ``observation [B, O], action [B, A] -> [B, 1]``.

    A list: of a single network such a loss would draw the parameters again.
    """
    layers = {entry.name: getattr(config, entry.name) for entry in fields(MLPConfig)}
    return [QValueConfig(**layers, num_nets=1).build(specs, normalize=normalize) for _ in range(num_nets)]


@dataclass
class ActorConfig(MLPConfig):
    """A Gaussian policy.

    ``normal`` is IQL's own: an unsquashed Normal whose mean is a tanh in the action bounds and whose log-std is a free
    parameter. ``tanh_normal`` squashes the sample and lets the log-std depend on the state, as SAC does.
    """

    distribution: str = "normal"  # normal or tanh_normal
    log_std_min: float = -5.0  # natural logarithm; below log_std_max
    log_std_max: float = 2.0  # natural logarithm; above log_std_min

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("distribution", self.distribution, ("normal", "tanh_normal"))
        below = -math.inf < self.log_std_min < self.log_std_max < math.inf
        require(below, "log_std_min", f"be below log_std_max, {self.log_std_max}", self.log_std_min)

    def build(self, specs: Specs, *, normalize: bool = False) -> ProbabilisticTensorDictSequential:
        """``observation [B, O] -> loc, scale, action [B, A]`` with ``get_dist`` for the log-likelihood."""
        from agents.networks.actors import gaussian_actor

        return gaussian_actor(self, specs, normalize=normalize)


@dataclass
class DeterministicActorConfig(MLPConfig):
    """A policy that is one action per state: a tanh in the action bounds, as in TD3."""

    def build(self, specs: Specs, *, normalize: bool = False) -> TensorDictModule:
        """``observation [B, O] -> action [B, A]``."""
        from agents.networks.actors import DeterministicActor

        return _module(DeterministicActor(self, specs, normalize), "observation", to="action")


@dataclass
class CategoricalActorConfig(MLPConfig):
    """A policy over discrete actions with a logit for each, or for each value of their parts, which are independent."""

    def build(self, specs: Specs, *, normalize: bool = False) -> ProbabilisticTensorDictSequential:
        """``observation [B, O] -> logits [B, A], action [B]`` with ``get_dist`` for the log-likelihood.

        Of actions with parts, ``logits [B, K, M], action [B, K]``: see :mod:`agents.networks.factored`.
        """
        from agents.networks.actors import categorical_actor

        return categorical_actor(self, specs, normalize=normalize)


@dataclass
class TransformerConfig:
    """A causal transformer as in GPT-2: LayerNorm in front of attention and perceptron, and after the last block."""

    width: int = 128  # units of a token, a multiple of num_heads; the perceptrons have four times as many
    num_layers: int = 3  # blocks of attention and perceptron, >= 1
    num_heads: int = 1  # of the attention, >= 1
    activation: str = "relu"  # relu, gelu, silu, mish, elu or tanh
    dropout: float = 0.1  # share dropped while training of tokens, attention and what a block adds, in [0, 1)

    def __post_init__(self) -> None:
        for name in ("width", "num_layers", "num_heads"):
            require(getattr(self, name) >= 1, name, "be at least 1", getattr(self, name))
        require(self.width % self.num_heads == 0, "width", f"be a multiple of num_heads, {self.num_heads}", self.width)
        require(0.0 <= self.dropout < 1.0, "dropout", "lie in [0, 1)", self.dropout)
        require_choice("activation", self.activation, ACTIVATIONS)
        require_memory(self.num_weights * FLOAT32, "width", f"{self.width} with num_layers={self.num_layers}")

    @property
    def num_weights(self) -> int:
        """Parameters, at the least: those of attention and perceptrons."""
        return 12 * self.width**2 * self.num_layers

    @property
    def num_activations(self) -> int:
        """Hidden units that training keeps for each step, at the least: those of the perceptrons."""
        return 4 * self.width * self.num_layers


@dataclass
class DiffusionActorConfig(MLPConfig):
    """A denoising diffusion model of actions, whose denoiser is a perceptron."""

    hidden_sizes: list[int] = field(default_factory=lambda: [256, 256, 256])  # units per hidden layer, each >= 1
    activation: str = "mish"  # relu, gelu, silu, mish, elu or tanh
    init: str = "default"  # orthogonal (gain sqrt 2, zero biases) or default (torch's own)
    num_steps: int = 5  # T, from noise to an action, >= 1
    noise_scale: float = 0.0  # of the noise that the policy's actions are made of, >= 0; 1: samples of the model

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.num_steps >= 1, "num_steps", "be at least 1", self.num_steps)
        require_memory(self.num_steps * FLOAT32, "num_steps", self.num_steps)
        require(0.0 <= self.noise_scale < math.inf, "noise_scale", "be at least 0", self.noise_scale)

    def build(self, specs: Specs, *, normalize: bool = False) -> TensorDictModule:
        """``observation [B, O] -> action [B, A]``, in the form that TorchRL's DiffusionBCLoss takes."""
        from agents.networks.diffusion import DiffusionActor

        return _module(DiffusionActor(self, specs, normalize), "observation", to="action")


def _module(network: nn.Module, *in_keys: str, to: str) -> TensorDictModule:
    from tensordict.nn import TensorDictModule

    return TensorDictModule(network, in_keys=[*in_keys], out_keys=[to])
