"""What has been fitted to a log, as the estimators ask it: networks (``critics``) or tables (``table``).

A policy has several fits, the members. Each learns from some episodes (drawn with replacement, or all but a fold) and
is asked about the others, which gives the Bellman error on episodes that it has not seen.

Shapes: ``N`` steps, ``E`` episodes, ``B`` batch, ``P`` policies, ``K`` members of each; where there are ``P + 1``, the
last is the policy that made the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agents.evaluation.offline.policy import Policy
from agents.evaluation.offline.scale import Scale, value_bounds
from agents.evaluation.offline.transitions import Transitions

NUM_AVERAGED = 100_000  # steps at most whose errors are averaged
NUM_JUDGED = 20_000  # steps at most that the Bellman error is measured on


@dataclass(eq=False, kw_only=True)
class Fit:
    """The fits of some policies, and last those of the data's own."""

    steps: Transitions
    policies: Sequence[Policy]
    gamma: float
    scale: Scale
    counts: Tensor  # [K, E], how often each member has each episode
    rounds: float  # of regression: a value goes back a step in each; infinite where they are solved
    remainder: Tensor  # [P], what may still come to or go from a value, had it gone on
    untried: Tensor | None = None  # [P], what actions that no step shows may make of a value; None: not known

    def qvalues(self) -> Tensor:
        """Q of the data's actions, ``[N, P + 1, K]``."""
        raise NotImplementedError

    def initial_values(self) -> Tensor:
        """V where episodes begin, ``[E, P + 1, K]``."""
        raise NotImplementedError

    def next_values(self) -> Tensor:
        """V after each step, ``[N, P + 1, K]``."""
        raise NotImplementedError

    def td_errors(self, index: Tensor) -> Tensor:
        """What each policy's target is above Q of the data's action, in units of ``scale``, ``[B] -> [B, P, K]``."""
        raise NotImplementedError

    @property
    def error_left(self) -> float:
        """About the share of what critics begin wrong by that is left: a round leaves what is behind a step."""
        return (self.gamma * going_on(self.steps)) ** self.rounds

    def values(self) -> Tensor:
        """Mean over the episodes that each member drew of V where they begin, ``[P + 1, K]``."""
        weights = self.counts.T.double()[:, None]  # [E, 1, K]
        bounds = value_bounds(self.steps, self.gamma)
        return (self.initial_values().clamp(*bounds) * weights).sum(0) / weights.sum(0)

    def estimates(self) -> tuple[Tensor, Tensor]:
        """The value of each policy, ``[P + 1]``, and what else it may be by the chance of the log, ``[P + 1, R]``."""
        values = self.values()
        return values.mean(1), values

    def bellman_errors(self, seed: int) -> tuple[Tensor, Tensor]:
        """Of each policy, ``[P]``, on episodes that a member has not drawn and on those that it has.

        They are root mean squares over the spread of the logged returns.
        """
        judged = torch.randperm(len(self.steps), generator=torch.Generator().manual_seed(seed))[:NUM_JUDGED]
        squares = self.td_errors(judged).square()  # [B, P, K]
        is_out = (self.counts == 0).T[self.steps.episode[judged]][:, None].double()  # [B, 1, K]
        unseen, seen = (
            ((squares * chosen).sum((0, 2)) / chosen.sum().clamp_min(1.0)).sqrt() for chosen in (is_out, 1.0 - is_out)
        )
        return unseen, seen

    def residual(self, seed: int) -> Tensor:
        """What is left of each value to learn, ``[P]``: the mean of what targets are above Q, at every step to come.

        On the steps that a member has learned from, where a fit that has arrived has none.
        """
        index = torch.randperm(len(self.steps), generator=torch.Generator().manual_seed(seed))[:NUM_AVERAGED]
        weight = self.counts.T[self.steps.episode[index]][:, None].double()  # [B, 1, K]
        mean = ((self.td_errors(index) * weight).sum(0) / weight.sum(0).clamp_min(1.0)).mean(1)
        per_step = max(1.0 - self.gamma * going_on(self.steps), 1.0 / int(self.steps.lengths.max()))
        return self.scale.spread * mean / per_step

    def unseen(self, values: Tensor, episode: Tensor) -> Tensor:
        """Mean over the members that have not drawn an episode, ``[B, P, K] -> [B, P]``; over all where each has."""
        out = (self.counts == 0).T[episode].to(values)  # [B, K]
        out = torch.where(out.any(-1, keepdim=True), out, 1.0)
        return (values * out[:, None]).sum(-1) / out.sum(-1, keepdim=True)


def draw_episodes(steps: Transitions, num_members: int, generator: torch.Generator) -> Tensor:
    """How often each member drew each episode, with replacement, ``[K, E]``."""
    num = steps.num_episodes
    drawn = [torch.randint(num, (num,), generator=generator) for _ in range(num_members)]
    return torch.stack([torch.bincount(each, minlength=num) for each in drawn])


def going_on(steps: Transitions) -> float:
    """Share of the steps behind which there is another."""
    return 1.0 - steps.terminated.double().mean().item()
