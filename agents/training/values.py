"""The values of an episode by an agent's critics: Q of the actions that were taken and, where the loss learns it, V.

Shapes: ``T`` steps of an episode, ``O`` observation, ``A`` action, ``N`` critics.
"""

from __future__ import annotations

import copy

import torch
from numpy.typing import NDArray
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor
from torchrl.objectives import LossModule

from agents.networks.critics import chosen_action_value
from agents.training.agent import Agent


@torch.no_grad()
def critic_values(agent: Agent, observations: NDArray, actions: NDArray) -> dict[str, NDArray]:
    """``qvalue``, of the most careful critic, and ``state_value``, each ``[T]`` if the agent has it, in eval mode.

    Any loss module takes part that names its networks as TorchRL does, whoever wrote it: critics are ``qvalue_network``
    (from observation and action, or from the observation alone to the values of all discrete actions) and V is
    ``value_network`` (from the observation), each made functional by ``convert_to_functional``, and its last output is
    what is read. A loss without such networks gives nothing.

    Args:
        observations: before each action, ``[T, O]``.
        actions: ``[T, A]``, or ``[T]`` where they are discrete, ``[T, K]`` where those have parts.

    Returns:
        Values by name, in units of discounted return.
    """
    observation, action = (torch.as_tensor(values, device=agent.device) for values in (observations, actions))
    action = action.float() if action.is_floating_point() else action
    steps = TensorDict({"observation": observation.float(), "action": action}, [len(action)])
    values: dict[str, Tensor] = {}
    if critics := networks_of(agent.loss_module, "qvalue_network"):
        values["qvalue"] = torch.stack([_qvalues(network, steps) for network in critics], -1)
    for network in networks_of(agent.loss_module, "value_network"):  # one, if any
        values["state_value"] = network(steps.copy())[network.out_keys[-1]]
    return {name: of_steps.flatten(1).amin(-1).cpu().numpy() for name, of_steps in values.items()}


def networks_of(loss: LossModule, name: str) -> list[TensorDictModule]:
    """A loss's networks of a name, none if it has no such: copies in eval mode that share the parameters.

    Of TorchRL's critics, whose parameters are stacked, one each.
    """
    params: TensorDictBase | None = getattr(loss, f"{name}_params", None)
    if params is None or getattr(loss, name, None) is None:
        return []
    networks = []
    for own in params.unbind(0) if params.batch_dims else [params]:
        network = copy.deepcopy(getattr(loss, name))
        own.to_module(network)
        networks.append(network.eval())
    return networks


def _qvalues(network: TensorDictModule, steps: TensorDictBase) -> Tensor:
    """``[T, N]``, or ``[T, 1]`` of a single critic."""
    values = network(steps.copy())[network.out_keys[-1]]
    if "action" in network.in_keys:
        return values
    action = steps["action"]  # [T] or [T, K]
    values = values.unsqueeze(1) if values.ndim == action.ndim + 1 else values  # [T, A] -> [T, 1, A]
    return chosen_action_value(values, action)
