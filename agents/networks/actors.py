"""Actors: ``observation [B, O]`` to an action, or to the parameters of a distribution of actions.

Shapes: ``B`` batch, ``O`` observation, ``A`` action, ``K`` candidates (of a discrete action: parts).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDictBase
from tensordict.nn import (
    InteractionType,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
)
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Normal, constraints
from torch.types import _size
from torchrl.modules.distributions import IndependentNormal

from agents.data.specs import Specs
from agents.networks.bounds import BoundedNetwork, action_bounds, center_and_half_range, divisor, num_action_values
from agents.networks.factored import FactoredCategorical, part_scores
from agents.networks.layers import observation_layers

if TYPE_CHECKING:
    from agents.networks.configs import ActorConfig, CategoricalActorConfig, DeterministicActorConfig


class DeterministicActor(BoundedNetwork):
    """``center + half_range * tanh(net(s))``, inside the action bounds."""

    def __init__(self, config: DeterministicActorConfig, specs: Specs, normalize: bool) -> None:
        super().__init__(specs)
        self.layers = observation_layers(config, specs, specs.action.shape[-1], normalize)

    def forward(self, observation: Tensor) -> Tensor:
        return self.action_center + self.action_half_range * torch.tanh(self.layers(observation))

    mean_action = forward


class NormalActor(BoundedNetwork):
    """Mean ``center + half_range * tanh(net(s))`` and a log-std that is one free parameter per action dimension.

    Source: IQL (arXiv 2110.06169), official code, where the bounds are +-1.
    """

    def __init__(self, config: ActorConfig, specs: Specs, normalize: bool) -> None:
        super().__init__(specs)
        num_actions = specs.action.shape[-1]
        self.layers = observation_layers(config, specs, num_actions, normalize)
        self.log_std = nn.Parameter(torch.zeros(num_actions))
        self.log_std_range = (config.log_std_min, config.log_std_max)

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.log_std)

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


class TanhNormalActor(BoundedNetwork):
    """State-dependent location and scale of a Normal that the distribution squashes into the action bounds."""

    def __init__(self, config: ActorConfig, specs: Specs, normalize: bool) -> None:
        super().__init__(specs)
        self.num_actions = specs.action.shape[-1]
        self.layers = observation_layers(config, specs, 2 * self.num_actions, normalize)
        self.log_std_range = (config.log_std_min, config.log_std_max)

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

    TorchRL's TanhNormal reads bounds and arguments back to check them, so that no loss with it can be traced. And the
    likelihood that it gives an action of exactly +-1 depends on where its inverse of tanh stops, hundreds of nats
    further out than anything inside: one saturated demonstration owns the batch. Here actions of the data are pulled
    inside by a share of the range first, as official IQL does.

    Args:
        loc, scale: of u, ``[..., A]``.
        low, high: bounds of a, ``[A]``.
    """

    # torch's own distributions override its property so too
    arg_constraints: dict[str, constraints.Constraint] = {}  # pyright: ignore[reportIncompatibleMethodOverride]
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

    def rsample(self, sample_shape: _size = ()) -> Tensor:
        return self._squash(self.base_dist.rsample(sample_shape))

    def rsample_and_log_prob(self, sample_shape: _size = ()) -> tuple[Tensor, Tensor]:
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


class ClippedDraw(ProbabilisticTensorDictModule):
    """A draw of an action, clipped to the bounds where it is acted on, as official IQL does.

    The distribution and its likelihoods, which losses read, stay those of the paper.
    """

    def __init__(self, *args: Any, low: Tensor, high: Tensor, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.low, self.high = low, high  # [A]; no buffers: nothing that a loss or a checkpoint is to hold

    def forward(  # pyright: ignore[reportIncompatibleVariableOverride]  # TorchRL's is an object that dispatches
        self, tensordict: TensorDictBase, *args: Any, **kwargs: Any
    ) -> TensorDictBase:
        tensordict = super().forward(tensordict, *args, **kwargs)
        action = tensordict.get("action")
        return tensordict.set("action", action.clamp(self.low.to(action), self.high.to(action)))


def gaussian_actor(config: ActorConfig, specs: Specs, *, normalize: bool) -> ProbabilisticTensorDictSequential:
    """``observation [B, O] -> loc, scale, action [B, A]``; :meth:`ActorConfig.build` calls it."""
    if config.distribution == "tanh_normal":
        network = TanhNormalActor(config, specs, normalize)
        low, high = action_bounds(specs.action)
        return _stochastic(network, ["loc", "scale"], BoundedTanhNormal, low=low, high=high)
    network = NormalActor(config, specs, normalize)  # which refuses actions without bounds
    low, high = action_bounds(specs.action)
    # torch checks every argument of every distribution unless told not to: a tenth of the update
    draw = functools.partial(ClippedDraw, low=low, high=high)
    return _stochastic(network, ["loc", "scale"], IndependentNormal, draw, validate_args=False)


def categorical_actor(
    config: CategoricalActorConfig, specs: Specs, *, normalize: bool
) -> ProbabilisticTensorDictSequential:
    """``observation [B, O] -> logits [B, A], action [B]``; :meth:`CategoricalActorConfig.build` calls it."""
    network, parts = observation_layers(config, specs, num_action_values(specs), normalize), part_scores(specs)
    distribution = FactoredCategorical if parts else Categorical
    # checks would read the logits back
    return _stochastic(network.extend(parts), ["logits"], distribution, validate_args=False)


def _stochastic(
    network: nn.Module,
    parameters: list[str],
    distribution: type[Distribution],
    draw: Callable[..., ProbabilisticTensorDictModule] = ProbabilisticTensorDictModule,
    **settings: Any,
) -> ProbabilisticTensorDictSequential:
    modules = (
        TensorDictModule(network, in_keys=["observation"], out_keys=[*parameters]),
        draw(
            in_keys=[*parameters],
            out_keys=["action"],
            distribution_class=distribution,
            distribution_kwargs=settings,
            default_interaction_type=InteractionType("random"),
        ),
    )
    # its overloads leave out modules one by one
    return ProbabilisticTensorDictSequential(*modules)  # pyright: ignore[reportCallIssue, reportArgumentType]
