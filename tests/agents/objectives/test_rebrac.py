"""ReBRAC's objective against the paper's equations in plain torch."""

from __future__ import annotations

import copy

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor, nn

import agents
from agents.networks.configs import DeterministicActorConfig, QValueConfig
from agents.objectives import ReBRACLoss

# the losses are tested without an agent, whose target updater TorchRL misses
pytestmark = pytest.mark.filterwarnings("ignore:No target network updater")


@pytest.fixture
def networks(specs: agents.Specs):
    torch.manual_seed(0)
    actor = DeterministicActorConfig(hidden_sizes=[8]).build(specs)
    return actor, QValueConfig(hidden_sizes=[8], layer_norm=True).build(specs)


def with_params(network: TensorDictModule, params: TensorDict) -> nn.Module:
    other = copy.deepcopy(network)
    params.to_module(other)
    return other.module


def paper(loss: ReBRACLoss, networks: tuple, specs: agents.Specs, batch: TensorDict) -> dict[str, Tensor]:
    """Both losses, from arXiv 2305.09836 with actions scaled to +-1, on the networks' own tensors."""
    actor, qvalue = (network.module for network in networks)
    target_actor = with_params(networks[0], loss.target_actor_network_params)
    target_qvalue = with_params(networks[1], loss.target_qvalue_network_params)
    low, high = specs.action.space.low, specs.action.space.high

    def scaled(action: Tensor) -> Tensor:
        return 2 * (action - low) / (high - low) - 1

    def unscaled(action: Tensor) -> Tensor:
        return low + (action + 1) * (high - low) / 2

    s, a, s_next, a_next = batch["observation"], batch["action"], batch["next", "observation"], batch["next", "action"]
    r, d = batch["next", "reward"][:, 0], batch["next", "terminated"][:, 0].float()
    with torch.no_grad():
        noise = (loss.policy_noise * torch.randn(a.shape)).clamp(-loss.noise_clip, loss.noise_clip)
        tilde = (scaled(target_actor(s_next)) + noise).clamp(-1, 1)
        penalty = ((tilde - scaled(a_next)) ** 2).sum(-1)
        next_q = torch.minimum(*target_qvalue(s_next, unscaled(tilde)).unbind(-1)) - loss.critic_penalty * penalty
        target = r + loss.gamma * (1 - d) * next_q
    loss_qvalue = sum(((target - q) ** 2).mean() for q in qvalue(s, a).unbind(-1))
    action = actor(s)
    frozen = copy.deepcopy(qvalue).requires_grad_(False)
    q = torch.minimum(*frozen(s, action).unbind(-1))
    lmbda = 1 / q.detach().abs().mean()
    loss_actor = (loss.actor_penalty * ((scaled(action) - scaled(a)) ** 2).sum(-1) - lmbda * q).mean()
    return {"loss_actor": loss_actor, "loss_qvalue": loss_qvalue}


@pytest.mark.parametrize(
    "settings",
    [{}, {"actor_penalty": 0.1, "critic_penalty": 0.5, "policy_noise": 0.5, "noise_clip": 0.1}, {"critic_penalty": 0}],
)
def test_losses_and_gradients_equal_the_papers_equations(networks, specs, batch, settings) -> None:
    loss = ReBRACLoss(*networks, action_spec=specs.action, **settings)
    for params in (loss.target_actor_network_params, loss.target_qvalue_network_params):
        params.apply_(lambda p: 1.1 * p)  # targets that differ
    torch.manual_seed(1)
    ours = loss(batch)
    torch.manual_seed(1)
    expected = paper(loss, networks, specs, batch)
    parameters = [p for network in networks for p in network.parameters()]
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-5)
        mine, theirs = (
            torch.autograd.grad(one, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
            for one in (ours[name], value)
        )
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_the_next_action_matters_only_where_the_episode_goes_on(networks, specs, batch) -> None:
    loss = ReBRACLoss(*networks, action_spec=specs.action)
    values = {}
    for ended in (True, False):
        batch["next", "terminated"] = torch.full((16, 1), ended)
        for shift in (0.0, 0.5):
            torch.manual_seed(0)
            moved = batch.clone().set(("next", "action"), batch["next", "action"] + shift)
            values[ended, shift] = loss(moved)["loss_qvalue"]
    torch.testing.assert_close(values[True, 0.0], values[True, 0.5])
    assert (values[False, 0.0] - values[False, 0.5]).abs() > 1e-3


def test_a_batch_without_next_actions_is_refused_with_the_way_to_get_them(networks, specs, batch) -> None:
    del batch["next", "action"]
    with pytest.raises(agents.ConfigError, match=r"\('next', 'action'\).*\*\*agent.sampling"):
        ReBRACLoss(*networks, action_spec=specs.action)(batch)


def test_statistics_describe_the_batch_and_cost_no_gradient(networks, specs, batch) -> None:
    loss = ReBRACLoss(*networks, action_spec=specs.action, policy_noise=0.0)
    out = loss(batch)
    half_range = (specs.action.space.high - specs.action.space.low) / 2
    for name, transitions in (("action_distance", batch), ("next_action_distance", batch["next"])):
        action = networks[0].module(transitions["observation"])
        expected = ((action - transitions["action"]) / half_range).square().sum(-1).mean()
        torch.testing.assert_close(out[name], expected)
    torch.testing.assert_close(out["qvalue"], networks[1](batch.clone())["state_action_value"].mean())
    assert not any(value.requires_grad for name, value in out.items() if not name.startswith("loss_"))
    assert set(out.keys()) == set(loss.out_keys)


@pytest.mark.parametrize(
    "setting",
    [{"actor_penalty": -1.0}, {"critic_penalty": -1.0}, {"policy_noise": -0.1}, {"noise_clip": -0.1}, {"gamma": 1.5}],
)
def test_settings_out_of_range_are_refused(networks, specs, setting) -> None:
    ((name, value),) = setting.items()
    with pytest.raises(agents.ConfigError, match=f"{name}.*{value}"):
        ReBRACLoss(*networks, action_spec=specs.action, **setting)
