"""Behaviour cloning: the mean negative log-likelihood of the data's actions, and no critics."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import agents
from agents.networks.configs import ActorConfig
from agents.training.adam import AdamConfig


@pytest.mark.parametrize("normalize", [False, True])
def test_the_loss_is_the_mean_negative_log_likelihood(specs, batch, normalize) -> None:
    torch.manual_seed(0)
    agent = agents.BCConfig(actor=ActorConfig(hidden_sizes=[8]), normalize_observations=normalize).build(specs)
    network = agent.policy.module.network
    with torch.no_grad():
        network.log_std.copy_(torch.tensor([-1.0, 0.0, 0.5]))
    linears = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    hidden = batch["observation"]
    if normalize:
        hidden = (hidden - specs.observation_mean) / (specs.observation_std + 1e-3)
    for linear in linears[:-1]:
        hidden = torch.relu(hidden @ linear.weight.T + linear.bias)
    low, high = specs.action.space.low, specs.action.space.high
    mean = (low + high) / 2 + (high - low) / 2 * torch.tanh(hidden @ linears[-1].weight.T + linears[-1].bias)
    error = (batch["action"] - mean) / network.log_std.exp()
    log_likelihood = (-0.5 * error**2 - network.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)  # [B, A] -> [B]
    torch.testing.assert_close(agent.update(batch)["loss_bc"], -log_likelihood.mean().detach(), rtol=1e-6, atol=1e-6)


def test_there_is_an_actor_and_nothing_else(specs, batch) -> None:
    agent = agents.BCConfig().build(specs)
    assert agent.rule.target_net_updater is None
    assert all(name.startswith("actor_network_params") for name in agent.loss_module.state_dict())
    assert set(agent.learning_rates) == {"lr_actor"}
    assert [key for key in agent.update(batch).keys() if key.startswith("loss_")] == ["loss_bc"]
    assert not set(agent.loss_module.in_keys) & {("next", "observation"), ("next", "reward"), ("next", "terminated")}


def test_rewards_and_next_observations_do_not_matter(specs, batch) -> None:
    losses = []
    for scale in (1.0, 100.0):
        torch.manual_seed(0)
        agent = agents.BCConfig(actor=ActorConfig(hidden_sizes=[8])).build(specs)
        for key in ("observation", "reward"):
            batch["next", key] = scale * batch["next", key]
        losses.append(agent.update(batch).to_dict())
    assert losses[0] == losses[1]


def test_it_clones_a_policy_that_the_network_can_express(specs, batches) -> None:
    torch.manual_seed(0)
    config = agents.BCConfig(actor=ActorConfig(hidden_sizes=[16]), actor_optimizer=AdamConfig(lr=1e-2))
    teacher, agent = config.build(specs).policy, config.build(specs)
    for seed in range(200):
        batch = batches(seed)
        batch["action"] = teacher(batch.clone())["action"].detach()
        agent.update(batch)
    unseen = batches(1000)
    error = agent.policy(unseen.clone())["action"] - teacher(unseen.clone())["action"]
    spread = teacher(unseen.clone())["action"].std(0)
    assert (error.square().mean(0).sqrt() < 0.3 * spread).all()


def test_the_best_episodes_alone_are_drawn_if_told_so(specs, batches) -> None:
    """On batches from elsewhere it is the same."""
    losses = []
    for share in (None, 0.25):
        torch.manual_seed(0)
        agent = agents.BCConfig(best_episodes=share, max_grad_norm=0.1).build(specs)
        assert agent.sampling["best_episodes"] == share
        losses.append([agent.update(batches(seed)).to_dict() for seed in range(3)])
    assert losses[0] == losses[1]


def test_the_defaults_are_iqls_actor_and_its_rate() -> None:
    iql, bc = agents.IQLConfig(), agents.BCConfig()
    assert (bc.actor, bc.actor_optimizer) == (iql.actor, iql.actor_optimizer)


@pytest.mark.parametrize(("setting", "value"), [("max_grad_norm", 0.0), ("best_episodes", 0.0), ("best_episodes", 1.5)])
def test_a_setting_out_of_range_is_refused_by_name_and_value(setting, value) -> None:
    with pytest.raises(agents.ConfigError, match=rf"{setting} must .* got {value}$"):
        agents.BCConfig(**{setting: value})
