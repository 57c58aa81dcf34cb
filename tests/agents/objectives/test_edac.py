"""EDAC's objective against the paper's equations in plain torch, and SAC-N's against TorchRL's SACLoss."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torchrl.objectives import SACLoss

import agents
from agents.networks.configs import ActorConfig, MLPConfig, QValueConfig, separate_critics
from agents.networks.critics import QValueEnsemble
from agents.objectives import EDACLoss, gradient_similarity

# the losses are tested without an agent, whose target updater TorchRL misses
pytestmark = pytest.mark.filterwarnings("ignore:No target network updater")

NUM_NETS = 4


@pytest.fixture
def networks(specs: agents.Specs):
    torch.manual_seed(0)
    actor = ActorConfig(hidden_sizes=[8], distribution="tanh_normal").build(specs)
    return actor, QValueConfig(hidden_sizes=[8], num_nets=NUM_NETS).build(specs)


def build(networks, **settings) -> EDACLoss:
    return EDACLoss(*networks, **{"target_entropy": -2.0, "eta": 3.0, "gamma": 0.9, "alpha_init": 0.5, **settings})


def paper(loss: EDACLoss, networks, specs, batch: TensorDict, seed: int) -> dict[str, Tensor]:
    """The losses, written from the equations of arXiv 2110.01548 on the networks' own tensors."""
    actor, qvalue = networks[0][0].module, networks[1].module
    target_qvalue = copy.deepcopy(qvalue)
    for target, source in zip(target_qvalue.parameters(), qvalue.parameters()):
        target.data = source.data + 0.3  # as the test has them
    low, high = specs.action.space.low, specs.action.space.high

    def sample(observation: Tensor) -> tuple[Tensor, Tensor]:
        loc, scale = actor(observation)
        noise = torch.randn(len(observation), 3)
        u = loc + scale * noise
        normal = -0.5 * noise**2 - scale.log() - 0.5 * math.log(2 * math.pi)
        log_slope = ((high - low) / 2).log() - 2 * torch.cosh(u).log()  # 1 - tanh^2 is 1 / cosh^2
        return (low + high) / 2 + (high - low) / 2 * torch.tanh(u), (normal - log_slope).sum(-1)

    torch.manual_seed(seed)
    alpha = loss.log_alpha.exp().detach()
    r, d = batch["next", "reward"][:, 0], batch["next", "terminated"][:, 0].float()
    if loss.max_q_backup:
        ten = batch["next", "observation"].repeat(10, 1)
        value = qvalue(ten, sample(ten)[0]).reshape(10, 16, NUM_NETS).amax(0).amin(-1)
    else:
        next_action, next_log_pi = sample(batch["next", "observation"])
        value = target_qvalue(batch["next", "observation"], next_action).amin(-1) - alpha * next_log_pi
    y = (r + loss.gamma * (1 - d) * value).detach()
    new_action, log_pi = sample(batch["observation"])
    loss_qvalue = sum(((y - q) ** 2).mean() for q in qvalue(batch["observation"], batch["action"]).unbind(-1))

    action = batch["action"].clone().requires_grad_()
    gradients = [
        torch.autograd.grad(q.sum(), action, create_graph=True)[0]
        for q in qvalue(batch["observation"], action).unbind(-1)
    ]
    directions = [gradient / gradient.norm(dim=-1, keepdim=True) for gradient in gradients]
    similarity = sum(
        (directions[i] * directions[j]).sum(-1).mean() for i in range(NUM_NETS) for j in range(NUM_NETS) if i != j
    )
    frozen = copy.deepcopy(qvalue).requires_grad_(False)
    return {
        "loss_actor": (alpha * log_pi - frozen(batch["observation"], new_action).amin(-1)).mean(),
        "loss_qvalue": loss_qvalue,
        "loss_diversity": loss.eta / (NUM_NETS - 1) * similarity,
        "loss_alpha": -loss.log_alpha * (log_pi.mean().detach() + loss.target_entropy),
    }


def gradients(loss: Tensor, parameters: list[nn.Parameter]) -> list[Tensor]:
    return list(torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True, materialize_grads=True))


@pytest.mark.parametrize("max_q_backup", [False, True])
def test_losses_and_gradients_equal_the_papers_equations(networks, specs, batch, max_q_backup) -> None:
    loss = build(networks, max_q_backup=max_q_backup)
    loss.target_qvalue_network_params.apply_(lambda p: p + 0.3)  # targets that differ from the critics
    torch.manual_seed(5)
    ours = loss(batch)
    expected = paper(loss, networks, specs, batch, seed=5)
    parameters = [*(p for network in networks for p in network.parameters()), loss.log_alpha]
    assert set(expected) == {name for name in ours.keys() if name.startswith("loss_")}
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-5)
        for mine, theirs in zip(gradients(ours[name], parameters), gradients(value, parameters)):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_without_diversification_and_with_two_critics_it_is_torchrls_sac(specs, batch) -> None:
    torch.manual_seed(0)
    actor = ActorConfig(hidden_sizes=[8], distribution="tanh_normal").build(specs)
    critics = separate_critics(MLPConfig(hidden_sizes=[8]), specs, num_nets=2)
    ensemble = copy.deepcopy(critics[0])
    ensemble.module = QValueEnsemble([member(critic) for critic in critics], [])
    settings = {"target_entropy": -2.0, "alpha_init": 0.5}
    theirs = SACLoss(actor, critics, num_qvalue_nets=2, loss_function="l2", deactivate_vmap=True, **settings)
    theirs.set_keys(done="terminated")
    theirs.make_value_estimator(gamma=0.9)
    ours = EDACLoss(actor, ensemble, eta=0.0, gamma=0.9, **settings)
    torch.manual_seed(1)
    expected = theirs(batch.copy())
    torch.manual_seed(1)
    losses = ours(batch)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-5, atol=1e-5)


def member(critic: nn.Module) -> nn.Sequential:
    """The layers of an ensemble of one, as the perceptron that they were made of."""
    layers = []
    for layer in critic.module.layers:
        if hasattr(layer, "weight"):
            linear = nn.Linear(*layer.weight.shape[1:])
            linear.weight.data, linear.bias.data = layer.weight[0].T.clone(), layer.bias[0, 0].clone()
            layer = linear
        layers.append(layer)
    return nn.Sequential(*layers)


def test_similarity_of_known_gradients() -> None:
    east, north = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 0.1])
    known = {(east, east, 5 * east): 3.0, (east, north): 0.0, (east, -east): -2.0, (east, east, north): 1.0}
    for critics, expected in known.items():
        torch.testing.assert_close(gradient_similarity(torch.stack(critics)[:, None]), torch.tensor([expected]))
    still = torch.zeros(3, 1, 2, requires_grad=True)  # no direction at all
    (slope,) = torch.autograd.grad(gradient_similarity(still).sum(), still)
    assert gradient_similarity(still) == 0.0 and slope.isfinite().all()


def test_diversification_drives_the_gradients_apart(networks, batch) -> None:
    loss = build(networks)
    optimizer = torch.optim.Adam(loss.qvalue_network_params.parameters(), lr=1e-2)
    first = loss(batch)["loss_diversity"].item()
    for _ in range(100):
        optimizer.zero_grad()
        loss(batch)["loss_diversity"].backward()
        optimizer.step()
    assert loss(batch)["loss_diversity"].item() < first - 1.0


def test_sac_n_has_no_loss_of_diversity(networks, batch) -> None:
    losses = build(networks, eta=0.0)(batch)
    assert "loss_diversity" not in losses.keys()


@pytest.mark.parametrize("eta", [0.0, 3.0])
def test_it_returns_scalars_under_the_names_that_it_gives_and_leaves_the_batch(networks, batch, eta) -> None:
    loss, before = build(networks, eta=eta), batch.clone()
    losses = loss(batch)
    assert list(losses.keys()) == loss.out_keys
    assert all(value.shape == () for value in losses.values())
    assert not any(value.requires_grad for name, value in losses.items() if not name.startswith("loss_"))
    assert set(batch.keys(True, True)) == set(before.keys(True, True)) and (batch == before).all()
    qvalues = networks[1].module(batch["observation"], batch["action"])
    torch.testing.assert_close(losses["qvalue"], qvalues.mean())
    torch.testing.assert_close(losses["qvalue_std"], qvalues.std(-1).mean())


def test_termination_stops_bootstrapping(networks, batch) -> None:
    loss = build(networks, eta=0.0)
    batch["next", "terminated"] = torch.ones(16, 1, dtype=torch.bool)
    ended = loss(batch)["loss_qvalue"]
    batch["next", "observation"] = batch["next", "observation"] + 10.0
    torch.testing.assert_close(loss(batch)["loss_qvalue"], ended)


@pytest.mark.parametrize("setting", [{"eta": -1.0}, {"gamma": 1.5}, {"alpha_init": 0.0}])
def test_settings_out_of_range_are_refused(networks, setting) -> None:
    ((name, value),) = setting.items()
    with pytest.raises(agents.ConfigError, match=f"{name}.*{value}"):
        build(networks, **setting)
