"""What stacking keeps, shares and refuses; that stacked agents learn what each learns alone is in the contract."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import agents
from agents import ExpectileScheduleConfig
from agents.networks.configs import ActorConfig, QValueConfig, ValueConfig
from agents.training.adam import AdamConfig
from agents.training.generators import random_generator
from agents.training.stack import AgentStack
from agents.training.trace import Trace

CPU = torch.device("cpu")
SMALL = {"hidden_sizes": [8]}


def build(specs: agents.Specs, seed: int, **settings) -> agents.Agent:
    torch.manual_seed(seed)
    small = {"actor": ActorConfig(**SMALL), "qvalue": QValueConfig(**SMALL), "value": ValueConfig(**SMALL)}
    return agents.IQLConfig(**{**small, **settings}).build(specs)


def stacked(*parts: agents.Agent) -> AgentStack:
    return AgentStack(parts, [random_generator(CPU) for _ in parts])


def parameters(agent: agents.Agent) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in agent.loss_module.named_parameters()}


def test_stacking_changes_no_number(specs, batches) -> None:
    parts = [build(specs, seed) for seed in range(3)]
    before = [parameters(part) for part in parts]
    actions = [part.policy(batches(0))["action"] for part in parts]
    stacked(*parts)
    for part, expected, action in zip(parts, before, actions):
        assert all(torch.equal(value, expected[name]) for name, value in parameters(part).items())
        assert torch.equal(part.policy(batches(0))["action"], action)


def test_the_policies_follow_the_stack(specs, batches) -> None:
    parts = [build(specs, seed) for seed in range(2)]
    stack = stacked(*parts)
    before = [part.policy(batches(0))["action"].clone() for part in parts]
    stack.update(torch.stack([batches(0), batches(1)]))
    assert not any(torch.equal(part.policy(batches(0))["action"], action) for part, action in zip(parts, before))


@pytest.mark.parametrize("compile", ["off", "trace"])
def test_an_expectile_that_one_agent_is_told_to_move_moves_in_the_stack(specs, batches, compile) -> None:
    schedule = ExpectileScheduleConfig(kind="validation")
    parts = [build(specs, seed, expectile_schedule=schedule) for seed in range(2)]
    stack, pair = stacked(*parts), torch.stack([batches(0), batches(1)])
    stack.compile(pair, compile)
    stack.update(pair)
    parts[1].loss_module.expectile.look(1.0)
    torch.testing.assert_close(stack.update(pair)["expectile"], torch.tensor([0.7, 0.75]))


def test_moments_from_before_are_taken_along(specs, batches) -> None:
    """Resumed agents, stacked: as if they had been together from the start."""
    together, resumed = ([build(specs, seed) for seed in range(2)] for _ in range(2))
    stack = stacked(*together)
    for step in range(5):
        pair = [batches(step), batches(step + 50)]
        torch.manual_seed(step)
        stack.update(torch.stack(pair))
    loaded = [build(specs, 7), build(specs, 8)]
    for agent, other in zip(loaded, together):
        agent.load_state_dict(other.state_dict())
    again = stacked(*loaded)
    assert again.num_updates == 5
    stack.generators[:] = again.generators[:] = [random_generator(CPU) for _ in resumed]
    pair = torch.stack([batches(6), batches(7)])
    states = [generator.get_state() for generator in stack.generators]
    expected = stack.update(pair).to_dict()
    for generator, state in zip(again.generators, states):
        generator.set_state(state)
    torch.testing.assert_close(again.update(pair).to_dict(), expected, rtol=0.0, atol=0.0)
    for first, second in zip(together, loaded):
        assert all(torch.equal(value, parameters(second)[name]) for name, value in parameters(first).items())


def test_each_gradient_is_clipped_by_its_own_norm(specs, batches) -> None:
    alone = [build(specs, seed, max_grad_norm=1e-3) for seed in range(2)]
    parts = [build(specs, seed, max_grad_norm=1e-3) for seed in range(2)]
    stack = stacked(*parts)
    pair = [batches(0), batches(1)]
    pair[1]["next", "reward"] *= 100.0
    norms = stack.update(torch.stack(pair))["grad_norm"]
    expected = torch.stack([agent.update(batch)["grad_norm"] for agent, batch in zip(alone, pair)])
    torch.testing.assert_close(norms, expected, rtol=0.1, atol=0.0)  # dropout differs
    for part in parts:
        moments = torch.cat([state["exp_avg"].flatten() for state in part.rule.optimizer.state.values()])
        torch.testing.assert_close(moments.norm(), torch.tensor(0.1 * 1e-3), rtol=1e-4, atol=0.0)


def test_gradients_within_the_largest_norm_are_left_as_they_are(specs, batches) -> None:
    stacks = [stacked(*(build(specs, seed, max_grad_norm=norm) for seed in range(2))) for norm in (None, 1e6)]
    pair = torch.stack([batches(0), batches(1)])
    for stack in stacks:
        stack.update(pair)
    for free, within in zip(*(stack.rule.optimizer.state.values() for stack in stacks), strict=True):
        assert torch.equal(free["exp_avg"], within["exp_avg"])


def test_groups_that_start_later_share_their_moments_too(specs, batches) -> None:
    parts = [build(specs, seed, actor_optimizer=AdamConfig(after=2)) for seed in range(2)]
    stack = stacked(*parts)
    counts = []
    for step in range(3):
        stack.update(torch.stack([batches(step), batches(step)]))
        counts.append([sum(map(bool, part.state_dict()["optimizer"].values())) for part in parts])
    assert counts[0] == counts[1] and counts[2][0] == len(parts[0].state_dict()["optimizer"]) > counts[0][0]


def test_a_stack_of_which_no_group_is_due_yet_stays_as_it_is(specs, batches) -> None:
    late = {"actor_optimizer": AdamConfig(after=1), "critic_optimizer": AdamConfig(after=1), "max_grad_norm": 1.0}
    stack = stacked(*(build(specs, seed, **late) for seed in range(2)))
    pair = torch.stack([batches(0), batches(1)])
    before = parameters(stack.agents[0])
    assert torch.equal(stack.update(pair)["grad_norm"], torch.zeros(2))
    assert all(torch.equal(value, before[name]) for name, value in parameters(stack.agents[0]).items())
    assert (stack.update(pair)["grad_norm"] > 0.0).all()


def test_auto_measures_a_stack_too(specs, batches, monkeypatch) -> None:
    monkeypatch.setattr(Trace, "compile", lambda trace, batch: trace)  # without a C++ compiler
    stack = stacked(*(build(specs, seed) for seed in range(2)))
    result = stack.compile(torch.stack([batches(0), batches(1)]), "auto")
    assert set(result.milliseconds) == {"off", "trace", "inductor"}


def test_the_agent_whose_loss_breaks_is_the_one_that_is_described(specs, batches) -> None:
    stack = stacked(*(build(specs, seed) for seed in range(2)))
    pair = torch.stack([batches(0), batches(1)])
    pair["next", "reward"][1, 3] = math.inf
    with pytest.raises(agents.NonFiniteLossError, match="loss_qvalue = inf at step 1; .*next.reward in .*inf"):
        stack.update(pair)
    assert stack.num_updates == stack.agents[0].num_updates == 0


def test_agents_that_have_made_updates_are_refused(specs, batches) -> None:
    """Their losses would go on with the parameters, and the targets, of where those were before."""
    parts = [build(specs, seed) for seed in range(2)]
    for part in parts:
        part.update(batches(0))
    with pytest.raises(agents.ConfigError, match="build new ones and load the states"):
        stacked(*parts)


@pytest.mark.parametrize(
    "other",
    [
        {"expectile": 0.9},
        {"max_grad_norm": 1.0},
        {"actor_optimizer": AdamConfig(lr=1.0)},
        {"target_tau": 0.1},
        {"actor": ActorConfig(**SMALL, activation="tanh")},
        {"actor": ActorConfig(**SMALL, dropout=0.5)},
        {"actor": ActorConfig(**SMALL, log_std_min=-4.0)},
        {"expectile_schedule": ExpectileScheduleConfig(kind="linear", final=0.95)},
    ],
)
def test_agents_that_differ_in_more_than_numbers_are_refused(specs, other) -> None:
    usual = {"expectile_schedule": ExpectileScheduleConfig(kind="linear"), "actor": ActorConfig(**SMALL, dropout=0.1)}
    stacked(build(specs, 0, **usual), build(specs, 1, **usual))
    with pytest.raises(agents.ConfigError, match="same config"):
        stacked(build(specs, 0, **usual), build(specs, 1, **{**usual, **other}))
