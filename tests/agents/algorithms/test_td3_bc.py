"""TD3+BC on TorchRL's loss: the paper's equations within bounds that are not +-1, and what is delayed."""

from __future__ import annotations

import copy

import pytest
import torch
from tensordict import TensorDictBase
from torch import Tensor

import agents
from agents.networks.configs import DeterministicActorConfig, QValueConfig
from agents.training.adam import AdamConfig
from agents.training.agent import Agent


def small(**settings) -> agents.TD3BCConfig:
    return agents.TD3BCConfig(actor=DeterministicActorConfig([8]), qvalue=QValueConfig([8]), **settings)


def act(agent: Agent, params: TensorDictBase, observation: Tensor) -> Tensor:
    network = copy.deepcopy(agent.loss_module.actor_network)
    params.data.to_module(network)
    return network.module(observation)


def rate(agent: Agent, params: TensorDictBase, observation: Tensor, action: Tensor) -> Tensor:
    """Q of each critic, ``[N, B]``."""
    qvalues = []
    for i in range(agent.loss_module.num_qvalue_nets):
        network = copy.deepcopy(agent.loss_module.qvalue_network)
        params.data[i].to_module(network)
        qvalues.append(network.module(observation, action)[:, 0])
    return torch.stack(qvalues)


@pytest.mark.parametrize("num_nets", [1, 2, 3])
def test_the_losses_are_the_papers(specs, batch, num_nets) -> None:
    torch.manual_seed(0)
    config = small(alpha=1.5, policy_noise=0.4, noise_clip=0.3, gamma=0.9)
    config.qvalue.num_nets = num_nets
    agent = config.build(specs)
    loss = agent.loss_module
    for params in (loss.target_actor_network_params, loss.target_qvalue_network_params):
        params.apply_(lambda x: x + 0.1)  # targets that differ from the networks
    low, high = specs.action.space.low, specs.action.space.high
    s, a, s_next = batch["observation"], batch["action"], batch["next", "observation"]
    r, d = batch["next", "reward"][:, 0], batch["next", "terminated"][:, 0].float()

    torch.manual_seed(3)
    noise = (0.4 * torch.randn(16, 3)).clamp(-0.3, 0.3) * (high - low) / 2
    a_next = act(agent, loss.target_actor_network_params, s_next) + noise
    a_next = torch.minimum(torch.maximum(a_next, low), high)
    y = r + 0.9 * (1 - d) * rate(agent, loss.target_qvalue_network_params, s_next, a_next).amin(0)
    of_data = rate(agent, loss.qvalue_network_params, s, a)
    of_policy = act(agent, loss.actor_network_params, s)
    q = rate(agent, loss.qvalue_network_params, s, of_policy)[0]
    expected = {
        "loss_qvalue": ((y - of_data) ** 2).mean(1).sum(),
        "loss_actor": -1.5 * q.mean() / q.abs().mean() + ((of_policy - a) ** 2).mean(),
        "bc_loss": ((of_policy - a) ** 2).mean(),
        "lmbd": 1.5 / q.abs().mean(),
        "pred_value": of_data.mean(),
        "target_value": y.mean(),
        "state_action_value_actor": q.mean(),
    }
    torch.manual_seed(3)
    statistics = agent.update(batch)
    assert set(statistics.keys()) == {*expected, "next_state_value"}
    for name, value in expected.items():
        torch.testing.assert_close(statistics[name], value, rtol=1e-5, atol=1e-5)


def test_the_pull_to_the_data_fades_and_nothing_else(specs, batch) -> None:
    config = small(penalty_decay=agents.PenaltyDecayConfig("exponential", final=0.25, num_steps=2))
    torch.manual_seed(0)
    losses = {name: each.build(specs).loss_module for name, each in (("usual", small()), ("fading", config))}
    losses["fading"].load_state_dict(losses["usual"].state_dict(), strict=False)
    for factor in (1.0, 0.5, 0.25, 0.25):
        torch.manual_seed(3)
        usual = losses["usual"](batch.copy())
        torch.manual_seed(3)
        fading = losses["fading"](batch.copy())
        expected = {name: value.clone() for name, value in usual.items()}
        expected["loss_actor"] = usual["loss_actor"] - (1.0 - factor) * usual["bc_loss"]
        expected["penalty_factor"] = torch.tensor(factor)
        assert fading.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(fading[name], value, rtol=1e-5, atol=1e-5)


def test_online_the_pull_falls_to_a_half_over_the_phase() -> None:
    decay = agents.PenaltyDecayConfig("exponential", final=0.5, num_steps=1000)
    assert agents.TD3BCConfig(alpha=1.0).going_online(1000) == agents.TD3BCConfig(alpha=1.0, penalty_decay=decay)


def test_actor_and_targets_move_at_every_second_update(specs, batches) -> None:
    torch.manual_seed(0)
    agent = small(target_tau=0.25).build(specs)
    for seed in range(4):
        before = {name: value.clone() for name, value in agent.loss_module.state_dict().items()}
        agent.update(batches(seed))
        after = agent.loss_module.state_dict()
        due = agent.num_updates % 2 == 0
        for name, _ in agent.loss_module.named_parameters():
            moved = not torch.equal(after[name], before[name])
            assert moved == (due or name.startswith("qvalue")), name
            target = before[f"target_{name}"]
            expected = torch.lerp(target, after[name], 0.25) if due else target
            torch.testing.assert_close(after[f"target_{name}"], expected)


def test_the_actor_leaves_the_critics_alone_and_they_leave_the_actor(specs, batch) -> None:
    torch.manual_seed(0)
    loss = small().build(specs).loss_module
    losses = loss(batch.copy())
    for name, owner in {"loss_actor": "actor_network_params", "loss_qvalue": "qvalue_network_params"}.items():
        for params in ("actor_network_params", "qvalue_network_params"):
            gradients = torch.autograd.grad(
                losses[name], list(getattr(loss, params).parameters()), allow_unused=True, retain_graph=True
            )
            assert any(g is not None and g.any() for g in gradients) == (params == owner), (name, params)


def test_the_actor_asks_the_first_critic_alone(specs, batch) -> None:
    torch.manual_seed(0)
    loss = small().build(specs).loss_module
    with torch.no_grad():
        for parameter in loss.qvalue_network_params.parameters():
            parameter[1] = torch.nan
    losses = loss(batch.copy())
    gradients = torch.autograd.grad(losses["loss_actor"], list(loss.actor_network_params.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_small_alpha_clones_the_data(specs, batches) -> None:
    torch.manual_seed(0)
    config = agents.TD3BCConfig(alpha=0.01, actor=DeterministicActorConfig([32]), actor_optimizer=AdamConfig(lr=2e-2))
    teacher, agent = config.build(specs).policy, config.build(specs)
    for seed in range(100):
        batch = batches(seed)
        batch["action"] = teacher(batch.clone())["action"].detach()
        agent.update(batch)
    unseen = batches(1000)
    target = teacher(unseen.clone())["action"]
    error = agent.policy(unseen)["action"] - target
    assert (error.square().mean(0).sqrt() < 0.3 * target.std(0)).all()


def test_the_defaults_are_the_authors(specs) -> None:
    assert agents.TD3BCConfig() == agents.TD3BCConfig(
        alpha=2.5,
        policy_noise=0.2,
        noise_clip=0.5,
        gamma=0.99,
        target_tau=0.005,
        target_every=2,
        normalize_observations=True,
        actor=DeterministicActorConfig([256, 256], "relu", 0.0, False, "default"),
        qvalue=QValueConfig([256, 256], "relu", 0.0, False, "default", num_nets=2),
        actor_optimizer=AdamConfig(lr=3e-4, every=2),
        critic_optimizer=AdamConfig(lr=3e-4, every=1),
    )
    assert agents.TD3BCConfig().build(specs).loss_module.loss_function == "l2"


@pytest.mark.parametrize(
    ("setting", "value"),
    [("alpha", -1.0), ("policy_noise", -0.1), ("noise_clip", -0.1), ("gamma", 1.5), ("target_tau", 0.0)],
)
def test_settings_out_of_range_are_refused_by_name_and_value(setting, value) -> None:
    with pytest.raises(agents.ConfigError, match=rf"{setting} must .* got {value}$"):
        agents.TD3BCConfig(**{setting: value})
