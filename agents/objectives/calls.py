"""Networks evaluated on a batch that is left as it was, and what several losses make of their outputs.

Shapes: ``B`` batch, ``A`` action, ``N`` critics.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tensordict import TensorDict, TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModule
from tensordict.utils import NestedKey
from torch import Tensor
from torch.distributions import Distribution

NOTHING: Mapping[NestedKey, Tensor] = MappingProxyType({})


def output(
    network: TensorDictModule,
    tensordict: TensorDictBase,
    key: NestedKey,
    replaced: Mapping[NestedKey, Tensor] = NOTHING,
) -> Tensor:
    """One output of a network, with some inputs ``replaced``: a critic's action by the policy's, say."""
    if type(network) is TensorDictModule and network.out_keys == [key]:
        # what a TensorDictModule adds to write into a TensorDict costs a quarter of the product inside
        inputs = (replaced[k] if k in replaced else tensordict.get(k) for k in network.in_keys)
        return network.module(*inputs)
    return network(tensordict.copy().update(dict(replaced))).get(key)


def distribution(actor: ProbabilisticTensorDictSequential, tensordict: TensorDictBase) -> Distribution:
    """The actor's distribution over actions."""
    network = actor[0]
    if len(actor) == 2 and type(network) is TensorDictModule:  # as above
        outputs = network.module(*(tensordict.get(in_key) for in_key in network.in_keys))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return actor[1].get_dist(TensorDict(dict(zip(network.out_keys, outputs)), tensordict.batch_size))
    return actor.get_dist(tensordict.copy())


def bellman_target(
    tensordict: TensorDictBase, next_value: Tensor, gamma: float, *, reward: NestedKey, terminated: NestedKey
) -> Tensor:
    r"""What a critic's value of the data's actions should be, ``[B]``.

    .. math:: y = r + \gamma (1 - \mathrm{terminated}) V(s')

    Args:
        next_value: V(s'), ``[B]``.
        reward, terminated: keys under ``next``.
    """
    following = tensordict.get("next")
    # a truncated episode goes on in truth: only termination ends the sum of rewards
    bootstrap = ~following.get(terminated).bool().squeeze(-1)
    return following.get(reward).squeeze(-1) + gamma * bootstrap * next_value
