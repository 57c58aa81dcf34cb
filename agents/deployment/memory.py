"""The policies of this project with explicit memories: tensors of fixed shapes that go from step to step.

Shapes: ``B`` batch, ``K`` steps of a window, ``O`` observation, ``A`` action.
"""

from __future__ import annotations

from typing import Any

import torch
from tensordict.nn import TensorDictModuleBase
from torch import Tensor, nn

from agents.deployment.contract import MEMORY, Memory
from agents.errors import PolicyError
from agents.networks.diffusion import DiffusionActor
from agents.networks.search import NUM_SETS, SearchingPolicy
from agents.networks.transformer import ReturnConditionedPolicy

Tensors = tuple[Tensor, ...]


class Core(nn.Module):
    """``observation [B, O], reward [B, 1], memory -> action, memory``; this one has no memory.

    Args:
        network: ``[B, O] -> [B, A]`` or ``[B]``.
    """

    memory: tuple[Memory, ...] = ()
    takes_reward = False
    random_numbers = "none"

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        if isinstance(network, DiffusionActor) and network.noise.any():
            self.random_numbers = "fixed: one draw of noise, in the file, for every observation"

    def forward(self, observation: Tensor, reward: Tensor | None, memory: Tensors) -> tuple[Tensor, Tensors]:
        return self.network(observation), ()


class Searching(Core):
    """A policy that searches: it remembers the number of the step, whose random numbers are in the file."""

    memory = (Memory(f"{MEMORY}steps", "int64", (1,), 0),)
    random_numbers = f"fixed: {NUM_SETS} sets, in the file, which the steps of an episode use in turns"

    def forward(self, observation: Tensor, reward: Tensor | None, memory: Tensors) -> tuple[Tensor, Tensors]:
        action, steps = self.network(observation, memory[0])
        return action, (steps,)


class LookingBack(Core):
    """A transformer that looks back on the last ``K`` steps.

    The steps so far lie on the left of a window, and what is on their right is padding: attention is causal, so that it
    makes no difference, and the shapes are the same at every step. A full window moves on by one.
    """

    takes_reward = True

    def __init__(self, policy: ReturnConditionedPolicy) -> None:
        super().__init__(policy)
        self.size = size = policy.context_length
        num_actions = policy.network.action_center.shape[0]
        num_observations = policy.network.embed_observation.in_features
        self.memory = (
            Memory(f"{MEMORY}steps", "int64", (1,), 0),  # of the episode so far
            Memory(f"{MEMORY}return_to_go", "float32", (1,), policy.target_return),  # before the reward of this step
            Memory(f"{MEMORY}observations", "float32", (size, num_observations), 0.0),
            Memory(f"{MEMORY}actions", "float32", (size, num_actions), 0.0),
            Memory(f"{MEMORY}returns_to_go", "float32", (size, 1), 0.0),
        )

    def forward(self, observation: Tensor, reward: Tensor | None, memory: Tensors) -> tuple[Tensor, Tensors]:
        assert reward is not None
        steps, return_to_go, *windows = memory
        return_to_go = return_to_go - reward
        network: Any = self.network.network
        place = steps.clamp(max=self.size - 1)[..., None]  # [B, 1, 1], of this step in the window
        positions = torch.arange(self.size)[:, None]
        here = positions == place  # [B, K, 1]
        moved = [torch.where(steps[..., None] < self.size, each, each.roll(-1, 1)) for each in windows]
        given = (observation, network.action_center.expand(observation.shape[0], -1), return_to_go)
        observations, actions, returns = (torch.where(here, new[:, None], each) for new, each in zip(given, moved))
        step_count = (steps[..., None] - place + positions).clamp(min=0)  # [B, K, 1]
        chosen = network(observations, actions, returns, step_count)  # [B, K, A]
        action = (chosen * here).sum(1)
        return action, (steps + 1, return_to_go, observations, torch.where(here, action[:, None], actions), returns)


def core_of(policy: TensorDictModuleBase) -> Core:
    """A policy as a graph can hold it.

    Raises:
        PolicyError: it has a memory of a kind that is not known here, and would act as at its first step for ever.
    """
    network: Any = getattr(policy, "module", None)
    if isinstance(network, SearchingPolicy):
        return Searching(network)
    if isinstance(network, ReturnConditionedPolicy):
        return LookingBack(network)
    if policy.in_keys == ["observation"] and policy.out_keys == ["action"] and isinstance(network, nn.Module):
        return Core(network)
    raise PolicyError(
        f"a policy that reads {[*policy.in_keys]} and writes {[*policy.out_keys]} has no format: one "
        "from observation to action can, and this project's own that remember"
    )
