"""Independent agents of one algorithm, trained as one: their tensors lie stacked, and each keeps its own part.

Many small kernels leave a GPU waiting for the next one; with ``S`` agents in each kernel it waits once for all of them.

Legend: ``S`` agents, one per seed; ``B`` batch.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Generator, Tensor, nn

from agents.errors import ConfigError
from agents.training.agent import Agent, check_finite
from agents.training.compilation import LossAndGradients
from agents.training.fused_adam import FusedAdam
from agents.training.generators import drawing_from
from agents.training.trace import Gradients, Losses, Trace


class AgentStack(Agent):
    """Agents that differ only in their numbers; an update is one of each, from a batch of its own.

    Parameters, targets, buffers and Adam's moments become parts of tensors ``[S, ...]``. Otherwise the agents stay what
    they were: their policies act, and their states are saved, as if each were trained alone. Only updates have to go
    through the stack from then on.

    Args:
        agents: from equal configs and specs, new or with loaded states of equally many updates.
        generators: one per agent, for its random numbers, on its device; see :func:`random_generator`.

    Raises:
        ConfigError: if the agents differ in more than their numbers, or have made updates on their own.
    """

    def __init__(self, agents: Sequence[Agent], generators: Sequence[Generator]) -> None:
        self.agents = list(agents)
        first = self.agents[0]
        states = [_state(agent) for agent in self.agents]
        _check_alike(self.agents, states)
        self.loss_module = first.loss_module
        self.max_grad_norm, self.target_every = first.max_grad_norm, first.target_every
        self.best_episodes, self.context_length = first.best_episodes, first.context_length
        self.num_updates = first.num_updates
        self._generators = list(generators)
        names = {id(tensor): name for name, tensor in states[0].items()}
        followed = _names_of_pairs(first, states[0])

        self._stacked = {name: torch.stack([state[name].detach() for state in states]) for name in states[0]}
        for index, state in enumerate(states):
            for name, tensor in state.items():
                tensor.data = self._stacked[name][index]
        self._groups = {
            group: ([nn.Parameter(self._stacked[names[id(parameter)]]) for parameter in parameters], config)
            for group, (parameters, config) in first._groups.items()
        }
        self._parameters = [p for parameters, _ in self._groups.values() for p in parameters]
        self.optimizer = FusedAdam(list(self._groups.values()))
        self.target_net_updater = None
        if first.target_net_updater is not None:
            self.target_net_updater = copy.copy(first.target_net_updater)
            self.target_net_updater._pairs = tuple([self._stacked[name] for name in side] for side in followed)
        self._functions = {}
        self._join_moments()

    def update(self, batch: TensorDictBase) -> TensorDict:
        """One update of every agent.

        Args:
            batch: as for :meth:`Agent.update`, with a leading dimension ``S``: a batch per agent.

        Returns:
            What :meth:`Agent.update` returns, with shapes ``[S]``.
        """
        return super().update(batch)

    def count(self, num_updates: int) -> None:
        super().count(num_updates)
        for agent in self.agents:
            agent.count(num_updates)
        self._share_moments()

    def state_dict(self) -> dict[str, object]:
        raise NotImplementedError("save the agents of a stack one by one")

    def load_state_dict(self, state: object) -> None:
        raise NotImplementedError("load the agents before they are stacked")

    def _check_finite(self, losses: Losses, step: int, batch: TensorDictBase) -> None:
        if all(loss.isfinite().all() for loss in losses.values()):
            return
        for index in range(len(self.agents)):
            check_finite({name: loss[index] for name, loss in losses.items()}, step=step, batch=batch[index])

    def _clip(self, gradients: Gradients) -> tuple[Tensor, Gradients]:
        """Each agent's gradient by its own norm; the norms ``[S]``."""
        used = [gradient for gradient in gradients if gradient is not None]
        norms = torch.stack([gradient.reshape(len(gradient), -1).norm(dim=1) for gradient in used]).norm(dim=0)
        scales = (self.max_grad_norm / (norms + 1e-6)).clamp(max=1.0)
        return norms, [None if g is None else g * scales.view(-1, *[1] * (g.ndim - 1)) for g in gradients]

    def _function(self, due: tuple[bool, ...]) -> LossAndGradients:
        if due not in self._functions:
            parameters = [p for is_due, (group, _) in zip(due, self._groups.values()) if is_due for p in group]
            functions = [agent._function(due) for agent in self.agents]
            self._functions[due] = _StackedLossAndGradients(functions, parameters, self._stacked, self._generators)
        return self._functions[due]

    def _join_moments(self) -> None:
        """Adam's state of agents that have been trained before."""
        for index, stacked in enumerate(self._parameters):
            states = [agent.optimizer.state.get(agent._parameters[index]) for agent in self.agents]
            if states[0]:
                moments = {name: torch.stack([state[name] for state in states]) for name in ("exp_avg", "exp_avg_sq")}
                self.optimizer.state[stacked] = {"step": states[0]["step"].clone(), **moments}
        self._num_shared = 0
        self._share_moments()

    def _share_moments(self) -> None:
        """Give every agent its part of Adam's state, which appears with the first step of a group."""
        if self._num_shared == len(self.optimizer.state):
            return
        for index, stacked in enumerate(self._parameters):
            state = self.optimizer.state.get(stacked)
            for part, agent in enumerate(self.agents if state else ()):
                moments = {name: state[name][part] for name in ("exp_avg", "exp_avg_sq")}
                agent.optimizer.state[agent._parameters[index]] = {"step": state["step"], **moments}
        self._num_shared = len(self.optimizer.state)


class _StackedLossAndGradients(LossAndGradients):
    """The losses ``[S]`` of stacked agents and the gradients ``[S, ...]`` by their stacked parameters."""

    def __init__(
        self,
        functions: list[LossAndGradients],
        parameters: Sequence[nn.Parameter],
        stacked: dict[str, Tensor],
        generators: list[Generator],
    ) -> None:
        super().__init__(functions[0].loss_module, parameters)
        self._alone = functions
        self._stacked = stacked
        self._generators = generators

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
        first = self._alone[0]
        first.dtype = self.dtype
        trace = first.trace(batch[0])
        state = (*first.loss_module.named_parameters(), *first.loss_module.named_buffers())
        names = {id(tensor): name for name, tensor in state}
        tensors = [self._stacked.get(names.get(id(tensor)), tensor) for tensor in trace.tensors]
        shared = [id(tensor) not in names for tensor in trace.tensors]  # constants
        with self.undone():
            return trace.stack(tensors, shared, self._generators, batch)

    @contextmanager
    def undone(self) -> Iterator[None]:
        states = [generator.get_state() for generator in self._generators]
        with ExitStack() as undone:
            for function in self._alone:
                undone.enter_context(function.undone())
            try:
                yield
            finally:
                for generator, state in zip(self._generators, states):
                    generator.set_state(state)


def _state(agent: Agent) -> dict[str, Tensor]:
    return dict((*agent.loss_module.named_parameters(), *agent.loss_module.named_buffers()))


def _check_alike(agents: list[Agent], states: list[dict[str, Tensor]]) -> None:
    def describe(agent: Agent, state: dict[str, Tensor]) -> tuple[object, ...]:
        shapes = {name: (tensor.shape, tensor.dtype) for name, tensor in state.items()}
        groups = {name: config for name, (_, config) in agent._groups.items()}
        updater = _plain(agent.target_net_updater) if agent.target_net_updater else None
        return shapes, groups, _plain(agent), updater, [*map(_plain, _modules_in(agent.loss_module, set()))]

    if any(agent._functions for agent in agents):  # TorchRL's losses keep views of where the parameters were then
        raise ConfigError(
            "agents that have been updated or compiled cannot be stacked: build new ones and load the states into them"
        )
    first, *others = (describe(agent, state) for agent, state in zip(agents, states))
    if any(other != first for other in others):
        raise ConfigError("only agents of the same config, specs and number of updates can be stacked")


def _modules_in(module: nn.Module, seen: set[nn.Module]) -> Iterator[nn.Module]:
    """A module and all in it, also the networks that TorchRL's losses keep out of ``modules()``."""
    if module in seen:
        return
    seen.add(module)
    yield module
    hidden = [value for value in vars(module).values() if isinstance(value, nn.Module)]
    for part in (*module.children(), *hidden):
        yield from _modules_in(part, seen)


def _plain(part: object) -> tuple[type, dict[str, object]]:
    """What an object is, without its tensors and other objects."""
    return type(part), {name: value for name, value in vars(part).items() if _is_plain(value)}


def _is_plain(value: object) -> bool:
    return isinstance(value, (bool, int, float, str)) or (isinstance(value, tuple) and all(map(_is_plain, value)))


def _names_of_pairs(agent: Agent, state: dict[str, Tensor]) -> tuple[list[str], list[str]]:
    """Of the target networks' tensors, and of what each of them follows."""
    if agent.target_net_updater is None:
        return [], []
    names = {(tensor.data_ptr(), tensor.shape): name for name, tensor in state.items()}
    targets, sources = agent.target_net_updater.pairs()
    return [names[t.data_ptr(), t.shape] for t in targets], [names[s.data_ptr(), s.shape] for s in sources]
