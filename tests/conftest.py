"""Small specs and batches that the tests of networks, losses, agents and checkpoints share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor
from torchrl.data import Bounded, Unbounded

import agents

NUM_OBSERVATIONS, NUM_ACTIONS = 5, 3
ACTION_LOW, ACTION_HIGH = (-1.0, -2.0, 0.0), (1.0, 0.5, 4.0)


@pytest.fixture
def specs() -> agents.Specs:
    """Five observations, and three actions whose bounds are neither +-1 nor symmetric."""
    generator = torch.Generator().manual_seed(7)
    return agents.Specs(
        observation=Unbounded((NUM_OBSERVATIONS,)),
        action=Bounded(torch.tensor(ACTION_LOW), torch.tensor(ACTION_HIGH), (NUM_ACTIONS,)),
        observation_mean=torch.randn(NUM_OBSERVATIONS, generator=generator),
        observation_std=torch.rand(NUM_OBSERVATIONS, generator=generator) + 0.5,
    )


def make_batch(size: int = 16, seed: int = 0) -> TensorDict:
    """Random transitions inside the bounds, a quarter of them terminal."""
    generator = torch.Generator().manual_seed(seed)
    low, high = torch.tensor(ACTION_LOW), torch.tensor(ACTION_HIGH)

    def random_actions() -> Tensor:
        return low + (high - low) * torch.rand(size, NUM_ACTIONS, generator=generator)

    return TensorDict(
        {
            "observation": torch.randn(size, NUM_OBSERVATIONS, generator=generator),
            "action": random_actions(),
            "next": {
                "observation": torch.randn(size, NUM_OBSERVATIONS, generator=generator),
                "reward": torch.randn(size, 1, generator=generator),
                "terminated": torch.rand(size, 1, generator=generator) < 0.25,
                "action": random_actions(),
            },
        },
        [size],
    )


@pytest.fixture
def batch() -> TensorDict:
    return make_batch()


@pytest.fixture
def batches() -> Callable[[int], TensorDict]:
    """A different batch for every seed."""
    return lambda seed: make_batch(seed=seed)
