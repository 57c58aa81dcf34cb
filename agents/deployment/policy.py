"""A policy from a file, as a callable that remembers its episode.

Shapes: ``B`` batch, ``O`` observation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.deployment.contract import ACTION, NEXT, OUTSIDE, REWARD, Contract
from agents.deployment.observing import Arrays, arrays_of, check_names
from agents.errors import PolicyError

# inputs and outputs by name, each [B, ...], row by row in memory: machine code does not ask how an array lies there
Run = Callable[[Arrays], Arrays]


class DeployedPolicy:
    """``observation -> action``, both as an environment has them, and the memory of one episode.

    Args:
        names: of the numbers of your observations, in your order, which has to be the contract's; None: as they come.

    Raises:
        PolicyError: the names are others.
    """

    def __init__(self, contract: Contract, run: Run, *, names: Sequence[str] | None = None) -> None:
        if names is not None:
            check_names(contract, names)
        self.contract = contract
        self.outside: NDArray[np.float32] | None = None  # [O] or [B, O], see ``Contract.guard``
        self.run = run
        self._memory: Arrays | None = None

    def __call__(self, observation: Any, reward: float | None = None) -> Any:
        """The action at one observation.

        Args:
            reward: of the step before, as the environment gave it; only policies that ask for a return need it, and at
                the first step of an episode none does.

        Raises:
            PolicyError: for an observation that is none of the contract's.
        """
        return self.act(arrays_of(self.contract, observation, batch=False), reward)

    def act(self, arrays: Arrays, reward: float | None = None) -> Any:
        """The same at an observation that is checked already: the contract's inputs, of one row."""
        outputs = self._step({**arrays}, None if reward is None else [reward])
        self.outside = outputs[OUTSIDE][0] if OUTSIDE in outputs else None
        return outputs[ACTION][0]

    def batch(self, observations: Any, rewards: Any = None) -> NDArray[Any]:
        """The actions ``[B, ...]`` at a step of several episodes, whose number is the same until the reset."""
        outputs = self._step(arrays_of(self.contract, observations, batch=True), rewards)
        self.outside = outputs.get(OUTSIDE)
        return outputs[ACTION]

    def reset(self) -> None:
        """Begin an episode."""
        self._memory = self.outside = None

    def another(self) -> DeployedPolicy:
        """One with a memory of its own, on the same file in memory: for another client, or another thread."""
        return DeployedPolicy(self.contract, self.run)

    def memory_at_reset(self, number: int) -> Arrays:
        """Of the first step of so many episodes."""
        return {each.name: np.full((number, *each.shape), each.reset, each.type) for each in self.contract.memory}

    def _step(self, arrays: Arrays, rewards: Any) -> Arrays:
        number = len(next(iter(arrays.values())))
        if self.contract.takes_reward:
            arrays[REWARD] = self._rewards(rewards, number)
        memory = self._memory or self.memory_at_reset(number)
        if any(len(array) != number for array in memory.values()):
            there = len(next(iter(memory.values())))
            raise PolicyError(f"{number} observations, where {there} episodes are remembered: call reset() before")
        outputs = self.run({**arrays, **memory})
        self._memory = {each.name: outputs[f"{each.name}{NEXT}"] for each in self.contract.memory}
        return outputs

    def _rewards(self, rewards: Any, number: int) -> NDArray[np.float32]:
        if self._memory is None:  # there is no step before: what is given is left of another episode
            return np.zeros((number, 1), np.float32)
        if rewards is None:
            text = "this policy asks for a return, and needs the reward of the step before: policy(observation, "
            raise PolicyError(f"{text}reward), or reset() at the start of an episode")
        try:
            with np.errstate(over="ignore"):
                array = np.ascontiguousarray(rewards, np.float32).reshape(-1, 1)
        except (OverflowError, TypeError, ValueError):
            array = np.full((1, 1), np.nan, np.float32)
        if len(array) != number or not np.isfinite(array).all():
            raise PolicyError(f"the reward must be {number} finite numbers, got {str(rewards)[:60]}")
        return array
