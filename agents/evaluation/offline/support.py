"""The share of a policy's actions that are unlike any in the data.

A pair of observation and action is as far from the data as the nearest pair of another episode there. Observations and
actions are scaled to a standard deviation of 1, and count for as much as each other; a discrete action has to be the
same. The pairs of the data are measured in this way first: what is farther than 95 % of them is outside the support.

Where states are few and actions discrete, what was never tried in a state is.

Shapes: ``N`` steps, ``B`` those that are asked about, ``D`` numbers of a pair, of discrete actions those of an
observation, ``K`` their parts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents.evaluation.offline.policy import Policy
from agents.evaluation.offline.states import States, read_states
from agents.evaluation.offline.transitions import Transitions

WITHIN = 0.95  # share of the data's own pairs that are within
NUM_ASKED = 1_000  # steps at most
NUM_KNOWN = 100_000  # pairs at most that they are compared with


def outside_support(policy: Policy, steps: Transitions, *, seed: int = 0) -> float:
    """The share of what the policy does, in states that the data have been in; 0.05 is what the data's own have."""
    if steps.specs.discrete and (states := read_states(steps)).are_few:
        return _untried(policy, steps, states)
    generator = torch.Generator().manual_seed(seed)
    asked = torch.randperm(len(steps), generator=generator)[:NUM_ASKED]
    known = torch.randperm(len(steps), generator=generator)[:NUM_KNOWN]
    observation = _standardised(steps.observation, steps.observation) / steps.observation.shape[-1] ** 0.5
    chosen = policy.actions(steps.observation[asked], seed=seed)
    own = _distances(observation[asked], steps.action[asked], observation, steps, asked, known)
    theirs = _distances(observation[asked], chosen, observation, steps, asked, known)
    comparable = own[own.isfinite()]  # a discrete action that is in no other episode is far from all
    limit = comparable.quantile(WITHIN) if len(comparable) else 0.0
    return (theirs > limit + 1e-6).float().mean().item()


def _untried(policy: Policy, steps: Transitions, states: States) -> float:
    pairs = steps.observation[states.example], steps.action[states.example]
    tried = torch.zeros(states.num_states).double()
    tried.index_add_(0, states.state[states.example], policy.log_prob(*pairs).exp())
    return 1.0 - tried[states.state].mean().item()


def _pairs(observation: Tensor, action: Tensor, steps: Transitions) -> Tensor:
    """``[B, D]``."""
    if steps.specs.discrete:
        return observation
    return torch.cat([observation, _standardised(action, steps.action) / action.shape[-1] ** 0.5], 1)


def _standardised(values: Tensor, of: Tensor) -> Tensor:
    """In standard deviations of the data; where these do not vary, in thousandths of what they always are."""
    spread, size = of.std(0), of.abs().amax(0)
    constant = 1e-3 * torch.where(size > 0.0, size, 1.0)
    return (values - of.mean(0)) / torch.where(spread > 1e-6 * size, spread, constant)


def _distances(
    observation: Tensor, action: Tensor, data: Tensor, steps: Transitions, asked: Tensor, known: Tensor
) -> Tensor:
    """From each pair to the nearest of the known ones of another episode, ``[B]``; infinite where there is none.

    Args:
        data: observations of all steps, scaled as ``observation``.
    """
    pairs, among, episode = _pairs(observation, action, steps), _pairs(data, steps.action, steps)[known], steps.episode
    taken = steps.action[known].reshape(1, len(known), -1)  # [1, N, K]
    nearest = []
    for part, chosen, own in zip(pairs.split(64), action.split(64), episode[asked].split(64)):
        cannot_count = own[:, None] == episode[known]
        if steps.specs.discrete:
            cannot_count |= (chosen.reshape(len(chosen), 1, -1) != taken).any(-1)
        distance, index = torch.cdist(part, among).masked_fill(cannot_count, torch.inf).min(1)
        exact = (part - among[index]).norm(dim=1)  # cdist multiplies matrices, which is wrong by 0.01 next to 0
        nearest.append(torch.where(distance.isfinite(), exact, torch.inf))
    return torch.cat(nearest)
