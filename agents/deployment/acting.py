"""A policy from a file in an environment whose observations and actions are the numbers that it was trained on.

Legend: ``O`` observation, ``A`` action, ``B`` batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchrl.data import Unbounded

from agents.data.specs import Specs, action_spec
from agents.deployment.contract import Contract
from agents.deployment.policy import DeployedPolicy
from agents.environments.adapter import Spaces
from agents.environments.recording import Step
from agents.environments.spaces import Actions, Observations, Part


class FilePolicy:
    """What :func:`agents.evaluate` takes: each episode has a memory of its own."""

    def __init__(self, policy: DeployedPolicy) -> None:
        self._policy = policy

    def begin(self) -> Step:
        policy = self._policy.another()

        def act(observation: NDArray[Any], reward: float | None, rng: np.random.Generator) -> NDArray[Any]:
            parts = parts_of(policy.contract, np.asarray(observation)[None])
            return numbers_of(policy.contract, policy.batch(parts, None if reward is None else [reward]))

        return act


def parts_of(contract: Contract, observations: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Observations as policies see them, ``[B, O]``, by parts as environments show them, ``[B, *shape]``."""
    parts, first = {}, 0
    for part in contract.observations:
        columns = []
        for count, start in zip(part.categories, part.starts):
            columns.append(observations[:, first : first + count].argmax(-1) + start)
            first += count
        if not part.categories:
            columns.append(observations[:, first : first + len(part.names)])
            first += len(part.names)
        values = np.stack(columns, -1) if part.categories else columns[0]
        parts[part.key] = values.reshape(len(observations), *part.shape)
    return parts


def numbers_of(contract: Contract, actions: NDArray[Any]) -> NDArray[Any]:
    """Actions as environments take them, ``[B, *shape]``, as numbers ``[B, A]`` whose indices are from 0 on."""
    flat = actions.reshape(len(actions), -1)
    return flat - np.array(contract.action.starts) if contract.action.categories else flat


def specs_of(contract: Contract) -> Specs:
    """What an environment for the policy has to fit."""
    parts = (
        Part(part.path, part.shape, part.categories, part.starts, part.names, part.words)
        for part in contract.observations
    )
    action = contract.action
    whole = action.type == "int64" and not action.categories
    numbers = Spaces(
        Observations(tuple(parts)),
        Actions(action.shape, action.categories, action.starts, whole, action.names, action.words),
    )
    spec = action_spec(numbers.actions, torch.tensor(action.low), torch.tensor(action.high))
    size = numbers.observations.size
    return Specs(Unbounded(size), spec, torch.zeros(size), torch.ones(size), spaces=numbers)
