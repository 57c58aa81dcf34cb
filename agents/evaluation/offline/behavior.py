"""The probabilities of the data's actions under the policy that made the data: logged, or of a clone of it.

Shapes: ``N`` steps, ``B`` batch.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from agents.algorithms.bc import BCConfig
from agents.algorithms.discrete_bc import DiscreteBCConfig
from agents.data.dataset import OfflineDataset
from agents.data.infos import ACTION_PROBABILITY
from agents.errors import DataError
from agents.evaluation.offline.policy import Policy, policy_of
from agents.evaluation.offline.transitions import Transitions
from agents.networks.configs import ActorConfig, CategoricalActorConfig
from agents.training.generators import drawing_from

HELD_OUT = 0.2  # share of the episodes that say when a clone has learned enough
NUM_LOOKS = 10  # at the likelihood of these
SMALLEST = 1e-3  # probability that a clone gives a discrete action that was taken: it may be wrong by that


@dataclass(frozen=True, eq=False)
class Behavior:
    """How likely the data's actions were."""

    log_propensity: Tensor  # [N] float64
    source: str  # logged or cloned


def logged(probability: Tensor, steps: Transitions) -> Behavior:
    """From the probabilities of the actions that a log holds, ``[N]``, densities where actions are continuous.

    Raises:
        DataError: one is not above 0 or, of a discrete action, above 1; or steps have several.
    """
    if probability.shape != (len(steps),):
        raise DataError(
            f"dataset {steps.dataset!r} has action probabilities of shape {[*probability.shape]} for {len(steps)} "
            "steps: an action has one, of its parts the product"
        )
    wrong = ~(probability > 0.0) | ~probability.isfinite() | ((probability > 1.0) & steps.specs.discrete)
    if wrong.any():
        step = int(wrong.nonzero()[0])
        way_out = "above 0 and at most 1" if steps.specs.discrete else "above 0"
        raise DataError(
            f"dataset {steps.dataset!r}: the probability of the action at step {step} is {probability[step].item():g} "
            f"(and {int(wrong.sum()) - 1} others like it): of an action that was taken it is {way_out}"
        )
    return Behavior(probability.double().log(), "logged")


def read_behavior(dataset: OfflineDataset, steps: Transitions, *, seed: int = 0) -> Behavior:
    """From the probabilities that a dataset holds as ``action_probability``, else of a clone.

    Raises:
        DataError: some of its steps have them and others have not, or see :func:`logged`.
    """
    if not dataset.has_infos(ACTION_PROBABILITY):
        return cloned(steps, seed=seed)
    return logged(torch.from_numpy(dataset.infos(ACTION_PROBABILITY)).double(), steps)


def cloned(steps: Transitions, *, gradient_steps: int = 4_000, batch_size: int = 256, seed: int = 0) -> Behavior:
    """From a policy that is cloned from the data: the likeliest, on episodes held out, of those on the way."""
    clone = clone_behavior(steps, gradient_steps=gradient_steps, batch_size=batch_size, seed=seed)
    log_prob = clone.log_prob(steps.observation, steps.action)
    if steps.specs.discrete:
        log_prob = log_prob.clamp_min(torch.tensor(SMALLEST).log().item())
    return Behavior(log_prob, "cloned")


def clone_behavior(steps: Transitions, *, gradient_steps: int, batch_size: int, seed: int) -> Policy:
    """Behaviour cloning with early stopping, of a distribution that draws."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(steps.num_episodes, generator=generator)
    is_out = torch.zeros(steps.num_episodes, dtype=torch.bool)
    is_out[order[: max(1, round(HELD_OUT * steps.num_episodes))]] = True
    inside, outside = (~is_out[steps.episode]).nonzero().squeeze(-1), is_out[steps.episode].nonzero().squeeze(-1)
    with drawing_from(torch.Generator().manual_seed(seed)):
        agent = _clone_config(discrete=steps.specs.discrete).build(steps.specs)
        clone = policy_of(agent.policy, steps.specs, name="the clone", drawn=True)
        rows: Any = TensorDict({"observation": steps.observation, "action": steps.action}, [len(steps)])
        best, kept = -torch.inf, copy.deepcopy(agent.state_dict())
        for step in range(1, gradient_steps + 1):
            agent.update(rows[inside[torch.randint(len(inside), (batch_size,), generator=generator)]])
            if step % max(gradient_steps // NUM_LOOKS, 1) == 0:
                likelihood = clone.log_prob(steps.observation[outside], steps.action[outside]).mean().item()
                if likelihood > best:
                    best, kept = likelihood, copy.deepcopy(agent.state_dict())
        agent.load_state_dict(kept)
    return clone


def _clone_config(*, discrete: bool) -> BCConfig | DiscreteBCConfig:
    layers: dict[str, Any] = {"hidden_sizes": [128, 128], "layer_norm": True, "init": "default"}
    if discrete:
        return DiscreteBCConfig(actor=CategoricalActorConfig(**layers), normalize_observations=True)
    actor = ActorConfig(**layers, distribution="tanh_normal")
    return BCConfig(actor=actor, normalize_observations=True)
