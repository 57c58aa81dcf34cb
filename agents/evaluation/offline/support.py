"""The share of a policy's actions that are unlike any in the data.

A pair of observation and action is as far from the data as the nearest pair of another episode there. Observations and
actions are scaled to a standard deviation of 1, and count for as much as each other; a discrete action has to be the
same. The pairs of the data are measured in this way first: what is farther than 95 % of them is outside the support.

Shapes: ``N`` steps, ``B`` those that are asked about, ``D`` numbers of a pair.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents.evaluation.offline.policy import Policy
from agents.evaluation.offline.transitions import Transitions

WITHIN = 0.95  # share of the data's own pairs that are within
NUM_ASKED = 1_000  # steps at most
NUM_KNOWN = 100_000  # pairs at most that they are compared with


def outside_support(policy: Policy, steps: Transitions, *, seed: int = 0) -> float:
    """The share of what the policy does, in states that the data have been in; 0.05 is what the data's own have."""
    generator = torch.Generator().manual_seed(seed)
    asked = torch.randperm(len(steps), generator=generator)[:NUM_ASKED]
    known = torch.randperm(len(steps), generator=generator)[:NUM_KNOWN]
    observation = _standardised(steps.observation, steps.observation) / steps.observation.shape[-1] ** 0.5
    pairs = _pairs(observation, steps.action, steps)
    theirs = _pairs(observation[asked], policy.actions(steps.observation[asked], seed=seed), steps)
    limit = _distances(pairs[asked], pairs, steps, asked, known).quantile(WITHIN)
    return (_distances(theirs, pairs, steps, asked, known) > limit + 1e-6).float().mean().item()


def _pairs(observation: Tensor, action: Tensor, steps: Transitions) -> Tensor:
    """``[B, D]``; of discrete actions the last columns are so far apart that only the same one can be near."""
    if steps.specs.discrete:
        return torch.cat([observation, 1e3 * action.reshape(len(action), -1).float()], 1)
    return torch.cat([observation, _standardised(action, steps.action) / action.shape[-1] ** 0.5], 1)


def _standardised(values: Tensor, of: Tensor) -> Tensor:
    return (values - of.mean(0)) / (of.std(0) + 1e-3)


def _distances(pairs: Tensor, data: Tensor, steps: Transitions, asked: Tensor, known: Tensor) -> Tensor:
    """From each pair ``[B, D]`` to the nearest of the known ones of another episode, ``[B]``."""
    episode = steps.episode
    nearest = []
    for part, own in zip(pairs.split(64), episode[asked].split(64)):
        distance = torch.cdist(part, data[known])
        nearest.append(distance.masked_fill(own[:, None] == episode[known], torch.inf).amin(1))
    return torch.cat(nearest)
