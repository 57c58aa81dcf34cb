"""A learned model of the environment: what its rollouts add up to, and that policies have their true value in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torchrl.data import Bounded, Unbounded

import agents
from agents.errors import ConfigError
from agents.evaluation.offline import ModelConfig, Policy, Transitions, estimate_policy, fit_model, model_evaluation
from agents.evaluation.offline.behavior import clone_behavior
from agents.evaluation.offline.fqe import fitted_q_evaluation
from agents.evaluation.offline.model import Dynamics, horizon
from agents.evaluation.offline.settings import FQEConfig
from agents.networks.configs import MLPConfig
from tests.agents import handmade
from tests.agents.evaluation.offline.tabular import GAMMA, world
from tests.agents.handmade import create, episode, load

SMALL = MLPConfig(hidden_sizes=[32], init="default")
LENGTH = 12


def line(num_episodes: int, *, lengths: list[int] | None = None) -> Transitions:
    """A point that is pushed along a line, and pays for its distance from 0; actions are drawn."""
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor(lengths or [LENGTH] * num_episodes)
    rows = []
    for size in sizes.tolist():
        state = 2 * torch.rand(1, generator=generator) - 1
        for _ in range(size):
            action = 2 * torch.rand(1, generator=generator) - 1
            after = pushed(state, action)
            rows.append((state, action, -state.square(), after))
            state = after
    state, action, reward, after = (torch.stack(each) for each in zip(*rows))
    one = torch.Size([1])
    box = Bounded(-torch.ones(1), torch.ones(1), one)
    specs = agents.Specs(Unbounded(one), box, torch.zeros(1), torch.ones(1))
    ends = torch.zeros(len(state), dtype=torch.bool)
    return Transitions("test/line-v0", specs, state, action, reward[:, 0].double(), ends, after, sizes)


def pushed(state: Tensor, action: Tensor) -> Tensor:
    return 0.9 * state + 0.3 * action


def steered(steps: Transitions, gain: float) -> Policy:
    return Policy("steered", steps.specs, lambda observation: (gain * observation).clamp(-1.0, 1.0))


def true_value(steps: Transitions, policy: Policy, gamma: float) -> float:
    state, total = steps.observation[steps.first], 0.0
    for step in range(LENGTH):
        total += gamma**step * -state.square().mean().item()
        state = pushed(state, policy.actions(state))
    return total


def test_a_rollout_adds_up_discounted_rewards_as_long_as_it_lasts(monkeypatch) -> None:
    steps = line(3, lengths=[2, 5, 3])
    model = Dynamics(steps, ModelConfig(num_members=3, network=SMALL), seed=0, device="cpu")
    pays = torch.tensor([1.0, -1.0, 0.5])[:, None]
    ends = torch.full((3, 3), 0.25).double()
    monkeypatch.setattr(model, "_step", lambda state, action, _: (state, pays.expand(3, 3).double(), ends))
    start = steps.observation[steps.first]
    known = model.returns(start, lambda _, state: state, 0.5, lengths=steps.lengths)
    torch.testing.assert_close(known, pays.double() * torch.tensor([[1.5, 1.9375, 1.75]]).double())
    expected = sum((0.5 * 0.75) ** step for step in range(5))  # the longest has five steps
    torch.testing.assert_close(model.returns(start, lambda _, state: state, 0.5), pays.double().expand(3, 3) * expected)


@pytest.mark.parametrize(("gamma", "expected"), [(1.0, 12), (0.99, 12), (0.5, 10), (0.0, 12)])
def test_a_rollout_is_as_long_as_the_longest_episode_or_until_nothing_counts(gamma, expected) -> None:
    assert horizon(line(2), gamma) == expected


def test_a_policy_is_worth_in_the_model_what_it_is_worth() -> None:
    steps = line(60)
    model = fit_model(steps, ModelConfig(num_members=3, gradient_steps=1_500, network=SMALL, lr=1e-2, compile="off"))
    unseen, seen = model.errors(0)
    assert max(unseen, seen) < 0.5
    for gain in (-2.0, 0.3):
        policy = steered(steps, gain)
        estimate = model_evaluation(policy, model, gamma=0.95)
        assert estimate.value == pytest.approx(true_value(steps, policy, 0.95), abs=0.15), gain
        assert estimate.low < estimate.value < estimate.high and estimate.estimator == "model"
        assert estimate.own_value == pytest.approx(estimate.data_return, abs=0.15)
        assert estimate.trust.model_error == unseen and not estimate.beyond_log


def test_a_model_sees_each_number_in_its_own_unit_and_constants_stay() -> None:
    steps = line(20)
    columns = [torch.tensor([1e5, 0.0]), torch.tensor([0.0, 7.0])]  # far larger than rewards; always 7
    observation, after = (state * columns[0] + columns[1] for state in (steps.observation, steps.next_observation))
    model = Dynamics(
        replace(steps, observation=observation, next_observation=after),
        ModelConfig(num_members=3, network=SMALL),
        seed=0,
        device="cpu",
    )
    for name, varies in (("observation", [1.0, 0.0]), ("target", [1.0, 0.0, 1.0])):
        torch.testing.assert_close(model.rows[name].std(0), torch.tensor(varies))
    states, *_ = model._step(observation.expand(3, -1, -1), steps.action.expand(3, -1, -1), torch.Generator())
    assert (states[..., 1] == 7.0).all() and states[..., 0].std() > 1e3


@pytest.mark.slow
def test_episodes_end_in_the_model_as_often_as_they_do() -> None:
    """By discrete actions, drawn, in states that are one-hot."""
    made, table = world(), np.array([[0.2, 0.8], [0.5, 0.5], [0.7, 0.3]])
    steps = made.log(np.full((3, 2), 0.5), 1_000)
    settings = ModelConfig(num_members=3, gradient_steps=1_500, network=SMALL, lr=1e-2, compile="off")
    estimate = model_evaluation(made.policy(table), fit_model(steps, settings), gamma=GAMMA)
    assert estimate.value == pytest.approx(made.value(table), rel=0.2)
    assert estimate.own_value == pytest.approx(estimate.data_return, rel=0.2)


def test_a_model_is_asked_where_it_is_named_alone(root) -> None:
    create(*(episode(6, seed=seed, terminated=True) for seed in range(4)))
    dataset = load()
    middle = Policy(
        "middle", dataset.specs, lambda observation: torch.full((len(observation), handmade.NUM_ACTIONS), 0.5)
    )
    few = ModelConfig(num_members=3, gradient_steps=2, batch_size=8, network=SMALL, compile="off")
    result = estimate_policy(middle, dataset, ["model"], model=few)
    (estimate,) = result.by_estimator.values()
    assert estimate.trust.model_error is not None and estimate.trust.outside_support is not None
    again = estimate_policy(middle, dataset, ["model"], model=few).by_estimator["model"]
    assert (again.value, again.low) == (estimate.value, estimate.low)


def test_what_estimates_are_made_of_is_drawn_beside_the_random_numbers_of_a_training(monkeypatch) -> None:
    """Those of a GPU too: torch.manual_seed sets all, and only some are put back."""
    monkeypatch.setattr(torch, "manual_seed", None)
    steps, before = line(4), torch.get_rng_state()
    fqe = FQEConfig(gradient_steps=2, num_members=3, qvalue=SMALL, compile="off")
    fitted_q_evaluation([steered(steps, 0.3)], steps, fqe)
    fit_model(steps, ModelConfig(num_members=3, gradient_steps=2, network=SMALL, compile="off"))
    clone_behavior(steps, gradient_steps=2, batch_size=8, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("settings", [{"num_members": 2}, {"gradient_steps": 0}, {"lr": 0.0}])
def test_settings_out_of_range_are_refused(settings) -> None:
    (name,) = settings
    with pytest.raises(ConfigError, match=f"{name} must"):
        ModelConfig(**settings)
