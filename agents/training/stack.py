"""Independent agents of one algorithm, trained as one: their tensors lie stacked, and each keeps its own part.

Many small kernels leave a GPU waiting for the next one; with ``S`` agents in each kernel it waits once for all of them.

Legend: ``S`` agents, one per seed; ``B`` batch.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Generator, Tensor, nn

from agents.errors import ConfigError
from agents.training.agent import Agent
from agents.training.compilation import Compilation, LossAndGradients
from agents.training.fused_adam import MOMENTS
from agents.training.generators import drawing_from
from agents.training.trace import Gradients, Losses, Trace
from agents.training.update_rule import Due, UpdateRule


class AgentStack:
    """Agents that differ only in their numbers; an update is one of each, from a batch of its own.

    Parameters, targets, buffers and Adam's moments become parts of tensors ``[S, ...]``. Otherwise the agents stay what
    they were: their policies act, and their states are saved, as if each were trained alone. Only updates have to go
    through the stack from then on.

    Args:
        agents: from equal configs and specs, new or with loaded states of equally many updates.
        generators: one per agent, for its random numbers, on its device; see ``random_generator``.

    Raises:
        ConfigError: if the agents differ in more than their numbers, or have made updates on their own.
    """

    def __init__(self, agents: Sequence[Agent], generators: Sequence[Generator]) -> None:
        self.agents = list(agents)
        self.generators = list(generators)
        _check_alike(self.agents)
        first = self.agents[0].rule
        if any(first.optimizer.others):
            raise ConfigError("agents with another optimizer than Adam are trained one by one: stack=false")
        self._stacked: dict[int, Tensor] = {}  # [S, ...], by the id of the first agent's tensor
        for same in zip(*(_state(agent.loss_module).values() for agent in self.agents)):
            stacked = self._stacked[id(same[0])] = torch.stack([tensor.detach() for tensor in same])
            for tensor, part in zip(same, stacked):
                tensor.data = part
        groups = {
            name: ([nn.Parameter(self._stacked[id(parameter)]) for parameter in parameters], config)
            for name, (parameters, config) in first.groups.items()
        }
        updater = copy.copy(first.target_net_updater)
        if updater is not None:
            updater.targets = [self._stacked[id(tensor)] for tensor in updater.targets]
            updater.sources = [self._stacked[id(tensor)] for tensor in updater.sources]
        self.rule = UpdateRule(
            groups,
            evaluation=self._evaluation,
            target_net_updater=updater,
            target_every=first.target_every,
            max_grad_norm=first.max_grad_norm,
            on_count=self._pass_on,
        )
        parts = zip(*(agent.rule.parameters for agent in self.agents))
        self._parts: dict[Tensor, tuple[nn.Parameter, ...]] = dict(zip(self.rule.parameters, parts))
        self._num_shared = 0
        self._join_moments()
        self.rule.count(first.num_updates)

    @property
    def device(self) -> torch.device:
        return self.rule.device

    @property
    def num_updates(self) -> int:
        return self.rule.num_updates

    def update(self, batch: TensorDictBase) -> TensorDict:
        """Every agent's :meth:`~agents.Agent.update`, from its part of a batch ``[S, B]``; values are ``[S]``."""
        return self.rule.update(batch)

    def compile(self, batch: TensorDictBase, mode: str = "auto", *, dtype: torch.dtype = torch.float32) -> Compilation:
        """:meth:`~agents.Agent.compile` for a batch like those of :meth:`update`."""
        return self.rule.compile(batch, mode, dtype=dtype)

    def _evaluation(self, due: Due, parameters: list[nn.Parameter]) -> LossAndGradients:
        functions = [agent.rule.function(due) for agent in self.agents]
        return _StackedLossAndGradients(functions, parameters, self._stacked, self.generators)

    def _join_moments(self) -> None:
        """Adam's state of agents that have been trained before."""
        for stacked, parts in self._parts.items():
            states = [agent.rule.optimizer.state.get(part, {}) for agent, part in zip(self.agents, parts)]
            if states[0]:
                moments = {name: torch.stack([state[name] for state in states]) for name in MOMENTS}
                self.rule.optimizer.state[stacked] = {"step": states[0]["step"].clone(), **moments}

    def _pass_on(self) -> None:
        """Give every agent the number of updates, and its part of Adam's state, which a group's first step begins."""
        for agent in self.agents:
            agent.rule.count(self.num_updates)
        states = self.rule.optimizer.state
        if self._num_shared == len(states):
            return
        for stacked in filter(states.__contains__, self.rule.parameters):
            state = states[stacked]
            for index, (agent, part) in enumerate(zip(self.agents, self._parts[stacked])):
                moments = {name: state[name][index] for name in MOMENTS}
                agent.rule.optimizer.state[part] = {"step": state["step"], **moments}
        self._num_shared = len(states)


class _StackedLossAndGradients(LossAndGradients):
    """The losses ``[S]`` of stacked agents and the gradients ``[S, ...]`` by their stacked parameters."""

    def __init__(
        self,
        functions: list[LossAndGradients],
        parameters: Sequence[nn.Parameter],
        stacked: Mapping[int, Tensor],
        generators: list[Generator],
    ) -> None:
        super().__init__(functions[0].loss_module, parameters, loss_weights=functions[0].loss_weights)
        self._alone, self._stacked, self._generators = functions, stacked, generators

    def eager(self, batch: TensorDictBase) -> tuple[Losses, Gradients]:
        """The definition: one agent after the other."""
        results = []
        for function, part, generator in zip(self._alone, batch.unbind(0), self._generators):
            function.dtype = self.dtype
            with drawing_from(generator):
                results.append(function.eager(part))
        losses = {name: torch.stack([losses[name] for losses, _ in results]) for name in results[0][0]}
        gradients = zip(*(gradients for _, gradients in results))
        return losses, [None if same[0] is None else torch.stack(same) for same in gradients]

    def trace(self, batch: TensorDictBase) -> Trace:
        self._alone[0].dtype = self.dtype
        return Trace(self._alone[0], batch.unbind(0)[0]).stack(self._stacked, self._generators, batch)

    @contextmanager
    def undone(self) -> Iterator[None]:
        with ExitStack() as undone:
            for function, generator in zip(self._alone, self._generators):
                undone.enter_context(function.undone())
                undone.callback(generator.set_state, generator.get_state())
            yield


def _state(module: nn.Module) -> dict[str, Tensor]:
    return dict((*module.named_parameters(), *module.named_buffers()))


def _check_alike(agents: list[Agent]) -> None:
    def describe(agent: Agent) -> tuple[object, ...]:
        shapes = {name: (tensor.shape, tensor.dtype) for name, tensor in _state(agent.loss_module).items()}
        groups = {name: config for name, (_, config) in agent.rule.groups.items()}
        parts = (agent, agent.rule, agent.rule.target_net_updater, *modules_in(agent.loss_module, set()))
        return shapes, groups, agent.sampling, *map(_plain, parts)

    if any(agent.rule.functions for agent in agents):  # TorchRL's losses keep views of where the parameters were then
        raise ConfigError(
            "agents that have been updated or compiled cannot be stacked: build new ones and load the states into them"
        )
    first, *others = map(describe, agents)
    if any(other != first for other in others):
        raise ConfigError("only agents of the same config, specs and number of updates can be stacked")


def modules_in(module: nn.Module, seen: set[nn.Module]) -> Iterator[nn.Module]:
    """A module and all in it, also the networks that TorchRL's losses keep out of ``modules()``."""
    if module in seen:
        return
    seen.add(module)
    yield module
    for part in (*module.children(), *vars(module).values()):
        if isinstance(part, nn.Module):
            yield from modules_in(part, seen)


def _plain(part: object) -> tuple[type, dict[str, object]]:
    """An object without its tensors and other objects."""
    return type(part), {name: value for name, value in getattr(part, "__dict__", {}).items() if _is_plain(value)}


def _is_plain(value: object) -> bool:
    return isinstance(value, (bool, int, float, str)) or (isinstance(value, tuple) and all(map(_is_plain, value)))
