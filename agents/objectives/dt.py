"""Decision Transformer (Chen et al. 2021, arXiv 2106.01345).

Shapes: ``B`` batch, ``K`` steps of a window, ``A`` action.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensordict import TensorDict, TensorDictBase, TensorDictParams
from tensordict.nn import TensorDictModule, dispatch
from tensordict.utils import NestedKey
from torchrl.objectives import LossModule

from agents.errors import ConfigError
from agents.objectives.common import NetworkModes, output


class DTLoss(NetworkModes, LossModule):
    r"""Squared error of the actions predicted along windows of episodes, over the steps that exist.

    .. math:: L_\pi = \frac{\sum_{b, t} m_{b, t} \, |\pi_{b, t} - a_{b, t}|^2 / A}{\sum_{b, t} m_{b, t}}

    with m = 0 in the padding of windows that reach beyond the end of their episode.

    :class:`torchrl.objectives.DTLoss`, the same number without padding, takes padding for data, as it knows no mask,
    and names its loss ``loss``, which TorchRL's own convention (losses begin with ``loss_``) does not find.

    Args:
        actor_network: ``observation, action, return_to_go, step_count -> action``, each ``[B, K, ...]``; the action of
            a step may depend on what was before it, on its observation and its return-to-go.

    Returns (forward): TensorDict of the scalar ``loss_actor``.

    Raises:
        ConfigError: at a call, if the batch does not consist of windows.
    """

    @dataclass
    class _AcceptedKeys(LossModule._AcceptedKeys):
        action: NestedKey = "action"
        mask: NestedKey = "mask"

    tensor_keys: _AcceptedKeys  # pyright: ignore[reportIncompatibleMethodOverride]  # TorchRL's property, of this type
    default_keys = _AcceptedKeys

    actor_network: TensorDictModule
    actor_network_params: TensorDictParams
    target_actor_network_params: TensorDictParams

    def __init__(self, actor_network: TensorDictModule) -> None:
        super().__init__()
        self.convert_to_functional(actor_network, "actor_network")
        self.out_keys = ["loss_actor"]

    @property
    def in_keys(self) -> list[NestedKey]:  # pyright: ignore[reportIncompatibleMethodOverride]  # follows tensor_keys
        return list(dict.fromkeys([*self.actor_network.in_keys, self.tensor_keys.action, self.tensor_keys.mask]))

    @dispatch()
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        keys = self.tensor_keys
        mask, data_action = tensordict.get(keys.mask, None), tensordict.get(keys.action)
        if mask is None:
            raise ConfigError(
                f"this algorithm needs {keys.mask!r} in a batch of windows: draw it from "
                "dataset.replay_buffer(batch_size, **agent.sampling)"
            )
        with self.actor_network_params.to_module(self.actor_network):
            action = output(self.actor_network, tensordict, keys.action)
        distance = (action - data_action).square().mean(-1)  # [B, K]
        return TensorDict({"loss_actor": (distance * mask).sum() / mask.sum()})
