"""Actors: ``observation [B, O]`` to an action, or to the parameters of a distribution of actions.

Shapes: ``B`` batch, ``O`` observation, ``A`` action, ``K`` candidates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from tensordict.nn import ProbabilisticTensorDictModule, ProbabilisticTensorDictSequential, TensorDictModule
from torch import Tensor, nn
from torch.distributions import Categorical
from torchrl.modules.distributions import IndependentNormal

from agents.data.specs import Specs
from agents.networks.bounds import register_bounds, require_bounds, require_discrete
from agents.networks.distributions import BoundedTanhNormal
from agents.networks.layers import normalizer

if TYPE_CHECKING:
    from agents.networks.configs import ActorConfig, CategoricalActorConfig, DeterministicActorConfig


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


def gaussian_actor(config: ActorConfig, specs: Specs, *, normalize: bool) -> ProbabilisticTensorDictSequential:
    """What :meth:`ActorConfig.build` gives."""
    require_bounds(specs)
    normal = config.distribution == "normal"
    network = (NormalActor if normal else TanhNormalActor)(config, specs, normalize)
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


def categorical_actor(
    config: CategoricalActorConfig, specs: Specs, *, normalize: bool
) -> ProbabilisticTensorDictSequential:
    """What :meth:`CategoricalActorConfig.build` gives."""
    require_discrete(specs)
    layers = config.layers(specs.observation.shape[-1], specs.action.n)
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
