from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

import agents
from agents.networks.configs import ActorConfig, QValueConfig, ValueConfig
from agents.training.adam import AdamConfig
from agents.training.compilation import LossAndGradients
from agents.training.update_rule import ForeachSoftUpdate, check_finite

SMALL = {"hidden_sizes": [8]}


def build(specs: agents.Specs, **settings) -> agents.Agent:
    torch.manual_seed(0)
    config = agents.IQLConfig(
        actor=ActorConfig(**SMALL), qvalue=QValueConfig(**SMALL), value=ValueConfig(**SMALL), **settings
    )
    return config.build(specs)


def parameters(agent: agents.Agent) -> dict[str, Tensor]:
    return {
        name: value.detach().clone()
        for name, value in agent.loss_module.state_dict().items()
        if isinstance(value, Tensor)
    }


def test_update_equals_a_loop_written_out_in_plain_torch(specs, batch) -> None:
    agent, twin = build(specs), build(specs)
    loss = twin.loss_module
    groups = [list(loss.actor_network_params.parameters())]
    groups.append([*loss.qvalue_network_params.parameters(), *loss.value_network_params.parameters()])
    adam = torch.optim.Adam([p for group in groups for p in group], lr=3e-4)
    critics = [p for p in loss.qvalue_network_params.values(True, True) if p.requires_grad]
    targets = [p for p in loss.target_qvalue_network_params.values(True, True)]
    for _ in range(20):
        agent.update(batch)
        losses = loss(batch)
        adam.zero_grad()
        (losses["loss_actor"] + losses["loss_qvalue"] + losses["loss_value"]).backward()
        adam.step()
        with torch.no_grad():
            for target, source in zip(targets, critics, strict=True):
                target.data.mul_(1 - 0.005).add_(0.005 * source)
    for name, value in parameters(twin).items():
        torch.testing.assert_close(parameters(agent)[name], value, rtol=1e-5, atol=1e-6)


def test_soft_update_equals_torchrls(specs) -> None:
    from torchrl.objectives import SoftUpdate

    first, second = build(specs).loss_module, build(specs).loss_module
    updaters = ForeachSoftUpdate(first, tau=0.1), SoftUpdate(second, tau=0.1)
    for loss in (first, second):
        for p in loss.qvalue_network_params.parameters():
            p.data.add_(1.0)
    for updater in updaters:
        updater.step()
    ours, theirs = (loss.target_qvalue_network_params.flatten_keys() for loss in (first, second))
    for key in theirs.keys():
        torch.testing.assert_close(ours[key], theirs[key])
        assert not torch.equal(ours[key], first.qvalue_network_params.flatten_keys()[key])


def test_only_the_actors_rate_follows_the_half_cosine(specs, batch) -> None:
    agent = build(specs, actor_optimizer=AdamConfig(lr=1e-3, decay_steps=10))
    rates = []
    for _ in range(12):
        agent.update(batch)
        rates.append(agent.learning_rates)
    expected = [1e-3 * 0.5 * (1 + math.cos(math.pi * min(k, 10) / 10)) for k in range(12)]
    assert [rate["lr_actor"] for rate in rates] == pytest.approx(expected)
    assert {rate["lr_critic"] for rate in rates} == {3e-4}
    before = parameters(agent)
    agent.update(batch)
    after = parameters(agent)
    still = [name for name in before if torch.equal(before[name], after[name])]
    assert any("actor" in name for name in still) and not any(name.startswith("qvalue") for name in still)


def changed(agent: agents.Agent, batch) -> set[str]:
    before = parameters(agent)
    agent.update(batch)
    return {name.split(".")[0] for name, value in parameters(agent).items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("mode", ["off", "trace"])
def test_each_group_steps_when_it_is_due(specs, batch, mode, monkeypatch) -> None:
    agent = build(specs, actor_optimizer=AdamConfig(every=3), critic_optimizer=AdamConfig(every=2, after=3))
    agent.rule.target_every = 4
    assert agent.rule.period == 12
    agent.compile(batch, mode)
    if mode == "trace":  # whichever groups are due together
        monkeypatch.setattr(LossAndGradients, "eager", None)
    actor, critics, targets = "actor_network_params", "qvalue_network_params", "target_qvalue_network_params"
    moved = [changed(agent, batch) for _ in range(8)]
    assert [step for step, names in enumerate(moved, 1) if actor in names] == [3, 6]
    assert [step for step, names in enumerate(moved, 1) if critics in names] == [4, 6, 8]
    assert [step for step, names in enumerate(moved, 1) if targets in names] == [4, 8]


def test_the_memory_layout_of_a_gradient_makes_no_difference(specs, batch, monkeypatch) -> None:
    """Autograd returns some gradients as transposed views, which fused Adam would read in the order of memory."""
    usual, other = build(specs), build(specs)
    eager = LossAndGradients.eager

    def transposed(self, batch):
        losses, gradients = eager(self, batch)
        return losses, [g.transpose(-1, -2).contiguous().transpose(-1, -2) if g.ndim > 1 else g for g in gradients]

    torch.manual_seed(0)
    usual.update(batch)
    monkeypatch.setattr(LossAndGradients, "eager", transposed)
    torch.manual_seed(0)
    other.update(batch)
    assert all(torch.equal(value, parameters(other)[name]) for name, value in parameters(usual).items())


def test_gradients_are_clipped_by_their_global_norm(specs, batch) -> None:
    free, clipped = build(specs), build(specs, max_grad_norm=1e-3)
    assert "grad_norm" not in free.update(batch)
    statistics = clipped.update(batch)
    assert statistics["grad_norm"] > 1e-3
    moments = torch.cat([state["exp_avg"].flatten() for state in clipped.rule.optimizer.state.values()])
    torch.testing.assert_close(moments.norm(), torch.tensor(0.1 * 1e-3), rtol=1e-4, atol=0.0)  # (1 - beta1) x the norm


def test_gradients_within_the_largest_norm_are_left_as_they_are(specs, batch) -> None:
    free, within = build(specs), build(specs, max_grad_norm=1e6)
    for agent in (free, within):
        torch.manual_seed(0)
        agent.update(batch)
    states = (agent.rule.optimizer.state.values() for agent in (free, within))
    for expected, state in zip(*states, strict=True):
        assert torch.equal(state["exp_avg"], expected["exp_avg"])


def test_a_non_finite_loss_changes_nothing_and_says_what_broke(specs, batch) -> None:
    agent = build(specs)
    agent.update(batch)
    before, moments = parameters(agent), copy.deepcopy(agent.state_dict()["optimizer"])
    batch["next", "reward"][3] = math.inf
    with pytest.raises(agents.NonFiniteLossError, match=r"loss_qvalue = inf at step 2; .*next.reward in \[.*inf\]"):
        agent.update(batch)
    assert all(torch.equal(value, parameters(agent)[name]) for name, value in before.items())
    after = agent.state_dict()["optimizer"]
    assert all(torch.equal(value, after[i][name]) for i, state in moments.items() for name, value in state.items())
    assert agent.num_updates == 1


def test_every_loss_has_to_be_finite_and_no_statistic() -> None:
    check_finite({"loss_actor": torch.tensor(1.0), "weight": torch.tensor(math.inf)}, step=1)
    losses = {"loss_qvalue": torch.tensor(1.0), "loss_actor": torch.tensor(math.nan)}
    with pytest.raises(agents.NonFiniteLossError, match="^loss_actor = nan at step 2; "):
        check_finite(losses, step=2)


@pytest.mark.parametrize("saved_at", [0, 1, 5])
def test_state_dict_carries_everything_the_next_update_depends_on(specs, batches, saved_at) -> None:
    """Also before a group has taken its first step."""
    settings = {"actor_optimizer": AdamConfig(every=2, after=2)}
    first = build(specs, **settings)
    for seed in range(saved_at):
        first.update(batches(seed))
    second = build(specs, **settings)
    second.update(batches(9))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for seed in range(saved_at, saved_at + 5):
        torch.manual_seed(seed)
        ours = first.update(batches(seed))
        torch.manual_seed(seed)
        assert (ours == second.update(batches(seed))).all()
    assert all(torch.equal(value, parameters(second)[name]) for name, value in parameters(first).items())


def test_a_state_of_another_shape_is_refused_and_nothing_of_it_is_loaded(specs) -> None:
    agent, other = build(specs), agents.IQLConfig().build(specs)
    before = parameters(agent)
    with pytest.raises(ValueError, match=r"the shape of \S+ is \(.*\) there, \(.*\) here"):
        agent.load_state_dict(other.state_dict())
    assert all(torch.equal(value, before[name]) for name, value in parameters(agent).items())


def test_a_loaded_state_is_copied(specs, batch) -> None:
    first, second = build(specs), build(specs)
    first.update(batch)
    before = copy.deepcopy(first.state_dict())
    second.load_state_dict(first.state_dict())
    second.update(batch)
    after = first.state_dict()
    for i, moments in before["optimizer"].items():
        assert all(torch.equal(value, after["optimizer"][i][name]) for name, value in moments.items())
    assert all(torch.equal(value, parameters(first)[name]) for name, value in before["loss_module"].items())


def test_the_policy_shares_the_trained_parameters(specs, batch) -> None:
    agent = build(specs)
    before = agent.policy(batch.clone())["action"].clone()
    agent.update(batch)
    assert not torch.equal(agent.policy(batch.clone())["action"], before)
    restored = build(specs)
    restored.load_state_dict(agent.state_dict())
    torch.testing.assert_close(restored.policy(batch.clone())["action"], agent.policy(batch.clone())["action"])


def test_a_parameter_without_an_optimizer_is_refused(specs) -> None:
    agent = build(specs)
    actor = list(agent.loss_module.actor_network_params.parameters())
    with pytest.raises(agents.ConfigError, match="no optimizer trains .*value_network"):
        agents.Agent(agent.loss_module, agent.policy, optimizers={"actor": (actor, AdamConfig())})


@pytest.mark.parametrize("setting", [{"max_grad_norm": 0.0}, {"target_tau": 0.0}])
def test_settings_out_of_range_are_refused(specs, setting) -> None:
    with pytest.raises(agents.ConfigError, match="got 0.0"):
        build(specs, **setting)


@pytest.mark.parametrize(
    "setting", [{"lr": 0.0}, {"decay_steps": 0}, {"weight_decay": -1.0}, {"every": 0}, {"after": -1}]
)
def test_adam_settings_out_of_range_are_refused(setting) -> None:
    with pytest.raises(agents.ConfigError, match=next(iter(setting))):
        AdamConfig(**setting)
