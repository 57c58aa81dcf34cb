"""Actors: ``observation [B, O]`` to an action, or to the parameters of a distribution of actions.

Shapes: ``B`` batch, ``O`` observation, ``A`` action, ``K`` candidates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from tensordict.nn import (
    InteractionType,
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
)
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution
from torchrl.modules.distributions import IndependentNormal

from agents.data.specs import Specs
from agents.networks.bounds import BoundedNetwork, action_bounds, num_discrete_actions, register_bounds, require_bounds
from agents.networks.distributions import BoundedTanhNormal
from agents.networks.layers import observation_layers

if TYPE_CHECKING:
    from agents.networks.configs import ActorConfig, CategoricalActorConfig, DeterministicActorConfig


class DeterministicActor(BoundedNetwork):
    """``center + half_range * tanh(net(s))``, inside the action bounds."""

    def __init__(self, config: DeterministicActorConfig, specs: Specs, normalize: bool) -> None:
        super().__init__()
        self.layers = observation_layers(config, specs, specs.action.shape[-1], normalize)
        register_bounds(self, specs)

    def forward(self, observation: Tensor) -> Tensor:
        return self.action_center + self.action_half_range * torch.tanh(self.layers(observation))

    mean_action = forward


class NormalActor(BoundedNetwork):
    """Mean ``center + half_range * tanh(net(s))`` and a log-std that is one free parameter per action dimension.

    Source: IQL (arXiv 2110.06169), official code, where the bounds are +-1.
    """

    def __init__(self, config: ActorConfig, specs: Specs, normalize: bool) -> None:
        super().__init__()
        num_actions = specs.action.shape[-1]
        self.layers = observation_layers(config, specs, num_actions, normalize)
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


class TanhNormalActor(BoundedNetwork):
    """State-dependent location and scale of a Normal that the distribution squashes into the action bounds."""

    def __init__(self, config: ActorConfig, specs: Specs, normalize: bool) -> None:
        super().__init__()
        self.num_actions = specs.action.shape[-1]
        self.layers = observation_layers(config, specs, 2 * self.num_actions, normalize)
        self.log_std_range = (config.log_std_min, config.log_std_max)
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


def gaussian_actor(config: ActorConfig, specs: Specs, *, normalize: bool) -> ProbabilisticTensorDictSequential:
    """``observation [B, O] -> loc, scale, action [B, A]``; :meth:`ActorConfig.build` calls it."""
    require_bounds(specs)
    if config.distribution == "tanh_normal":
        low, high = action_bounds(specs.action)
        network = TanhNormalActor(config, specs, normalize)
        return _stochastic(network, ["loc", "scale"], BoundedTanhNormal, low=low, high=high)
    # torch checks every argument of every distribution unless told not to: a tenth of the update
    return _stochastic(NormalActor(config, specs, normalize), ["loc", "scale"], IndependentNormal, validate_args=False)


def categorical_actor(
    config: CategoricalActorConfig, specs: Specs, *, normalize: bool
) -> ProbabilisticTensorDictSequential:
    """``observation [B, O] -> logits [B, A], action [B]``; :meth:`CategoricalActorConfig.build` calls it."""
    network = observation_layers(config, specs, num_discrete_actions(specs), normalize)
    return _stochastic(network, ["logits"], Categorical, validate_args=False)  # checks would read the logits back


def _stochastic(
    network: nn.Module, parameters: list[str], distribution: type[Distribution], **settings: Any
) -> ProbabilisticTensorDictSequential:
    modules = (
        TensorDictModule(network, in_keys=["observation"], out_keys=[*parameters]),
        ProbabilisticTensorDictModule(
            in_keys=[*parameters],
            out_keys=["action"],
            distribution_class=distribution,
            distribution_kwargs=settings,
            default_interaction_type=InteractionType("random"),
        ),
    )
    # its overloads leave out modules one by one
    return ProbabilisticTensorDictSequential(*modules)  # pyright: ignore[reportCallIssue, reportArgumentType]
