"""RLPD's and WSRL's defaults against the sources that they name, and what they take over."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import agents
from agents.networks.configs import ActorConfig, QValueConfig
from agents.training.adam import AdamConfig
from agents.training.online import OnlineConfig
from agents.training.transfer import take_over, with_networks_of


def test_the_defaults_of_rlpd_are_the_authors_on_adroit() -> None:
    hidden_sizes = [256, 256, 256]
    assert agents.RLPDConfig() == agents.RLPDConfig(
        num_target_nets=2,
        entropy_backup=False,
        actor_qvalue="mean",
        gamma=0.99,
        target_tau=0.005,
        alpha_init=1.0,
        actor=ActorConfig(hidden_sizes, "relu", 0.0, False, "default", "tanh_normal", log_std_min=-20.0),
        qvalue=QValueConfig(hidden_sizes, "relu", 0.0, True, "default", num_nets=10),
        actor_optimizer=AdamConfig(lr=3e-4, every=20),
        critic_optimizer=AdamConfig(lr=3e-4),
        alpha_optimizer=AdamConfig(lr=3e-4, every=20),
    )
    assert agents.RLPDConfig.online == OnlineConfig(offline_share=0.5, updates_per_step=20, num_random_steps=5000)


def test_the_defaults_of_wsrl_are_the_authors_on_adroit() -> None:
    assert agents.WSRLConfig() == agents.WSRLConfig(
        num_target_nets=2,
        entropy_backup=False,
        actor_qvalue="min",
        gamma=0.99,
        target_tau=0.005,
        alpha_init=1.0,
        actor=ActorConfig([512, 512], "relu", 0.0, True, "default", "tanh_normal", log_std_min=-11.5, log_std_max=2.3),
        qvalue=QValueConfig([512] * 3, "relu", 0.0, True, "default", num_nets=10),
        actor_optimizer=AdamConfig(lr=1e-4, every=4),
        critic_optimizer=AdamConfig(lr=3e-4),
        alpha_optimizer=AdamConfig(lr=1e-4, every=4),
    )
    assert agents.WSRLConfig.online == OnlineConfig(offline_share=0.0, updates_per_step=4, num_warm_up_steps=5000)


@pytest.mark.parametrize(("config", "nats"), [(agents.RLPDConfig, -0.5), (agents.WSRLConfig, -1.0)])
def test_the_entropy_that_they_steer_to_is_so_many_nats_per_dimension_in_bounds_of_1(config, nats, specs) -> None:
    half_range = (specs.action.space.high - specs.action.space.low) / 2
    expected = (half_range.log() + nats).sum().item()
    assert config().entropy_target(specs) == pytest.approx(expected)
    assert config(target_entropy=-7.0).entropy_target(specs) == -7.0


@pytest.mark.parametrize("steps", [20, 4])
def test_actor_and_alpha_step_once_for_all_updates_of_a_step(steps) -> None:
    config = {20: agents.RLPDConfig, 4: agents.WSRLConfig}[steps]()
    assert config.online.updates_per_step == config.actor_optimizer.every == config.alpha_optimizer.every == steps
    assert config.going_online(100) == config == config.going_online(100, steps)
    for updates_per_step, every in ((10, 10), (1, 1), (0.5, 1)):
        online = config.going_online(100, updates_per_step)
        assert online.actor_optimizer.every == online.alpha_optimizer.every == every
        assert online.critic_optimizer == config.critic_optimizer


@pytest.mark.parametrize("config", [agents.RLPDConfig, agents.WSRLConfig])
@pytest.mark.parametrize("source", ["iql", "awac", "cql", "cal_ql", "sac", "edac", "rlpd"])
def test_they_take_over_from_every_algorithm_whose_actor_draws(config, source, specs, batches) -> None:
    source = agents.ALGORITHMS[source](actor=ActorConfig([8], distribution="tanh_normal"))
    source = replace(source, qvalue=replace(source.qvalue, hidden_sizes=[8]), normalize_observations=True)
    theirs = source.build(specs)
    theirs.update(batches(0))
    agent = with_networks_of(config(), source).going_online(100).build(specs)
    assert take_over(agent, theirs).left == ([] if hasattr(theirs.loss_module, "log_alpha") else ["log_alpha"])
    observation = batches(9).select("observation")
    torch.testing.assert_close(agent.policy(observation.clone()), theirs.policy(observation.clone()))
    assert all(value.isfinite() for value in agent.update(batches(1)).values())


@pytest.mark.parametrize("source", [agents.TD3BCConfig, agents.ReBRACConfig])
def test_from_an_actor_that_draws_nothing_they_take_nothing(source) -> None:
    with pytest.raises(agents.ConfigError, match="^WSRL needs an actor that draws its actions, .* has none$"):
        with_networks_of(agents.WSRLConfig(), source())


@pytest.mark.parametrize(("setting", "value"), [("num_target_nets", 0), ("alpha_init", 0.0), ("gamma", 1.5)])
def test_settings_out_of_range_are_refused_by_name_and_value(setting, value) -> None:
    with pytest.raises(agents.ConfigError, match=rf"{setting} must .* got {value}$"):
        agents.WSRLConfig(**{setting: value})
