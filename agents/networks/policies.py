"""Policies to evaluate and to deploy, which share their tensors with what is trained.

Shapes: ``B`` batch, ``O`` observation, ``A`` action, ``N`` critics.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorDict
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModule, TensorDictSequential
from torch import Tensor, nn

from agents.errors import ConfigError
from agents.networks.actors import DeterministicActor, NormalActor, TanhNormalActor
from agents.networks.critics import ActionValueEnsemble


class DeterministicPolicy(nn.Module):
    """The policy to evaluate and deploy: the mode of the actor, ``[B, O] -> [B, A]``, inside the action bounds."""

    def __init__(self, network: DeterministicActor | NormalActor | TanhNormalActor) -> None:
        super().__init__()
        self.network = network

    def forward(self, observation: Tensor) -> Tensor:
        return self.network.mean_action(observation)


class ModePolicy(nn.Module):
    """The same of any actor with a distribution, which has to know its mode or mean."""

    def __init__(self, actor: ProbabilisticTensorDictSequential) -> None:
        super().__init__()
        self.actor = actor

    def forward(self, observation: Tensor) -> Tensor:
        distribution: Any = self.actor.get_dist(TensorDict({"observation": observation}, observation.shape[:-1]))
        return distribution.deterministic_sample


def deterministic_policy(actor: ProbabilisticTensorDictSequential | TensorDictModule) -> TensorDictModule:
    """``observation [B, O] -> action [B, A]``, in an eval mode of its own, sharing the actor's tensors.

    Raises:
        ConfigError: if the actor reads or writes something else.
    """
    if actor.in_keys != ["observation"] or "action" not in actor.out_keys:
        keys = f"{actor.in_keys} -> {actor.out_keys}"
        raise ConfigError(f"a deterministic policy needs an actor from 'observation' to 'action', got {keys}")
    network: Any = getattr(actor[0] if isinstance(actor, TensorDictSequential) else actor, "module", None)
    if hasattr(network, "mean_action"):
        policy = DeterministicPolicy(sharing_tensors(network))
    elif isinstance(actor, ProbabilisticTensorDictSequential):
        policy = ModePolicy(sharing_tensors(actor))
    else:
        return sharing_tensors(actor).eval()
    return TensorDictModule(policy, in_keys=["observation"], out_keys=["action"]).eval()


class LimitedPolicy(nn.Module):
    """The same of a network ``[B, O] -> [B, A]``, moved inside limits ``[A]`` that are narrower than its bounds."""

    low: Tensor
    high: Tensor

    def __init__(self, network: nn.Module, low: Tensor, high: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("low", low)
        self.register_buffer("high", high)

    def forward(self, observation: Tensor) -> Tensor:
        action = self.network(observation)
        return action.clamp(self.low.to(action), self.high.to(action))


class GreedyPolicy(nn.Module):
    """The policy to evaluate and deploy where actions are discrete: the index of the best one, ``[B, O] -> [B]``.

    Of actions with parts it is the best value of each part, ``[B, K]``: of the sums over parts no other is larger.

    Args:
        network: logits ``[B, O] -> [B, A]``, or an :class:`ActionValueEnsemble`, whose mean over critics counts; of
            actions with parts, ``[B, K, M]``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, observation: Tensor) -> Tensor:
        return self._scores(observation).argmax(-1)

    def margin(self, observation: Tensor) -> Tensor:
        """By how much the choice is better than the next one, as a share of the scores' size, ``[B]``."""
        return relative_margin(self._scores(observation), 1).flatten(1).amin(-1)

    def _scores(self, observation: Tensor) -> Tensor:
        scores = self.network(observation)
        if isinstance(self.network, ActionValueEnsemble):
            scores = scores.mean(1)  # [B, N, A] -> [B, A], [B, N, K, M] -> [B, K, M]
        return scores


def relative_margin(scores: Tensor, number: int) -> Tensor:
    """How far the best ``number`` of scores are from the others, as a share of their size, ``[..., A] -> [..., 1]``."""
    if number >= scores.shape[-1]:
        return torch.full_like(scores[..., :1], math.inf)
    last, following = scores.topk(number + 1, -1).values[..., -2:].split(1, -1)
    return (last - following) / torch.maximum(last.abs(), following.abs()).clamp(min=1.0)


def greedy_policy(scores: TensorDictModule) -> TensorDictModule:
    """:func:`deterministic_policy` for discrete actions, ``observation [B, O] -> action [B]``, or ``[B, K]`` of parts.

    Args:
        scores: ``observation -> logits [B, A]`` of a categorical actor, or ``observation -> action_value [B, N, A]``;
            of actions with parts, ``[B, K, M]`` and ``[B, N, K, M]``.
    """
    policy = GreedyPolicy(sharing_tensors(scores.module))
    return TensorDictModule(policy, in_keys=["observation"], out_keys=["action"]).eval()


def sharing_tensors(network: Callable[..., Any]) -> Any:
    """A copy of a module with the same parameters and buffers.

    Its mode is its own: neither does ``policy.eval()`` stop the dropout of updates, nor an update start the policy's.
    """
    assert isinstance(network, nn.Module)  # TensorDictModule says no more of its module than that it can be called
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return copy.deepcopy(network, shared)
