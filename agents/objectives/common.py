"""The set-up that losses share: their keys and fields, and networks evaluated on a batch that is left as it was.

Shapes: ``B`` batch, ``A`` action, ``N`` critics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tensordict import TensorDict, TensorDictBase, TensorDictParams
from tensordict.nn import TensorDictModule
from tensordict.utils import NestedKey
from torch import Tensor
from torch.distributions import Distribution
from torchrl.objectives import LossModule

NOTHING: Mapping[NestedKey, Tensor] = MappingProxyType({})


@dataclass
class TransitionKeys(LossModule._AcceptedKeys):
    """Where a batch holds what a step consists of, the last two under ``next``."""

    action: NestedKey = "action"
    reward: NestedKey = "reward"
    terminated: NestedKey = "terminated"


@dataclass
class CriticKeys(TransitionKeys):
    """The same, and where a critic writes its value."""

    state_action_value: NestedKey = "state_action_value"


class CriticLoss(LossModule):
    """The fields of a loss of an ensemble of critics."""

    tensor_keys: Any  # pyright: ignore[reportIncompatibleMethodOverride]  # TorchRL's property, of a type for each loss
    gamma: float
    qvalue_network: TensorDictModule
    qvalue_network_params: TensorDictParams
    target_qvalue_network_params: TensorDictParams


class ActorCriticLoss(CriticLoss):
    """The fields of a loss of an actor and an ensemble of critics."""

    _AcceptedKeys = CriticKeys
    default_keys = CriticKeys
    tensor_keys: CriticKeys

    actor_network: Any  # a TensorDictModule, with get_dist where actions are drawn
    actor_network_params: TensorDictParams
    target_actor_network_params: TensorDictParams

    @property
    def in_keys(self) -> list[NestedKey]:  # pyright: ignore[reportIncompatibleMethodOverride]  # follows tensor_keys
        networks = (self.actor_network, self.qvalue_network)
        return transition_keys(self.tensor_keys, networks, networks)


def transition_keys(
    keys: TransitionKeys,
    networks: Sequence[TensorDictModule],
    next_networks: Sequence[TensorDictModule],
    *next_keys: NestedKey,
) -> list[NestedKey]:
    """The ``in_keys`` of a loss: what its networks read at a step and the next one, and the rest of the transition."""
    now, following = (
        [key for key in dict.fromkeys(key for network in group for key in network.in_keys) if key != keys.action]
        for group in (networks, next_networks)
    )
    return [*now, keys.action, *(("next", key) for key in (*following, *next_keys, keys.reward, keys.terminated))]


def output(
    network: TensorDictModule,
    tensordict: TensorDictBase,
    key: NestedKey,
    replacements: Mapping[NestedKey, Tensor] = NOTHING,
) -> Tensor:
    """One output of a network, with ``replacements`` of some inputs: of a critic's action by the policy's, say."""
    if type(network) is TensorDictModule and network.out_keys == [key]:
        # what a TensorDictModule adds to write into a TensorDict costs a quarter of the product inside
        inputs = (replacements[k] if k in replacements else tensordict.get(k) for k in network.in_keys)
        return network.module(*inputs)
    return network(tensordict.copy().update(dict(replacements))).get(key)


def critic_values(
    loss: ActorCriticLoss, params: TensorDictBase, tensordict: TensorDictBase, action: Tensor | None = None
) -> Tensor:
    """Q of the batch's actions, or of others, by these parameters of the loss's critics, ``[B, N]``."""
    keys = loss.tensor_keys
    with params.to_module(loss.qvalue_network):
        replacements = NOTHING if action is None else {keys.action: action}
        return output(loss.qvalue_network, tensordict, keys.state_action_value, replacements)


def distribution(loss: ActorCriticLoss, tensordict: TensorDictBase) -> Distribution:
    """The distribution over actions of the loss's actor."""
    actor = loss.actor_network
    network = actor[0]
    with loss.actor_network_params.to_module(actor):
        if len(actor) == 2 and type(network) is TensorDictModule:  # as above
            outputs = network.module(*(tensordict.get(in_key) for in_key in network.in_keys))
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            return actor[-1].get_dist(TensorDict(dict(zip(network.out_keys, outputs)), tensordict.batch_size))
        return actor.get_dist(tensordict.copy())


def bellman_target(loss: CriticLoss, tensordict: TensorDictBase, next_value: Tensor) -> Tensor:
    r"""The value that a critic is to give the data's actions, ``[B]``, of V(s') ``[B]``.

    .. math:: y = r + \gamma (1 - \mathrm{terminated}) V(s')
    """
    keys, following = loss.tensor_keys, tensordict.get("next")
    # a truncated episode goes on in truth: only termination ends the sum of rewards
    bootstrap = ~following.get(keys.terminated).bool().squeeze(-1)
    return following.get(keys.reward).squeeze(-1) + loss.gamma * bootstrap * next_value
