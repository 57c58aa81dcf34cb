"""What one agent has learnt, given to another one, of the same algorithm or of another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from agents.errors import ConfigError
from agents.networks.configs import ActorConfig, MLPConfig, QValueConfig
from agents.training.agent import Agent
from agents.training.torch_optimizers import tensors_of


@dataclass(frozen=True)
class TakeOver:
    """Names in the loss module of the agent that took over."""

    taken: list[str]  # parameters, targets and buffers that are the other agent's now
    left: list[str]  # trained parameters that are as they were drawn


def take_over(agent: Agent, source: Agent, *, keep_moments: bool = True) -> TakeOver:
    """Give a new agent the parameters, targets and buffers of another one, where names and shapes agree.

    Critics agree whether they are one ensemble or, as TorchRL's losses have them, several networks. The number of
    updates goes over too, and, unless told otherwise, the moments of Adam of what is taken.

    Raises:
        ConfigError: if the actor is not among it: the networks or the scaling of observations are others.
    """
    theirs, ours = _tensors(source), _tensors(agent)
    taken = [name for name, tensor in ours.items() if name in theirs and _shape(tensor) == _shape(theirs[name])]
    left = [name for name, parameter in agent.loss_module.named_parameters() if name not in taken]
    if strangers := [name for name in left if name.startswith("actor_network_params")]:
        there = f"{[*theirs[strangers[0]].shape]} there" if strangers[0] in theirs else "none there"
        raise ConfigError(
            f"the actor cannot be taken over: {strangers[0]} is {[*ours[strangers[0]].shape]} here, {there}; "
            "both need equal networks, scaling of observations and distributions"
        )
    with torch.no_grad():
        for name in taken:
            ours[name].copy_(theirs[name].reshape(ours[name].shape))
    if keep_moments:
        _copy_moments(agent, source, taken)
    agent.rule.count(source.num_updates)
    return TakeOver(taken, left)


def with_networks_of(config: Any, source: Any) -> Any:
    """The config with the networks of another algorithm's, so that an agent can take over what that has learnt.

    Taken are actor, critics and whether observations are scaled; what learns and how stays.

    Raises:
        ConfigError: if an actor that draws its actions is needed, and the other is none.
    """
    theirs = {name: getattr(source, name) for name in ("actor", "normalize_observations") if hasattr(source, name)}
    if isinstance(config.actor, ActorConfig) and not isinstance(theirs.get("actor"), ActorConfig):
        kind, wanted = type(source).__name__.removesuffix("Config"), type(config).__name__.removesuffix("Config")
        suited = "as iql, awac, cql or sac have"
        raise ConfigError(f"{wanted} needs an actor that draws its actions, {suited}; {kind} has none")
    critics = getattr(source, "qvalue", None)
    if isinstance(critics, MLPConfig) and isinstance(config.qvalue, QValueConfig):
        layers = {entry.name: getattr(critics, entry.name) for entry in fields(MLPConfig)}
        theirs["qvalue"] = QValueConfig(**layers, num_nets=getattr(critics, "num_nets", 2))
    return replace(config, **theirs)


def _tensors(agent: Agent) -> dict[str, Tensor]:
    module = agent.loss_module
    return {name: tensor.data for name, tensor in (*module.named_parameters(), *module.named_buffers())}


def _shape(tensor: Tensor) -> list[int]:
    """Without dimensions of 1: TorchRL stacks networks that are ensembles of one."""
    return [size for size in tensor.shape if size != 1]


def _copy_moments(agent: Agent, source: Agent, taken: Iterable[str]) -> None:
    ours, theirs = (dict(each.loss_module.named_parameters()) for each in (agent, source))
    kinds = {
        parameter: config.torch_optimizer.get("name")
        for each in (agent, source)
        for parameters, config in each.rule.groups.values()
        for parameter in parameters
    }
    for name in ours.keys() & theirs.keys() & {*taken}:
        alike = kinds.get(ours[name]) == kinds.get(theirs[name])  # else one knows nothing of the other's moments
        if alike and (moments := tensors_of(source.rule.optimizer.state.get(theirs[name], {}))):
            agent.rule.optimizer.state[ours[name]] = {
                key: _laid_out_as(ours[name], value).clone() for key, value in moments.items()
            }


def _laid_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    """Moments in the shape of their parameter, where they are one each; a count of steps, or sums of rows, as is."""
    return value.reshape(parameter.shape) if value.ndim and value.numel() == parameter.numel() else value
