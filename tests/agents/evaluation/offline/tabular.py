"""A small Markov decision process whose values are known, its logs, and policies that are tables.

Legend: ``S`` states, ``A`` actions, ``E`` episodes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Categorical
from torchrl.data import Categorical as CategoricalSpec
from torchrl.data import Unbounded

import agents
from agents.evaluation.offline import Policy
from agents.evaluation.offline.transitions import Transitions

GAMMA = 0.8


@dataclass(frozen=True)
class World:
    """Chances to go on, rewards, and chances that an episode terminates with a step."""

    following: NDArray[np.float64]  # [S, A, S]
    reward: NDArray[np.float64]  # [S, A]
    end: NDArray[np.float64]  # [S, A]

    @property
    def num_states(self) -> int:
        return len(self.reward)

    def values(self, policy: NDArray[np.float64], gamma: float = GAMMA) -> NDArray[np.float64]:
        """V of a table of probabilities ``[S, A]``, solved exactly, ``[S]``."""
        transition = np.einsum("sa,sa,sat->st", policy, 1.0 - self.end, self.following)
        return np.linalg.solve(np.eye(self.num_states) - gamma * transition, (policy * self.reward).sum(1))

    def value(self, policy: NDArray[np.float64], gamma: float = GAMMA) -> float:
        """Of the first state, in which all episodes begin."""
        return float(self.values(policy, gamma)[0])

    @property
    def specs(self) -> agents.Specs:
        zeros, ones = torch.zeros(self.num_states), torch.ones(self.num_states)
        return agents.Specs(Unbounded((self.num_states,)), CategoricalSpec(self.reward.shape[1]), zeros, ones)

    def policy(self, table: NDArray[np.float64], name: str = "table") -> Policy:
        probabilities = torch.from_numpy(table).float()
        return Policy(
            name,
            self.specs,
            lambda observation: probabilities[observation.argmax(-1)].argmax(-1),
            lambda observation: Categorical(probs=probabilities[observation.argmax(-1)]),
        )

    def log(self, policy: NDArray[np.float64], num_episodes: int, *, limit: int = 100, seed: int = 0) -> Transitions:
        """Episodes of a table, cut off after ``limit`` steps."""
        rng = np.random.default_rng(seed)
        rows, lengths = [], []
        for _ in range(num_episodes):
            state, steps = 0, 0
            while True:
                action = rng.choice(len(policy[state]), p=policy[state])
                ended = rng.random() < self.end[state, action]
                after = rng.choice(self.num_states, p=self.following[state, action])
                rows.append((state, action, self.reward[state, action], ended, after))
                state, steps = after, steps + 1
                if ended or steps == limit:
                    break
            lengths.append(steps)
        state, action, reward, ended, after = map(torch.tensor, zip(*rows))
        return Transitions(
            dataset="test/table-v0",
            specs=self.specs,
            observation=self.one_hot(state),
            action=action,
            reward=reward.double(),
            terminated=ended,
            next_observation=self.one_hot(after),
            lengths=torch.tensor(lengths),
        )

    def as_logged(self, log: Transitions) -> World:
        """The process in which every chance is how often it came in a log: what tables learn from that log is of it."""
        counts = np.zeros_like(self.following)
        ends = np.zeros_like(self.end)
        states = zip(*(each.argmax(-1).tolist() for each in (log.observation, log.next_observation)))
        for (state, after), action, ended in zip(states, log.action.tolist(), log.terminated.tolist()):
            ends[state, action] += ended
            counts[state, action, after] += not ended
        going_on = counts.sum(-1)
        return World(counts / going_on[..., None], self.reward, ends / (ends + going_on))

    def one_hot(self, state: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(state, self.num_states).float()


def world() -> World:
    """Three states, two actions: the first earns little at once, the second leads to where there is more."""
    following = np.array([
        [[0.7, 0.2, 0.1], [0.1, 0.7, 0.2]],
        [[0.5, 0.4, 0.1], [0.1, 0.2, 0.7]],
        [[0.6, 0.2, 0.2], [0.2, 0.2, 0.6]],
    ])  # fmt: skip
    reward = np.array([[1.0, 0.0], [0.5, 0.2], [1.0, 3.0]])
    return World(following, reward, end=np.array([[0.1, 0.1], [0.2, 0.05], [0.1, 0.2]]))
