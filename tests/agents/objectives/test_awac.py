"""AWAC's objective against the paper's equations in plain torch."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor

import agents
from agents.networks.configs import ActorConfig, QValueConfig
from agents.objectives import AWACLoss

# the losses are tested without an agent, whose target updater TorchRL misses
pytestmark = pytest.mark.filterwarnings("ignore:No target network updater")


@pytest.fixture
def networks(specs: agents.Specs):
    torch.manual_seed(0)
    return ActorConfig(hidden_sizes=[8]).build(specs), QValueConfig(hidden_sizes=[8]).build(specs)


def paper(loss: AWACLoss, networks: tuple, specs: agents.Specs, batch: TensorDict) -> dict[str, Tensor]:
    """Both losses, written from the equations of arXiv 2006.09359 on the networks' own tensors."""
    actor, qvalue = networks[0][0].module, networks[1].module
    target_qvalue = copy.deepcopy(qvalue)
    loss.target_qvalue_network_params.to_module(TensorDictModule(target_qvalue, ["observation", "action"], ["q"]))
    s, a, s_next = batch["observation"], batch["action"], batch["next", "observation"]
    r, d = batch["next", "reward"][:, 0], batch["next", "terminated"][:, 0].float()

    def act(observation: Tensor) -> Tensor:
        loc, scale = actor(observation)
        sample = loc + scale * torch.randn(loc.shape)
        return torch.minimum(torch.maximum(sample, specs.action.space.low), specs.action.space.high).detach()

    with torch.no_grad():
        v = torch.minimum(*qvalue(s, act(s)).unbind(-1))
        target = r + loss.gamma * (1 - d) * torch.minimum(*target_qvalue(s_next, act(s_next)).unbind(-1))
    qvalues = qvalue(s, a)
    advantage = torch.minimum(*qvalues.detach().unbind(-1)) - v
    weight = torch.exp(loss.temperature * advantage).clamp(max=loss.advantage_clip or math.inf)
    loc, scale = actor(s)
    log_pi = (-0.5 * ((a - loc) / scale) ** 2 - scale.log() - 0.5 * math.log(2 * math.pi)).sum(-1)
    return {
        "loss_actor": -(weight * log_pi).mean(),
        "loss_qvalue": sum(((target - q) ** 2).mean() for q in qvalues.unbind(-1)),
    }


@pytest.mark.parametrize(("temperature", "advantage_clip"), [(1.0, 100.0), (3.0, 1.1), (0.0, None)])
def test_losses_and_gradients_equal_the_papers_equations(networks, specs, batch, temperature, advantage_clip) -> None:
    loss = AWACLoss(*networks, action_spec=specs.action, temperature=temperature, advantage_clip=advantage_clip)
    loss.target_qvalue_network_params.apply_(lambda p: p + 0.3)  # targets that differ from the critics
    torch.manual_seed(1)
    ours = loss(batch)
    torch.manual_seed(1)
    expected = paper(loss, networks, specs, batch)
    parameters = [p for network in networks for p in network.parameters()]
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-6, atol=1e-6)
        mine, theirs = (
            torch.autograd.grad(one, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
            for one in (ours[name], value)
        )
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_statistics_describe_the_batch_and_cost_no_gradient(networks, specs, batch) -> None:
    loss = AWACLoss(*networks, action_spec=specs.action, advantage_clip=1.0)
    out = loss(batch)
    torch.testing.assert_close(out["qvalue"], networks[1](batch.clone())["state_action_value"].mean())
    assert 0.0 < out["weight"] <= 1.0 and 0.0 < out["clip_fraction"] < 1.0
    assert not any(value.requires_grad for name, value in out.items() if not name.startswith("loss_"))
    assert set(out.keys()) == set(loss.out_keys)


def test_truncation_does_not_stop_bootstrapping_and_termination_does(networks, specs, batch) -> None:
    loss = AWACLoss(*networks, action_spec=specs.action)
    values = {}
    for ended in (True, False):
        batch["next", "terminated"] = torch.full((16, 1), ended)
        for shift in (0.0, 10.0):
            torch.manual_seed(0)
            moved = batch.clone().set(("next", "observation"), batch["next", "observation"] + shift)
            values[ended, shift] = loss(moved)["loss_qvalue"]
    torch.testing.assert_close(values[True, 0.0], values[True, 10.0])
    assert (values[False, 0.0] - values[False, 10.0]).abs() > 1e-3


@pytest.mark.parametrize(
    "setting", [{"temperature": -1.0}, {"temperature": math.inf}, {"gamma": 1.5}, {"advantage_clip": 0.0}]
)
def test_settings_out_of_range_are_refused(networks, specs, setting) -> None:
    ((name, value),) = setting.items()
    with pytest.raises(agents.ConfigError, match=f"{name}.*{value}"):
        AWACLoss(*networks, action_spec=specs.action, **setting)
