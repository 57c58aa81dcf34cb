"""Policies that search when they act, against the definition in plain torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchrl.data import Bounded

import agents
from agents.networks.configs import ActorConfig, QValueConfig
from agents.networks.search import NUM_SETS, SearchingPolicy


@pytest.fixture
def networks(specs: agents.Specs) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    actor, critics = (config(hidden_sizes=[8]).build(specs) for config in (ActorConfig, QValueConfig))
    nn.init.constant_(actor[0].module.log_std, -0.5)
    return actor[0].module, critics.module


@pytest.fixture
def observation(batch) -> Tensor:
    return batch["observation"]


def smallest_qvalue(networks: tuple[nn.Module, nn.Module], observation: Tensor, action: Tensor) -> Tensor:
    return networks[1](observation, action).amin(-1)


def test_argmax_takes_the_candidate_with_the_largest_smallest_qvalue(networks, specs, observation) -> None:
    policy = SearchingPolicy(*networks, action_spec=specs.action, num_candidates=7, seed=3)
    steps = torch.arange(len(observation))[:, None]
    actions, memory = policy(observation, steps)
    assert torch.equal(memory, steps + 1)
    for row, noise, chosen in zip(observation, policy.noise.squeeze(1), actions):
        assert noise.shape == (7, 3)
        loc, scale = networks[0](row)
        candidates = (loc + scale * noise).clamp(specs.action.space.low, specs.action.space.high)
        values = smallest_qvalue(networks, row.expand(7, -1), candidates)
        torch.testing.assert_close(chosen, candidates[values.argmax()])


def test_every_step_of_an_episode_draws_anew(networks, specs, observation) -> None:
    settings = {"action_spec": specs.action, "num_candidates": 5, "temperature": 0.0, "cem_iterations": 1}
    policy = SearchingPolicy(*networks, **settings)
    (first, memory), other = policy(observation), SearchingPolicy(*networks, **settings)
    second, _ = policy(observation, memory)
    assert (first != second).any(-1).all()
    assert torch.equal(second, other(observation, memory)[0])
    for turn in policy.noise, policy.gumbel:
        assert len(turn.flatten(1).unique(dim=0)) == NUM_SETS
    again, _ = policy(observation, memory + NUM_SETS)
    assert torch.equal(again, second)


def test_an_evaluation_hands_the_steps_back(specs, batches) -> None:
    policy = agents.IQLConfig(extraction=agents.ExtractionConfig(kind="argmax", num_candidates=2)).build(specs).policy
    step = policy(batches(0).select("observation"))
    assert (step["memory"] == 1).all()
    assert (policy(step)["memory"] == 2).all()


def test_softmax_chooses_in_proportion_to_the_exponential_of_q(networks, specs, observation) -> None:
    beta, numbers = 3.0, []
    draws = torch.randn(1, 1, 16, 3, generator=torch.Generator().manual_seed(0)).expand(NUM_SETS, -1, -1, -1)
    states, steps = observation[:1].expand(NUM_SETS, -1), torch.arange(NUM_SETS)[:, None]
    low, high = specs.action.space.low, specs.action.space.high
    candidates = networks[0].draw(observation[:1], draws[0, 0])[0].clamp(low, high)  # [K, A]
    for seed in range(50):
        policy = SearchingPolicy(*networks, action_spec=specs.action, num_candidates=16, temperature=beta, seed=seed)
        policy.noise = draws
        chosen, _ = policy(states, steps)
        numbers += (chosen[:, None] - candidates).abs().sum(-1).argmin(-1).tolist()
    share = torch.tensor(numbers).bincount(minlength=16) / len(numbers)
    expected = (beta * smallest_qvalue(networks, observation[:1].expand(16, -1), candidates)).softmax(-1)
    torch.testing.assert_close(share, expected.detach(), atol=0.03, rtol=0.0)


def test_a_large_inverse_temperature_is_argmax(networks, specs, observation) -> None:
    settings = {"action_spec": specs.action, "num_candidates": 16, "cem_iterations": 1}
    softmax = SearchingPolicy(*networks, temperature=1e6, **settings)
    assert torch.equal(softmax(observation)[0], SearchingPolicy(*networks, **settings)(observation)[0])


def test_refinement_never_makes_the_choice_worse(networks, specs, observation) -> None:
    values = []
    for iterations in (None, 1, 2, 5):
        policy = SearchingPolicy(*networks, action_spec=specs.action, num_candidates=20, cem_iterations=iterations)
        values.append(smallest_qvalue(networks, observation, policy(observation)[0]))
    for before, after in zip(values, values[1:]):
        assert (after >= before - 1e-6).all()
    assert (values[-1] > values[0] + 1e-3).any()


def test_refinement_draws_from_a_gaussian_that_is_fitted_to_the_best_tenth(networks, specs, observation) -> None:
    policy = SearchingPolicy(*networks, action_spec=specs.action, num_candidates=30, cem_iterations=1)
    low, high = specs.action.space.low, specs.action.space.high
    first, second = policy.noise[0]
    for row, chosen in zip(observation, policy(observation)[0]):
        candidates = networks[0].draw(row[None], first)[0].clamp(low, high)
        best = candidates[smallest_qvalue(networks, row.expand(30, -1), candidates).topk(3).indices]
        drawn = (best.mean(0) + best.std(0, correction=0) * second).clamp(low, high)
        together = torch.cat([best, drawn])
        values = smallest_qvalue(networks, row.expand(33, -1), together)
        torch.testing.assert_close(chosen, together[values.argmax()])


class Bowl(nn.Module):
    """Q with its maximum where the observation says."""

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        return -(action - observation).square().sum(-1, keepdim=True)


class Standard(nn.Module):
    """A standard normal policy."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

    def draw(self, observation: Tensor, noise: Tensor) -> Tensor:
        return noise


def test_refinement_finds_a_maximum_that_no_draw_comes_near() -> None:
    bounds, goals = Bounded(-5.0, 5.0, (2,)), torch.tensor([[2.0, -1.5], [0.0, 0.0], [-2.0, 2.0]])
    policy = SearchingPolicy(Standard(), Bowl(), action_spec=bounds, num_candidates=200, cem_iterations=20)
    torch.testing.assert_close(policy(goals)[0], goals, atol=0.1, rtol=0.0)


def test_one_candidate_and_no_refinement_is_one_draw(networks, specs, observation) -> None:
    policy = SearchingPolicy(*networks, action_spec=specs.action, num_candidates=1)
    expected = networks[0].draw(observation, policy.noise[0, 0]).squeeze(1)
    torch.testing.assert_close(policy(observation)[0], expected.clamp(specs.action.space.low, specs.action.space.high))


def test_the_seed_decides_the_draws(networks, specs, observation) -> None:
    first, same, other = (
        SearchingPolicy(*networks, action_spec=specs.action, num_candidates=8, seed=seed)(observation)[0]
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, same) and not torch.equal(first, other)


@pytest.mark.parametrize("distribution", ["normal", "tanh_normal"])
def test_what_an_actor_draws_is_distributed_as_its_distribution(specs, batch, distribution) -> None:
    actor = ActorConfig(hidden_sizes=[8], distribution=distribution).build(specs)
    noise = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        drawn = actor[0].module.draw(batch["observation"], noise)  # [B, K, A]
        sampled = actor.get_dist(batch.clone()).sample((4000,)).transpose(0, 1)
    span = specs.action.space.high - specs.action.space.low
    torch.testing.assert_close(drawn.mean(1) / span, sampled.mean(1) / span, atol=0.05, rtol=0.0)
    torch.testing.assert_close(drawn.std(1) / span, sampled.std(1) / span, atol=0.05, rtol=0.0)
