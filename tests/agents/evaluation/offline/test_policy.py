"""Policies as estimators see them: those of all algorithms, and what each of them can be asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor
from torchrl.data import Bounded, Categorical, Unbounded

import agents
from agents.errors import ConfigError
from agents.evaluation.offline import Policy, Transitions, outside_support, policy_of
from agents.evaluation.offline.policy import one_hot
from agents.networks.configs import ActorConfig
from tests.agents.evaluation.offline.tabular import world

SMALL = {"hidden_sizes": [8]}


def observations(size: int = 32) -> Tensor:
    return torch.randn(size, 5, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("distribution", ["normal", "tanh_normal"])
def test_a_gaussian_policy_is_its_mean_or_is_drawn(specs, distribution) -> None:
    torch.manual_seed(0)
    agent = agents.BCConfig(actor=ActorConfig(**SMALL, distribution=distribution)).build(specs)
    deployed = policy_of(agent.policy, specs)
    drawn = policy_of(agent.policy, specs, drawn=True)
    observation = observations()
    torch.testing.assert_close(deployed.actions(observation), agent.policy(observation=observation))
    assert not deployed.has_density and drawn.has_density
    one, other = drawn.actions(observation, seed=0), drawn.actions(observation, seed=1)
    assert torch.equal(one, drawn.actions(observation, seed=0)) and not torch.equal(one, other)
    low, high = specs.action.space.low, specs.action.space.high
    assert (one >= low).all() and (one <= high).all()
    action = deployed.actions(observation)
    actor = agent.loss_module.actor_network
    with agent.loss_module.actor_network_params.to_module(actor):
        actor.eval()
        expected = actor.get_dist(TensorDict({"observation": observation}, [len(observation)])).log_prob(action)
    torch.testing.assert_close(drawn.log_prob(observation, action), expected.double(), rtol=1e-4, atol=1e-4)


def test_a_greedy_policy_has_a_probability_of_one_or_none(discrete_specs) -> None:
    agent = agents.DiscreteCQLConfig(qvalue=agents.QValueConfig(**SMALL)).build(discrete_specs)
    policy, observation = policy_of(agent.policy, discrete_specs), observations()
    action = policy.actions(observation)
    assert policy.has_density
    assert policy.log_prob(observation, action).unique().tolist() == [0.0]
    assert policy.log_prob(observation, (action + 1) % 3).unique().tolist() == [-torch.inf]
    assert torch.equal(policy.probabilities(observation).argmax(-1), action)
    with pytest.raises(ConfigError, match="draws no actions: it has no distribution"):
        policy_of(agent.policy, discrete_specs, drawn=True)


def test_a_categorical_policy_that_is_drawn_has_the_probabilities_of_its_logits(discrete_specs, factored_specs) -> None:
    for specs in (discrete_specs, factored_specs):
        agent = agents.DiscreteBCConfig(actor=agents.CategoricalActorConfig(**SMALL)).build(specs)
        policy, observation = policy_of(agent.policy, specs, drawn=True), observations()
        logits = agent.policy.module.network(observation)
        torch.testing.assert_close(policy.probabilities(observation), logits.softmax(-1))
        action = policy.actions(observation)
        chosen = (logits.log_softmax(-1).masked_fill(logits.isinf(), 0.0) * one_hot(action, specs)).flatten(1).sum(1)
        torch.testing.assert_close(policy.log_prob(observation, action), chosen.double(), rtol=1e-5, atol=1e-5)


def test_a_policy_with_a_memory_is_refused_with_the_reason(specs) -> None:
    agent = agents.DTConfig(context_length=2, max_episode_steps=10, actor=agents.TransformerConfig(width=8)).build(
        specs
    )
    with pytest.raises(ConfigError, match=r"dt remembers the episode \(.*memory.*\): .* evaluate it in an environment"):
        policy_of(agent.policy, specs, name="dt")


def test_a_policy_that_searches_is_refused_for_what_it_does(specs) -> None:
    search = agents.ExtractionConfig(kind="argmax", num_candidates=2)
    agent = agents.IQLConfig(actor=agents.ActorConfig(**SMALL), extraction=search).build(specs)
    with pytest.raises(ConfigError, match="iql searches when it acts, by other random numbers at each step"):
        policy_of(agent.policy, specs, name="iql")


def test_support_is_that_of_the_data() -> None:
    process = world()
    steps = process.log(np.eye(2)[[0, 0, 0]], 60)
    same = Policy("same", steps.specs, lambda observation: torch.zeros(len(observation), dtype=torch.long))
    other = Policy("other", steps.specs, lambda observation: torch.ones(len(observation), dtype=torch.long))
    assert outside_support(same, steps) == 0.0
    assert outside_support(other, steps) == 1.0
    half = Policy("half", steps.specs, lambda observation: (observation[:, 0] == 0).long())
    share = (steps.observation[:, 0] == 0).float().mean().item()
    assert outside_support(half, steps) == pytest.approx(share)
    drawn = process.policy(np.tile([0.7, 0.3], (3, 1)))  # what it does at times counts for as often
    assert outside_support(drawn, steps) == pytest.approx(0.3)


def test_support_of_a_discrete_action_is_where_that_action_was_taken() -> None:
    """Actions 0 and 1 of 25 far apart in the first observation, each in episodes of one step."""
    generator = torch.Generator().manual_seed(0)
    action = torch.arange(400) % 2 + 23
    observation = torch.randn(400, 2, generator=generator) + 20.0 * (action == 24)[:, None]
    specs = agents.Specs(Unbounded((2,)), Categorical(25), torch.zeros(2), torch.ones(2))
    rest = (torch.zeros(400).double(), torch.ones(400).bool(), observation, torch.ones(400).long())
    steps = Transitions("test/far-v0", specs, observation, action, *rest)

    def share(choice: Tensor) -> float:
        return outside_support(Policy("p", specs, lambda _: choice), steps)

    asked = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    assert share(action[asked]) == pytest.approx(0.05)  # what the data do
    assert share(47 - action[asked]) == 1.0  # 23 where they do 24
    assert share(torch.zeros(400).long()) == 1.0  # what they never do


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_support_knows_no_units(unit) -> None:
    """Actions follow the first of three columns, of which the last never changes; the policy errs at every third."""
    generator = torch.Generator().manual_seed(0)
    observation = torch.randn(400, 3, generator=generator)
    observation[:, 2] = 0.1
    action = observation[:, :1].clamp(-1.0, 1.0)
    action_spec = Bounded(-1.0, 1.0, (1,))
    specs = agents.Specs(Unbounded((3,)), action_spec, torch.zeros(3), torch.ones(3))
    rest = (torch.zeros(400).double(), torch.ones(400).bool(), observation, torch.ones(400).long())
    asked = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    chosen = action[asked] * torch.where(torch.arange(400) % 3 == 0, -1.0, 1.0)[:, None]
    policy = Policy("p", specs, lambda _: chosen)
    share = outside_support(policy, Transitions("test/units-v0", specs, observation, action, *rest))
    assert 0.15 < share < 0.4
    scaled = Transitions("test/units-v0", specs, observation * unit, action, *rest)
    assert outside_support(policy, scaled) == pytest.approx(share, abs=0.01)
