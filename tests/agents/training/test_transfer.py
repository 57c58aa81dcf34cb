"""What goes over from one agent to another, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import agents
from agents.networks.configs import ActorConfig, DeterministicActorConfig, MLPConfig, QValueConfig
from agents.training.online import OnlineConfig
from agents.training.transfer import take_over, with_networks_of

STOCHASTIC = ActorConfig([8], distribution="tanh_normal", log_std_min=-20.0)
SGD, RMSPROP, ADAFACTOR = {"name": "SGD", "momentum": 0.9}, {"name": "RMSprop"}, {"name": "Adafactor"}


def trained(config, specs, batches) -> agents.Agent:
    torch.manual_seed(1)
    agent = config.build(specs)
    for seed in range(3):
        agent.update(batches(seed))
    return agent


def state(agent: agents.Agent) -> dict[str, torch.Tensor]:
    module = agent.loss_module
    return {name: tensor.detach().clone() for name, tensor in (*module.named_parameters(), *module.named_buffers())}


def test_an_agent_of_the_same_algorithm_goes_on_as_the_other_would(specs, batches) -> None:
    config = agents.IQLConfig(actor=ActorConfig([8]), qvalue=QValueConfig([8]))
    source, agent = trained(config, specs, batches), config.build(specs)
    result = take_over(agent, source)
    assert result.left == [] and agent.num_updates == 3
    expected, ours = source.update(batches(9)), agent.update(batches(9))
    assert (expected == ours).all()
    torch.testing.assert_close(state(agent), state(source), rtol=0.0, atol=0.0)


def test_without_moments_the_next_step_is_adams_first(specs, batches) -> None:
    config = agents.IQLConfig(actor=ActorConfig([8]), qvalue=QValueConfig([8]))
    source, agent = trained(config, specs, batches), config.build(specs)
    take_over(agent, source, keep_moments=False)
    before = state(agent)["actor_network_params.module.0.module.log_std"]
    agent.update(batches(9))
    step = (state(agent)["actor_network_params.module.0.module.log_std"] - before).abs()
    torch.testing.assert_close(step, torch.full_like(step, 3e-4), rtol=1e-3, atol=0.0)


@pytest.mark.parametrize(("before", "after"), [(SGD, {}), ({}, RMSPROP), (SGD, SGD), (ADAFACTOR, ADAFACTOR)])
def test_moments_of_another_optimizer_are_not_taken_for_its_own(before, after, specs, batches) -> None:
    def config(named: dict) -> agents.IQLConfig:
        optimizer = agents.AdamConfig(torch_optimizer=named)
        return agents.IQLConfig(actor=ActorConfig([8]), qvalue=QValueConfig([8]), critic_optimizer=optimizer)

    agent, source = config(after).build(specs), trained(config(before), specs, batches)
    take_over(agent, source)
    agent.update(batches(9))
    if before == after:
        source.update(batches(9))
        torch.testing.assert_close(state(agent), state(source), rtol=0.0, atol=0.0)


def test_an_ensemble_takes_over_the_critics_that_torchrl_keeps_apart(specs, batches) -> None:
    source = agents.SACConfig(actor=STOCHASTIC, qvalue=QValueConfig([8]), normalize_observations=True)
    config = with_networks_of(agents.EDACConfig(eta=0.0), source)
    assert config == replace(
        agents.EDACConfig(eta=0.0), actor=STOCHASTIC, qvalue=QValueConfig([8]), normalize_observations=True
    )
    theirs, ours = trained(source, specs, batches), config.build(specs)
    assert take_over(ours, theirs).left == []
    batch = batches(9)
    torch.manual_seed(0)
    expected = theirs.loss_module(batch.copy())
    torch.manual_seed(0)
    losses = ours.loss_module(batch)
    for name in ("loss_actor", "loss_qvalue", "loss_alpha"):
        torch.testing.assert_close(losses[name], expected[name], rtol=1e-5, atol=1e-5)


def test_what_the_other_has_not_is_named_and_left_as_it_was_drawn(specs, batches) -> None:
    source = agents.IQLConfig(actor=STOCHASTIC, qvalue=QValueConfig([8]))
    config = replace(with_networks_of(agents.EDACConfig(eta=0.0), source), qvalue=QValueConfig([8], num_nets=3))
    agent = config.build(specs)
    before = state(agent)
    result = take_over(agent, trained(source, specs, batches))
    assert "log_alpha" in result.left and "qvalue_network_params.module.layers.0.weight" in result.left
    assert all(torch.equal(state(agent)[name], before[name]) for name in result.left)


@pytest.mark.parametrize("other", [MLPConfig([9]), MLPConfig([8, 8])])
def test_an_actor_that_does_not_fit_is_refused_in_a_line_and_nothing_is_taken(specs, batches, other) -> None:
    source = trained(agents.IQLConfig(actor=STOCHASTIC, qvalue=QValueConfig([8])), specs, batches)
    agent = agents.SACConfig(actor=replace(STOCHASTIC, hidden_sizes=other.hidden_sizes)).build(specs)
    before = state(agent)
    with pytest.raises(agents.ConfigError, match=r"^the actor cannot be taken over: actor_network_params.* here, .*"):
        take_over(agent, source)
    torch.testing.assert_close(state(agent), before)


def test_an_algorithm_that_draws_its_actions_needs_an_actor_that_does() -> None:
    source = agents.TD3BCConfig(actor=DeterministicActorConfig([8]))
    with pytest.raises(agents.ConfigError, match="SAC needs an actor that draws its actions, .*; TD3BC has none"):
        with_networks_of(agents.SACConfig(), source)


@pytest.mark.parametrize("name", agents.ALGORITHMS)
def test_every_algorithm_says_how_it_goes_on_online_or_that_it_cannot(name) -> None:
    config = agents.ALGORITHMS[name]()
    assert (config.online is None) == (not hasattr(config, "gamma"))
    assert config.online is None or isinstance(config.online, OnlineConfig)
    online = config.going_online(100)
    assert type(online) is type(config) and agents.ALGORITHMS[name]() == config


@pytest.mark.parametrize("schedule", [{"decay_steps": 7}, {"torch_scheduler": {"name": "OneCycleLR"}}])
def test_no_learning_rate_decays_online(schedule) -> None:
    decaying = agents.AdamConfig(lr=1e-3, **schedule)
    config = agents.IQLConfig(actor_optimizer=decaying).going_online(100)
    assert config == agents.IQLConfig(actor_optimizer=agents.AdamConfig(lr=1e-3))


@pytest.mark.parametrize(
    "setting",
    [
        {"offline_share": 1.5},
        {"updates_per_step": 0},
        {"num_warm_up_steps": -1},
        {"noise": -0.1},
        {"random_share": 2.0},
    ],
)
def test_settings_out_of_range_are_refused(setting) -> None:
    ((name, value),) = setting.items()
    with pytest.raises(agents.ConfigError, match=f"{name}.*{value}"):
        OnlineConfig(**setting)
