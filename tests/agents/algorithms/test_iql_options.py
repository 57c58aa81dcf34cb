"""IQL's options: the contract of an algorithm under each of them, and what each is by definition."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

import agents
from agents.networks.configs import ActorConfig, QValueConfig, ValueConfig
from agents.training.adam import AdamConfig
from tests.test_contract import test_a_compiled_update_equals_the_eager_one as check_compiled
from tests.test_contract import (  # noqa: F401
    test_a_loaded_policy_scales_observations_by_itself,
    test_the_policy_acts_inside_the_bounds_whatever_it_sees,
    test_the_policy_is_deterministic_and_acts_on_each_row_alone,
    test_the_policy_is_what_is_trained,
    test_training_goes_on_after_loading_as_if_it_had_never_stopped,
)
from tests.test_contract import test_stacked_agents_are_what_each_is_alone as check_stacked

OPTIONS = {
    "scale_advantage": {"scale_advantage": True},
    "value_warm_up": {"value_warm_up": 2},
    "linear": {"expectile_schedule": agents.ExpectileScheduleConfig(kind="linear", num_steps=50)},
    "adaptive": {"expectile_schedule": agents.ExpectileScheduleConfig(kind="adaptive", rate=0.05)},
    "ddpg_bc": {"extraction": agents.ExtractionConfig(kind="ddpg_bc")},
    "argmax": {"extraction": agents.ExtractionConfig(kind="argmax", num_candidates=8)},
    "softmax_cem": {"extraction": agents.ExtractionConfig(kind="softmax", num_candidates=8, cem_iterations=2)},
}


def iql(**options: Any) -> agents.IQLConfig:
    small = {"hidden_sizes": [16, 16]}
    return agents.IQLConfig(
        **options, actor=ActorConfig(**small), qvalue=QValueConfig(**small), value=ValueConfig(**small)
    )


@pytest.fixture(params=OPTIONS)
def config(request: pytest.FixtureRequest) -> agents.IQLConfig:
    return iql(**OPTIONS[request.param])


LOSSES = ["scale_advantage", "value_warm_up", "adaptive", "ddpg_bc"]


@pytest.mark.parametrize("config", LOSSES, indirect=True)
def test_a_traced_update_equals_the_eager_one(config, specs, batches) -> None:
    check_compiled(config, specs, batches, "trace")


# seconds each to trace: the one whose losses change a buffer at every update stands for all
@pytest.mark.parametrize(
    "config", [pytest.param(name, marks=[pytest.mark.slow] * (name != "adaptive")) for name in LOSSES], indirect=True
)
def test_stacked_agents_are_what_each_is_alone(config, specs, batches, tmp_path) -> None:
    check_stacked(config, specs, batches, tmp_path, "trace")


@pytest.mark.slow
def test_a_compiled_loss_changes_its_expectile(specs, batches) -> None:
    check_compiled(iql(**OPTIONS["adaptive"]), specs, batches, "inductor")


def built(specs: agents.Specs, **options: Any) -> agents.Agent:
    torch.manual_seed(0)
    return iql(**options).build(specs)


def networks_that_moved(agent: agents.Agent, batch) -> set[str]:
    before = {name: value.clone() for name, value in agent.loss_module.named_parameters()}
    agent.update(batch)
    after = dict(agent.loss_module.named_parameters())
    return {name.split("_network")[0] for name, value in before.items() if not torch.equal(value, after[name])}


def test_by_default_every_option_is_off() -> None:
    config = agents.IQLConfig()
    assert config.value_warm_up is None and not config.scale_advantage
    assert (config.expectile_schedule.kind, config.extraction.kind) == ("constant", "weighting")


def test_during_the_value_warm_up_q_stands_still(specs, batches) -> None:
    agent = built(specs, value_warm_up=3)
    moved = [networks_that_moved(agent, batches(seed)) for seed in range(5)]
    assert moved == [{"actor", "value"}] * 3 + [{"actor", "value", "qvalue"}] * 2
    assert agent.learning_rates.keys() == {"lr_actor", "lr_critic", "lr_value"}


def test_the_value_warm_up_comes_before_a_delay_of_the_critics_own(specs) -> None:
    config = agents.IQLConfig(value_warm_up=3, critic_optimizer=AdamConfig(after=2, lr=1e-3))
    groups = {name: group for name, (_, group) in config.build(specs).rule.groups.items()}
    assert groups["critic"] == AdamConfig(after=5, lr=1e-3) and groups["value"] == config.critic_optimizer


@pytest.mark.parametrize("kind", ["linear", "adaptive"])
def test_a_schedule_is_the_constant_loss_with_the_expectile_of_the_update(specs, batches, kind) -> None:
    schedule = agents.ExpectileScheduleConfig(kind=kind, num_steps=5, rate=0.2)
    agent, taken = built(specs, expectile_schedule=schedule), []
    for seed in range(6):
        constant = copy.deepcopy(agent.loss_module)
        del constant.expectile
        statistics = agent.update(batches(seed))
        taken.append(statistics["expectile"].item())
        constant.expectile = taken[-1]
        torch.testing.assert_close(constant(batches(seed))["loss_value"].detach(), statistics["loss_value"])
    assert taken[0] == pytest.approx(0.7) and len(set(taken)) > 3
    if kind == "linear":
        assert taken == pytest.approx([0.7, 0.74, 0.78, 0.82, 0.86, 0.9])


def test_ddpg_bc_is_its_definition(specs, batch) -> None:
    """arXiv 2406.09329 with Q scaled to a mean size of 1, in plain torch on the networks' own tensors."""
    agent = built(specs, extraction=agents.ExtractionConfig(kind="ddpg_bc", bc_weight=0.3))
    loss, actor = agent.loss_module, agent.policy.module.network
    critics = QValueConfig(hidden_sizes=[16, 16]).build(specs)
    loss.qvalue_network_params.to_module(critics)
    loss.target_qvalue_network_params.apply_(lambda p: p + 0.3)  # which must not matter
    actor.log_std.data.fill_(-1.0)  # which must not matter either: the source holds it at 0
    loc, _ = actor(batch["observation"])
    q = torch.minimum(*critics.module(batch["observation"], loc).unbind(-1))
    log_pi = -0.5 * (batch["action"] - loc) ** 2 - 0.5 * math.log(2 * math.pi)
    expected = -(q / q.abs().mean().detach() + 0.3 * log_pi.sum(-1)).mean()
    ours = loss(batch)
    torch.testing.assert_close(ours["loss_actor"], expected)
    of_std, *parameters = actor.parameters()
    assert torch.autograd.grad(ours["loss_actor"], of_std, retain_graph=True, allow_unused=True) == (None,)
    torch.testing.assert_close(
        torch.autograd.grad(ours["loss_actor"], parameters, retain_graph=True),
        torch.autograd.grad(expected, parameters, retain_graph=True),
    )
    of_critics = torch.autograd.grad(ours["loss_actor"], list(critics.parameters()), allow_unused=True)
    assert all(gradient is None for gradient in of_critics)
    assert set(ours.keys()) == set(loss.out_keys) and "weight" not in ours.keys()


def test_an_actor_that_is_searched_is_a_clone(specs, batches) -> None:
    searched = built(specs, extraction=agents.ExtractionConfig(kind="argmax"), temperature=3.0)
    torch.manual_seed(0)
    bc = agents.BCConfig(actor=ActorConfig(hidden_sizes=[16, 16])).build(specs)
    for seed in range(5):
        losses = searched.update(batches(seed))["loss_actor"], bc.update(batches(seed))["loss_bc"]
        torch.testing.assert_close(*losses)


@pytest.mark.parametrize("kind", ["argmax", "softmax"])
def test_the_search_asks_the_target_critics_as_they_are_now(specs, batches, kind) -> None:
    extraction = agents.ExtractionConfig(kind=kind, num_candidates=8)
    agent = built(specs, extraction=extraction, temperature=2.0, target_tau=0.5)
    for seed in range(3):
        agent.update(batches(seed))
    policy, critics = agent.policy.module, QValueConfig(hidden_sizes=[16, 16]).build(specs)
    agent.loss_module.target_qvalue_network_params.to_module(critics)
    state, action = batches(9)["observation"], batches(9)["action"]
    assert torch.equal(policy.critics(state, action), critics.module(state, action))
    assert policy.temperature == (2.0 if kind == "softmax" else None)
    shared = {tensor.data_ptr() for tensor in agent.loss_module.state_dict().values() if isinstance(tensor, Tensor)}
    assert {parameter.data_ptr() for parameter in policy.actor.parameters()} <= shared


def test_a_search_reaches_larger_qvalues_than_the_clone(specs, batches) -> None:
    agent = built(specs, extraction=agents.ExtractionConfig(kind="argmax", cem_iterations=2))
    for seed in range(20):
        agent.update(batches(seed))
    batch, policy = batches(99), agent.policy.module
    chosen, cloned = agent.policy(batch.clone())["action"], policy.actor.mean_action(batch["observation"])
    values = [policy.critics(batch["observation"], action).amin(-1) for action in (chosen, cloned)]
    assert (values[0] > values[1]).all()


@pytest.mark.parametrize(
    ("part", "setting", "value"),
    [
        (agents.ExtractionConfig, "bc_weight", -1.0),
        (agents.ExtractionConfig, "num_candidates", 0),
        (agents.ExtractionConfig, "cem_iterations", 0),
        (agents.ExtractionConfig, "seed", -1),
        (agents.ExpectileScheduleConfig, "final", 1.0),
        (agents.ExpectileScheduleConfig, "num_steps", 0),
        (agents.ExpectileScheduleConfig, "positive_share", 0.0),
        (agents.ExpectileScheduleConfig, "rate", 0.0),
        (agents.IQLConfig, "value_warm_up", 0),
    ],
)
def test_settings_out_of_range_are_refused_by_name_and_value(part, setting, value) -> None:
    with pytest.raises(agents.ConfigError, match=rf"{setting} must .* got {value}$"):
        part(**{setting: value})
