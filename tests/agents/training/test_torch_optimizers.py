"""Optimizers and schedulers of torch's in an agent's update, and the agent's own optimizer in a loop of torch's."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, optim

import agents
from agents.networks.configs import ActorConfig
from agents.training.adam import AdamConfig
from agents.training.stack import AgentStack
from agents.training.torch_optimizers import Schedule
from tests.conftest import make_batch

SCHEDULER = {"name": "CosineAnnealingWarmRestarts", "T_0": 3, "eta_min": 1e-5}


def build(specs: agents.Specs, **settings: Any) -> agents.Agent:
    torch.manual_seed(0)
    config = agents.BCConfig(actor=ActorConfig(hidden_sizes=[8]), actor_optimizer=AdamConfig(lr=1e-2, **settings))
    return config.build(specs)


def numbers(agent: agents.Agent) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in agent.loss_module.named_parameters()}


def by_torch(agent: agents.Agent, optimizer: optim.Optimizer, scheduler: Any, num_updates: int) -> None:
    for seed in range(num_updates):
        optimizer.zero_grad()
        agent.loss_module(make_batch(16, seed))["loss_bc"].backward()
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "SGD", "momentum": 0.9},
        {"name": "RMSprop"},
        {"name": "Adagrad"},
        {"name": "NAdam"},
        {"name": "AdamW", "amsgrad": True},
    ],
    ids=lambda settings: settings["name"],
)
def test_updates_are_those_of_torchs_optimizer_and_scheduler_also_after_a_resume(specs, settings) -> None:
    agent, twin = build(specs, torch_optimizer=settings, torch_scheduler=SCHEDULER), build(specs)
    arguments = {name: value for name, value in settings.items() if name != "name"}
    decay = {"weight_decay": 0.0}
    optimizer = getattr(optim, settings["name"])(twin.loss_module.parameters(), lr=1e-2, **decay, **arguments)
    by_torch(twin, optimizer, optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 3, eta_min=1e-5), 8)
    for seed in range(4):
        agent.update(make_batch(16, seed))
    resumed = build(specs, torch_optimizer=settings, torch_scheduler=SCHEDULER)
    resumed.load_state_dict(copy.deepcopy(agent.state_dict()))
    for seed in range(4, 8):
        agent.update(make_batch(16, seed))
        resumed.update(make_batch(16, seed))
    torch.testing.assert_close(numbers(agent), numbers(twin))
    torch.testing.assert_close(numbers(resumed), numbers(agent), rtol=0.0, atol=0.0)
    assert resumed.learning_rates == agent.learning_rates
    assert all(
        isinstance(value, Tensor) for state in agent.state_dict()["optimizer"].values() for value in state.values()
    )


def test_the_agents_optimizer_is_one_of_torchs(specs) -> None:
    agent, twin = build(specs), build(specs)
    by_torch(agent, agent.optimizer, optim.lr_scheduler.StepLR(agent.optimizer, 2), 5)
    reference = optim.AdamW(twin.loss_module.parameters(), lr=1e-2, weight_decay=0.0, fused=True)
    by_torch(twin, reference, optim.lr_scheduler.StepLR(reference, 2), 5)
    torch.testing.assert_close(numbers(agent), numbers(twin))
    assert agent.optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)


def test_a_scheduler_scales_the_rates_of_updates(specs) -> None:
    agent = build(specs, decay_steps=4)
    scheduler = optim.lr_scheduler.ExponentialLR(agent.optimizer, 0.5)
    rates = []
    for seed in range(3):
        rates += agent.rule.rates(agent.num_updates)
        agent.update(make_batch(16, seed))
        scheduler.step()
    config = AdamConfig(lr=1e-2, decay_steps=4)
    assert rates == pytest.approx([config.lr_at(step) * 0.5**step for step in range(3)])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"torch_optimizer": {"name": "Adem"}}, "torch has no Adem; choose from .*Adagrad.*SGD"),
        ({"torch_optimizer": {"momentum": 0.9}}, "torch_optimizer must have a name"),
        ({"torch_optimizer": {"name": "SGD", "momentun": 0.9}}, "torch_optimizer SGD: .*momentun"),
        ({"torch_optimizer": {"name": "SGD", "momentum": -1.0}}, "torch_optimizer SGD: Invalid momentum value"),
        ({"torch_optimizer": {"name": "LBFGS"}}, "LBFGS evaluates the loss on its own"),
        ({"torch_scheduler": {"name": "StepLR"}}, "torch_scheduler StepLR: .*step_size"),
        ({"torch_scheduler": {"name": "ReduceLROnPlateau"}}, "ReduceLROnPlateau waits for a metric"),
        ({"torch_scheduler": {"name": "StepLR"}, "decay_steps": 3}, "torch_scheduler must stand without decay_steps"),
    ],
)
def test_what_torch_does_not_have_or_take_is_refused(settings, message, specs) -> None:
    with pytest.raises(agents.ConfigError, match=message):
        build(specs, **settings)


def test_a_stack_of_other_optimizers_is_refused(specs) -> None:
    parts = [build(specs, torch_optimizer={"name": "SGD"}) for _ in range(2)]
    with pytest.raises(agents.ConfigError, match="one by one: stack=false"):
        AgentStack(parts, [torch.Generator() for _ in parts])


@pytest.mark.parametrize("settings", [{}, {"torch_optimizer": {"name": "SGD", "momentum": 0.9}}], ids=["Adam", "SGD"])
def test_the_state_that_is_loaded_into_the_agents_optimizer_is_the_one_that_it_goes_on_with(specs, settings) -> None:
    agent, other = build(specs, **settings), build(specs, **settings)
    for seed in range(3):
        agent.update(make_batch(16, seed))
    other.load_state_dict(agent.state_dict())
    other.optimizer.load_state_dict(copy.deepcopy(agent.optimizer.state_dict()))
    agent.update(make_batch(16, 3))
    other.update(make_batch(16, 3))
    torch.testing.assert_close(other.state_dict(), agent.state_dict(), rtol=0.0, atol=0.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"torch_optimizer": {"name": "SparseAdam"}},
        {"torch_scheduler": {"name": "OneCycleLR", "max_lr": 1e-2, "total_steps": 2}},
        {"torch_scheduler": {"name": "StepLR", "step_size": 0}},
    ],
    ids=["SparseAdam", "OneCycleLR", "StepLR"],
)
def test_what_only_a_step_refuses_is_an_error_of_the_settings(specs, settings) -> None:
    agent = build(specs, **settings)
    refusals = ["SparseAdam: .*dense", "OneCycleLR, after 2 updates: .*total steps is 2", "StepLR, after 0 .*zero"]
    with pytest.raises(agents.ConfigError, match="|".join(refusals)):
        for seed in range(4):
            agent.update(make_batch(16, seed))


def test_an_agent_is_not_copied_with_its_optimizer_left_behind(specs) -> None:
    with pytest.raises(agents.ConfigError, match="load the state_dict"):
        copy.deepcopy(build(specs))


def test_a_rate_of_long_ago_is_the_same_again() -> None:
    schedule = Schedule(AdamConfig(lr=1e-2, torch_scheduler={"name": "StepLR", "step_size": 500, "gamma": 0.5}))
    assert [schedule.rate(step) for step in (0, 1600, 3, 700)] == pytest.approx([1e-2, 1.25e-3, 1e-2, 5e-3])
