"""Actor, Q and value networks as TensorDictModules, built from specs and a small config.

Observations enter raw: the scaling to zero mean and unit variance, where asked for, is part of the network, and so are
the action bounds. A saved policy therefore needs nothing beside its own tensors.

Shapes: ``B`` batch, ``O`` observation, ``A`` action (where actions are discrete: how many there are), ``H`` hidden,
``N`` critics.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field, fields

import torch
from tensordict.nn import (
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
    TensorDictSequential,
)
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Normal, constraints
from torchrl.data import Bounded
from torchrl.modules.distributions import IndependentNormal

from agents.data import Specs
from agents.errors import ConfigError, require, require_choice

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "elu": nn.ELU, "tanh": nn.Tanh}
INITS = ("orthogonal", "default")
DISTRIBUTIONS = ("normal", "tanh_normal")

# CORL and TD3+BC add this to the standard deviation, so that a constant dimension is not blown up.
NORMALIZATION_EPS = 1e-3


@dataclass
class MLPConfig:
    """A multilayer perceptron.

    Raises:
        ConfigError: if a field is outside the range given in its comment.
    """

    hidden_sizes: list[int] = field(default_factory=lambda: [256, 256])  # units per hidden layer, each >= 1
    activation: str = "relu"  # relu, gelu, silu, elu or tanh
    dropout: float = 0.0  # share of hidden units dropped after each hidden layer while training, in [0, 1)
    layer_norm: bool = False  # LayerNorm before each activation
    init: str = "orthogonal"  # orthogonal (gain sqrt 2, zero biases) or default (torch's own)

    def __post_init__(self) -> None:
        sizes = list(self.hidden_sizes)
        require(all(size >= 1 for size in sizes), "hidden_sizes", "all be at least 1", sizes)
        require(0.0 <= self.dropout < 1.0, "dropout", "lie in [0, 1)", self.dropout)
        require_choice("activation", self.activation, sorted(ACTIVATIONS))
        require_choice("init", self.init, INITS)

    def layers(self, in_features: int, out_features: int) -> nn.Sequential:
        """The perceptron itself, ``[..., in_features] -> [..., out_features]``, freshly initialised."""
        modules: list[nn.Module] = []
        for size in self.hidden_sizes:
            modules.append(self._linear(in_features, size))
            if self.layer_norm:
                modules.append(nn.LayerNorm(size))
            modules.append(ACTIVATIONS[self.activation]())
            if self.dropout > 0.0:
                modules.append(Dropout(self.dropout))
            in_features = size
        return nn.Sequential(*modules, self._linear(in_features, out_features))

    def _linear(self, in_features: int, out_features: int) -> nn.Linear:
        linear = nn.Linear(in_features, out_features)
        if self.init == "orthogonal":
            nn.init.orthogonal_(linear.weight, gain=math.sqrt(2.0))
            nn.init.zeros_(linear.bias)
        return linear


@dataclass
class ValueConfig(MLPConfig):
    """State value V(s)."""

    def build(self, specs: Specs, *, normalize: bool = False) -> TensorDictModule:
        """``observation [B, O] -> state_value [B, 1]``."""
        network = nn.Sequential(*normalizer(specs, normalize), self.layers(specs.observation.shape[-1], 1))
        return TensorDictModule(network, in_keys=["observation"], out_keys=["state_value"])


@dataclass
class QValueConfig(MLPConfig):
    """An ensemble of independent state-action values Q(s, a).

    Dropout, if asked for, acts in the targets too, as in DroQ (arXiv 2110.02034).
    """

    num_nets: int = 2  # critics in the ensemble, each with its own initialisation, >= 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.num_nets >= 1, "num_nets", "be at least 1", self.num_nets)

    def build(self, specs: Specs, *, normalize: bool = False) -> TensorDictModule:
        """``observation [B, O], action [B, A] -> state_action_value [B, N]``; a discrete action is ``[B]``."""
        if specs.discrete:
            network = ChosenActionValue(self._action_values(specs, normalize))
        else:
            in_features = specs.observation.shape[-1] + specs.action.shape[-1]
            critics = [self.layers(in_features, 1) for _ in range(self.num_nets)]
            network = QValueEnsemble(critics, normalizer(specs, normalize))
        return TensorDictModule(network, in_keys=["observation", "action"], out_keys=["state_action_value"])

    def build_action_values(self, specs: Specs, *, normalize: bool = False) -> TensorDictModule:
        """``observation [B, O] -> action_value [B, N, A]``, the values of all actions.

        Raises:
            ConfigError: if the actions are not discrete.
        """
        network = self._action_values(specs, normalize)
        return TensorDictModule(network, in_keys=["observation"], out_keys=["action_value"])

    def _action_values(self, specs: Specs, normalize: bool) -> ActionValueEnsemble:
        _require_discrete(specs)
        critics = [self.layers(specs.observation.shape[-1], specs.action.n) for _ in range(self.num_nets)]
        return ActionValueEnsemble(critics, normalizer(specs, normalize))


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
        require_choice("distribution", self.distribution, DISTRIBUTIONS)
        below = -math.inf < self.log_std_min < self.log_std_max < math.inf
        require(below, "log_std_min", f"be below log_std_max, {self.log_std_max}", self.log_std_min)

    def build(self, specs: Specs, *, normalize: bool = False) -> ProbabilisticTensorDictSequential:
        """``observation [B, O] -> loc, scale, action [B, A]`` with ``get_dist`` for the log-likelihood.

        Raises:
            ConfigError: if the actions are not continuous.
        """
        require_bounds(specs)
        normal = self.distribution == "normal"
        network = (NormalActor if normal else TanhNormalActor)(self, specs, normalize)
        low, high = specs.action.space.low, specs.action.space.high
        return ProbabilisticTensorDictSequential(
            TensorDictModule(network, in_keys=["observation"], out_keys=["loc", "scale"]),
            ProbabilisticTensorDictModule(
                in_keys=["loc", "scale"],
                out_keys=["action"],
                distribution_class=IndependentNormal if normal else BoundedTanhNormal,
                # torch checks every argument of every distribution unless told not to: a tenth of the update
                distribution_kwargs={"validate_args": False} if normal else {"low": low, "high": high},
                default_interaction_type="random",
            ),
        )


@dataclass
class DeterministicActorConfig(MLPConfig):
    """A policy that is one action per state: a tanh in the action bounds, as in TD3."""

    def build(self, specs: Specs, *, normalize: bool = False) -> TensorDictModule:
        """``observation [B, O] -> action [B, A]``.

        Raises:
            ConfigError: if the actions are not continuous.
        """
        require_bounds(specs)
        return TensorDictModule(
            DeterministicActor(self, specs, normalize), in_keys=["observation"], out_keys=["action"]
        )


class DeterministicActor(nn.Module):
    """``center + half_range * tanh(net(s))``, inside the action bounds."""

    def __init__(self, config: DeterministicActorConfig, specs: Specs, normalize: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *normalizer(specs, normalize), config.layers(specs.observation.shape[-1], specs.action.shape[-1])
        )
        register_bounds(self, specs)

    def forward(self, observation: Tensor) -> Tensor:
        return self.action_center + self.action_half_range * torch.tanh(self.layers(observation))

    mean_action = forward


@dataclass
class CategoricalActorConfig(MLPConfig):
    """A policy over discrete actions with a logit for each."""

    def build(self, specs: Specs, *, normalize: bool = False) -> ProbabilisticTensorDictSequential:
        """``observation [B, O] -> logits [B, A], action [B]`` with ``get_dist`` for the log-likelihood.

        Raises:
            ConfigError: if the actions are not discrete.
        """
        _require_discrete(specs)
        layers = self.layers(specs.observation.shape[-1], specs.action.n)
        network = nn.Sequential(*normalizer(specs, normalize), layers)
        return ProbabilisticTensorDictSequential(
            TensorDictModule(network, in_keys=["observation"], out_keys=["logits"]),
            ProbabilisticTensorDictModule(
                in_keys=["logits"],
                out_keys=["action"],
                distribution_class=Categorical,
                distribution_kwargs={"validate_args": False},  # it would read the logits back
                default_interaction_type="random",
            ),
        )


class NormalActor(nn.Module):
    """Mean ``center + half_range * tanh(net(s))`` and a log-std that is one free parameter per action dimension.

    Source: IQL (arXiv 2110.06169), official code, where the bounds are +-1.
    """

    def __init__(self, config: ActorConfig, specs: Specs, normalize: bool) -> None:
        super().__init__()
        num_actions = specs.action.shape[-1]
        self.layers = nn.Sequential(
            *normalizer(specs, normalize), config.layers(specs.observation.shape[-1], num_actions)
        )
        self.log_std = nn.Parameter(torch.zeros(num_actions))
        self.log_std_range = (config.log_std_min, config.log_std_max)
        register_bounds(self, specs)

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        loc = self.mean_action(observation)
        scale = self.log_std.clamp(*self.log_std_range).exp()  # [A]
        return loc, scale.expand_as(loc)

    def draw(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Actions from standard normal ``noise [K, A]`` or ``[B, K, A]``, not all inside the bounds, ``[B, K, A]``."""
        loc, scale = self(observation)
        return loc[:, None] + scale[:, None] * noise

    def mean_action(self, observation: Tensor) -> Tensor:
        return self.action_center + self.action_half_range * torch.tanh(self.layers(observation))


class TanhNormalActor(nn.Module):
    """State-dependent location and scale of a Normal that the distribution squashes into the action bounds."""

    def __init__(self, config: ActorConfig, specs: Specs, normalize: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *normalizer(specs, normalize), config.layers(specs.observation.shape[-1], 2 * specs.action.shape[-1])
        )
        self.log_std_range = (config.log_std_min, config.log_std_max)
        self.num_actions = specs.action.shape[-1]
        register_bounds(self, specs)

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        loc, log_std = self.layers(observation).chunk(2, dim=-1)
        return loc, log_std.clamp(*self.log_std_range).exp()

    def draw(self, observation: Tensor, noise: Tensor) -> Tensor:
        """Actions from standard normal ``noise [K, A]`` or ``[B, K, A]``, inside the bounds, ``[B, K, A]``."""
        loc, scale = self(observation)
        return self.action_center + self.action_half_range * torch.tanh(loc[:, None] + scale[:, None] * noise)

    def mean_action(self, observation: Tensor) -> Tensor:
        loc = self.layers(observation)[..., : self.num_actions]
        return self.action_center + self.action_half_range * torch.tanh(loc)


class BoundedTanhNormal(Distribution):
    r"""A Normal that a tanh squashes into the action bounds.

    .. math::
        a = c + h \tanh(u), \quad u \sim N(\mathrm{loc}, \mathrm{scale}), \qquad
        \log p(a) = \sum [\log N(u) - \log h - \log(1 - \tanh^2 u)]

    What TorchRL's TanhNormal is, but for two things. That one reads bounds and arguments back to check them whenever it
    is made, so that no loss with it can be traced. And the likelihood that it gives an action of exactly +-1 depends on
    where its inverse of tanh stops, hundreds of nats further out than anything inside: one saturated demonstration owns
    the batch. Actions of the data are pulled inside by a share of the range first, as official IQL does.

    Args:
        loc, scale: of u, ``[..., A]``.
        low, high: bounds of a, ``[A]``.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    has_rsample = True
    action_eps = 1e-5  # share of the half range

    def __init__(self, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> None:
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)
        low, high = low.to(loc.device), high.to(loc.device)
        self.center, self.half_range = center_and_half_range(low, high)
        self.base_dist = Normal(loc, scale, validate_args=False)

    @property
    def deterministic_sample(self) -> Tensor:
        return self._squash(self.base_dist.loc)

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        return self._squash(self.base_dist.rsample(sample_shape))

    def rsample_and_log_prob(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
        """An action and the log-likelihood of that very u, which the rounded action no longer tells."""
        raw = self.base_dist.rsample(sample_shape)
        return self._squash(raw), self._log_prob(raw)

    def log_prob(self, value: Tensor) -> Tensor:
        limit = 1.0 - self.action_eps
        position = (value - self.center) / divisor(self.half_range)
        return self._log_prob(torch.atanh(position.clamp(-limit, limit)))

    def _squash(self, raw: Tensor) -> Tensor:
        return self.center + self.half_range * torch.tanh(raw)

    def _log_prob(self, raw: Tensor) -> Tensor:
        # log(1 - tanh^2 u), which float32 rounds to log 0 from u = 9 on, in a form that does not overflow
        log_slope = 2.0 * (math.log(2.0) - raw - nn.functional.softplus(-2.0 * raw))
        return (self.base_dist.log_prob(raw) - log_slope - divisor(self.half_range).log()).sum(-1)


def default_target_entropy(specs: Specs) -> float:
    """Entropy that SAC steers a policy to unless told otherwise: minus one nat per action dimension.

    Source: arXiv 1812.05905, where actions lie in +-1; for other bounds, the entropy of the same policy there.
    """
    _, half_range = center_and_half_range(specs.action.space.low, specs.action.space.high)
    return (divisor(half_range).log() - 1.0).sum().item()


class DeterministicPolicy(nn.Module):
    """The policy to evaluate and deploy: the mode of the actor, ``[B, O] -> [B, A]``, inside the action bounds."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, observation: Tensor) -> Tensor:
        return self.network.mean_action(observation)


def deterministic_policy(actor: ProbabilisticTensorDictSequential | TensorDictModule) -> TensorDictModule:
    """``observation [B, O] -> action [B, A]``, in eval mode, sharing the actor's tensors.

    The mode is the policy's own: neither does ``policy.eval()`` stop the dropout of later updates, nor an update start
    the policy's.
    """
    network = (actor[0] if isinstance(actor, TensorDictSequential) else actor).module
    policy = DeterministicPolicy(sharing_tensors(network))
    return TensorDictModule(policy, in_keys=["observation"], out_keys=["action"]).eval()


class GreedyPolicy(nn.Module):
    """The policy to evaluate and deploy where actions are discrete: the index of the best one, ``[B, O] -> [B]``.

    Args:
        network: logits ``[B, O] -> [B, A]``, or an :class:`ActionValueEnsemble`, whose mean over critics counts.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, observation: Tensor) -> Tensor:
        scores = self.network(observation)
        if isinstance(self.network, ActionValueEnsemble):
            scores = scores.mean(1)  # [B, N, A] -> [B, A]
        return scores.argmax(-1)


def greedy_policy(scores: TensorDictModule) -> TensorDictModule:
    """:func:`deterministic_policy` for discrete actions, ``observation [B, O] -> action [B]``.

    Args:
        scores: ``observation -> logits [B, A]`` of a categorical actor, or ``observation -> action_value [B, N, A]``.
    """
    policy = GreedyPolicy(sharing_tensors(scores.module))
    return TensorDictModule(policy, in_keys=["observation"], out_keys=["action"]).eval()


def sharing_tensors(network: nn.Module) -> nn.Module:
    """A copy with the same parameters and buffers, whose mode is its own."""
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return copy.deepcopy(network, shared)


class QValueEnsemble(nn.Module):
    """``N`` independent perceptrons evaluated as one batched product: ``[B, O], [B, A] -> [B, N]``.

    Each may have inputs of its own instead: ``[N, B, O], [N, B, A] -> [B, N]``.
    """

    def __init__(self, critics: list[nn.Sequential], normalizer: list[nn.Module]) -> None:
        super().__init__()
        self.num_nets = len(critics)
        self.normalizer = nn.Sequential(*normalizer)
        self.layers = nn.Sequential(*(_stack(list(same)) for same in zip(*critics)))

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        joint = torch.cat([self.normalizer(observation), action], dim=-1)
        qvalues = self.layers(joint.expand(self.num_nets, *joint.shape[-2:]))  # [N, B, 1]
        return qvalues.squeeze(-1).transpose(0, 1)  # [B, N]


class ActionValueEnsemble(nn.Module):
    """``N`` independent perceptrons with an output per discrete action: ``[B, O] -> [B, N, A]``."""

    def __init__(self, critics: list[nn.Sequential], normalizer: list[nn.Module]) -> None:
        super().__init__()
        self.num_nets = len(critics)
        self.normalizer = nn.Sequential(*normalizer)
        self.layers = nn.Sequential(*(_stack(list(same)) for same in zip(*critics)))

    def forward(self, observation: Tensor) -> Tensor:
        observation = self.normalizer(observation)
        action_value = self.layers(observation.expand(self.num_nets, *observation.shape))  # [N, B, A]
        return action_value.transpose(0, 1)  # [B, N, A]


class ChosenActionValue(nn.Module):
    """The values of one discrete action per state: ``[B, O], [B] -> [B, N]``."""

    def __init__(self, action_values: ActionValueEnsemble) -> None:
        super().__init__()
        self.action_values = action_values

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        return chosen_action_value(self.action_values(observation), action)


def chosen_action_value(action_value: Tensor, action: Tensor) -> Tensor:
    """The values of one action per state: ``[B, N, A], [B] -> [B, N]``."""
    index = action[:, None, None].expand(*action_value.shape[:-1], 1)  # [B] -> [B, N, 1]
    return action_value.gather(-1, index).squeeze(-1)


def _stack(modules: list[nn.Module]) -> nn.Module:
    """One module over a leading ensemble dimension for the same layer of several networks."""
    if isinstance(modules[0], nn.Linear):
        return EnsembleLinear(modules)
    if isinstance(modules[0], nn.LayerNorm):
        return EnsembleLayerNorm(modules)
    return modules[0]  # activations and dropout have no parameters


class Dropout(nn.Module):
    """Dropout whose random numbers are hashes of a unit's index and two drawn words.

    A generator on a CPU draws one number after the other, for torch's dropout a seventh of a whole update; a hash is a
    function of tensors, which the compiler spreads over cores and vector lanes beside the activation.

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
        kept = _hash(index, *words) >= self.num_dropped - 2**31
        return x * kept.view(x.shape) * (2**32 / (2**32 - self.num_dropped))


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

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class EnsembleLayerNorm(nn.Module):
    """``x [N, B, H] -> [N, B, H]``, one scale and shift per member."""

    def __init__(self, norms: list[nn.LayerNorm]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([norm.weight.detach()[None] for norm in norms]))  # [N, 1, H]
        self.bias = nn.Parameter(torch.stack([norm.bias.detach()[None] for norm in norms]))
        self.eps = norms[0].eps

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.layer_norm(x, x.shape[-1:], eps=self.eps) * self.weight + self.bias


class Normalizer(nn.Module):
    """``(observation - mean) / (std + 1e-3)`` with the dataset's statistics, ``[..., O]``."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("scale", 1.0 / (std + NORMALIZATION_EPS))

    def forward(self, observation: Tensor) -> Tensor:
        return (observation - self.mean) * self.scale


def normalizer(specs: Specs, normalize: bool) -> list[nn.Module]:
    return [Normalizer(specs.observation_mean, specs.observation_std)] if normalize else []


def require_bounds(specs: Specs) -> None:
    if not isinstance(specs.action, Bounded):
        way_out = (
            "choose a dataset with such actions" if specs.discrete else "write finite bounds into its action space"
        )
        raise ConfigError(
            f"this algorithm needs continuous actions in a Box, with bounds, the data have "
            f"{type(specs.action).__name__}; {way_out}"
        )


def _require_discrete(specs: Specs) -> None:
    if not specs.discrete:
        raise ConfigError(
            f"this algorithm needs discrete actions, the data have {type(specs.action).__name__}; choose a dataset "
            "with such actions"
        )


def register_bounds(module: nn.Module, specs: Specs) -> None:
    center, half_range = center_and_half_range(specs.action.space.low, specs.action.space.high)  # [A]
    module.register_buffer("action_center", center)
    module.register_buffer("action_half_range", half_range)


def center_and_half_range(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """``c, h [A]`` so that ``c + h * x`` with any ``-1 <= x <= 1`` is inside the bounds, in float32 too."""
    center = (high + low) / 2
    half_range = torch.minimum(high - center, center - low)
    outside = (center + half_range > high) | (center - half_range < low)  # by rounding
    return center, torch.where(outside, half_range.nextafter(torch.zeros_like(half_range)), half_range)


def divisor(half_range: Tensor) -> Tensor:
    """The half range, to divide by: 1 where the bounds are equal, as for a joint that is locked."""
    return torch.where(half_range > 0.0, half_range, 1.0)
