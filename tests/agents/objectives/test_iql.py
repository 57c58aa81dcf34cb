"""IQL's objective against the paper's equations in plain torch, and against TorchRL's own IQLLoss."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictModule, TensorDictSequential
from torch import Tensor, nn
from torchrl.objectives import IQLLoss as TorchRLIQLLoss

import agents
from agents.networks.configs import ActorConfig, MLPConfig, QValueConfig, ValueConfig
from agents.objectives import IQLLoss, advantage_weight, expectile_loss

# the losses are tested without an agent, whose target updater TorchRL misses
pytestmark = pytest.mark.filterwarnings("ignore:No target network updater")


@pytest.fixture
def networks(specs: agents.Specs):
    torch.manual_seed(0)
    small = {"hidden_sizes": [8]}
    actor = ActorConfig(**small).build(specs)
    return actor, QValueConfig(**small).build(specs), ValueConfig(**small).build(specs)


def paper(loss: IQLLoss, networks: tuple, batch: TensorDict) -> dict[str, Tensor]:
    """The three losses, written from the equations of arXiv 2110.06169 on the networks' own tensors."""
    actor, qvalue, value = (network.module if hasattr(network, "module") else network for network in networks)
    target_qvalue = copy.deepcopy(qvalue)
    for target, source in zip(target_qvalue.parameters(), loss.target_qvalue_network_params.values(True, True)):
        assert target.shape == source.shape
    loss.target_qvalue_network_params.to_module(TensorDictModule(target_qvalue, ["observation", "action"], ["q"]))
    s, a = batch["observation"], batch["action"]
    r, s_next, d = (
        batch["next", "reward"][:, 0],
        batch["next", "observation"],
        batch["next", "terminated"][:, 0].float(),
    )
    q_bar = torch.minimum(*target_qvalue(s, a).detach().unbind(-1))
    v = value(s)[:, 0]
    u = q_bar - v
    loss_value = ((loss.expectile - (u < 0).float()).abs() * u**2).mean()
    target = r + loss.gamma * (1 - d) * value(s_next)[:, 0].detach()
    loss_qvalue = sum(((target - q) ** 2).mean() for q in qvalue(s, a).unbind(-1))
    loc, scale = actor[0].module(s)
    log_pi = (-0.5 * ((a - loc) / scale) ** 2 - scale.log() - 0.5 * math.log(2 * math.pi)).sum(-1)
    weight = torch.exp(loss.temperature * u.detach()).clamp(max=loss.advantage_clip or math.inf)
    return {"loss_actor": -(weight * log_pi).mean(), "loss_qvalue": loss_qvalue, "loss_value": loss_value}


def gradients(losses: list[Tensor], parameters: list[nn.Parameter]) -> list[Tensor]:
    return torch.autograd.grad(sum(losses), parameters, allow_unused=True, retain_graph=True, materialize_grads=True)


@pytest.mark.parametrize(
    ("expectile", "temperature", "advantage_clip"), [(0.7, 0.5, 100.0), (0.9, 3.0, 1.5), (0.5, 0.0, None)]
)
def test_losses_and_gradients_equal_the_papers_equations(networks, batch, expectile, temperature, advantage_clip):
    loss = IQLLoss(*networks, expectile=expectile, temperature=temperature, advantage_clip=advantage_clip)
    loss.target_qvalue_network_params.apply_(lambda p: p + 0.3)  # targets that differ from the critics
    ours, expected = loss(batch), paper(loss, networks, batch)
    parameters = [p for network in networks for p in network.parameters()]
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-6, atol=1e-6)
        for mine, theirs in zip(gradients([ours[name]], parameters), gradients([value], parameters)):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_equals_torchrls_loss_where_the_two_mean_the_same(specs, batch):
    torch.manual_seed(1)
    config = MLPConfig(hidden_sizes=[8])
    actor, value = ActorConfig(hidden_sizes=[8]).build(specs), ValueConfig(hidden_sizes=[8]).build(specs)
    critics = [config.layers(5 + 3, 1) for _ in range(2)]

    class Critic(nn.Module):
        def __init__(self, layers: nn.Module) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, observation: Tensor, action: Tensor) -> Tensor:
            return self.layers(torch.cat([observation, action], -1))

    keys = {"in_keys": ["observation", "action"], "out_keys": ["state_action_value"]}
    ensemble = TensorDictModule(agents.networks.QValueEnsemble(critics, []), **keys)
    singles = [TensorDictModule(Critic(copy.deepcopy(layers)), **keys) for layers in critics]
    settings = {"expectile": 0.8, "temperature": 2.0, "loss_function": "l2"}
    theirs = TorchRLIQLLoss(actor, singles, value, num_qvalue_nets=2, **settings)
    theirs.make_value_estimator(gamma=0.95)
    batch["next", "done"] = batch["next", "terminated"]
    expected = theirs(batch.clone())
    ours = IQLLoss(actor, ensemble, value, gamma=0.95, **settings)(batch)
    for name in ("loss_actor", "loss_qvalue", "loss_value", "entropy"):
        torch.testing.assert_close(ours[name], expected[name], rtol=1e-6, atol=1e-6)


def test_value_of_a_fair_coin_is_the_expectile() -> None:
    targets, value = torch.tensor([0.0, 1.0]), torch.zeros((), requires_grad=True)
    optimizer = torch.optim.SGD([value], lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        expectile_loss(targets - value, expectile=0.9).mean().backward()
        optimizer.step()
    torch.testing.assert_close(value.detach(), torch.tensor(0.9), atol=1e-4, rtol=0.0)


def test_expectile_of_one_half_gives_the_mean_not_the_median() -> None:
    targets = torch.tensor([0.0, 0.0, 9.0])
    values = torch.linspace(-1.0, 10.0, 1101)
    losses = torch.stack([expectile_loss(targets - value, 0.5).mean() for value in values])
    torch.testing.assert_close(values[losses.argmin()], torch.tensor(3.0), atol=0.006, rtol=0.0)


def test_weights_are_clipped_and_zero_temperature_clones() -> None:
    advantage = torch.tensor([-1.0, 0.0, 1.0, 50.0])
    expected = torch.tensor([math.exp(-2.0), 1.0, math.exp(2.0), 100.0])
    torch.testing.assert_close(advantage_weight(advantage, 2.0, 100.0), expected)
    torch.testing.assert_close(advantage_weight(advantage, 0.0, 100.0), torch.ones(4))
    assert advantage_weight(advantage, 2.0, None)[-1] > 100.0


def test_each_loss_reaches_its_own_network_only(networks, batch) -> None:
    loss = IQLLoss(*networks)
    losses = loss(batch)
    groups = {"loss_actor": networks[0], "loss_qvalue": networks[1], "loss_value": networks[2]}
    for name, owner in groups.items():
        for network in networks:
            touched = any(g.abs().sum() > 0 for g in gradients([losses[name]], list(network.parameters())))
            assert touched == (network is owner), (name, network)


def test_termination_stops_bootstrapping_and_truncation_does_not(networks, batch) -> None:
    loss = IQLLoss(*networks)
    batch["next", "terminated"] = torch.ones(16, 1, dtype=torch.bool)
    ended = loss(batch)["loss_qvalue"]
    batch["next", "observation"] = batch["next", "observation"] + 10.0
    torch.testing.assert_close(loss(batch)["loss_qvalue"], ended)  # V(s') no longer matters
    batch["next", "terminated"] = torch.zeros(16, 1, dtype=torch.bool)
    running = loss(batch)["loss_qvalue"]
    assert (running - ended).abs() > 1e-3
    batch["next", "truncated"] = torch.ones(16, 1, dtype=torch.bool)
    torch.testing.assert_close(loss(batch)["loss_qvalue"], running)


def test_statistics_describe_the_batch_and_cost_no_gradient(networks, batch) -> None:
    loss = IQLLoss(*networks, temperature=1.0, advantage_clip=1.0)
    out = loss(batch)
    _, qvalue, value = networks
    q, v = qvalue(batch.clone())["state_action_value"], value(batch.clone())["state_value"][:, 0]
    advantage = q.amin(-1) - v  # the targets are still equal to the critics
    torch.testing.assert_close(out["qvalue"], q.mean())
    torch.testing.assert_close(out["state_value"], v.mean())
    torch.testing.assert_close(out["advantage"], advantage.mean())
    torch.testing.assert_close(out["weight"], advantage.exp().clamp_max(1.0).mean())
    torch.testing.assert_close(out["clip_fraction"], (advantage >= 0).float().mean())
    assert not any(value.requires_grad for name, value in out.items() if not name.startswith("loss_"))
    assert set(out.keys()) == set(loss.out_keys)


def test_the_batch_is_left_as_it_was_and_keywords_work_too(networks, batch) -> None:
    loss = IQLLoss(*networks)
    before = batch.clone()
    out = loss(batch)
    assert set(batch.keys(True, True)) == set(before.keys(True, True))
    assert (batch == before).all()
    named = loss(
        observation=batch["observation"],
        action=batch["action"],
        next_observation=batch["next", "observation"],
        next_reward=batch["next", "reward"],
        next_terminated=batch["next", "terminated"],
    )
    torch.testing.assert_close(named[0], out["loss_actor"])


def test_networks_of_several_modules_mean_the_same_and_leave_the_batch_as_it_was(networks, batch) -> None:
    (network, distribution), qvalue, value = networks
    actor = ProbabilisticTensorDictSequential(TensorDictSequential(network), distribution)
    before, expected = batch.clone(), IQLLoss(*networks)(batch)
    out = IQLLoss(actor, TensorDictSequential(qvalue), TensorDictSequential(value))(batch)
    assert set(batch.keys(True, True)) == set(before.keys(True, True))
    assert all(torch.equal(out[name], value) for name, value in expected.items())


def test_other_keys_can_be_set(networks, batch) -> None:
    loss = IQLLoss(*networks)
    expected = loss(batch)["loss_qvalue"]
    loss.set_keys(reward="gain")
    batch["next", "gain"] = batch["next"].pop("reward")
    torch.testing.assert_close(loss(batch)["loss_qvalue"], expected)


@pytest.mark.parametrize(
    "setting",
    [{"expectile": 1.0}, {"temperature": -1.0}, {"gamma": 1.5}, {"advantage_clip": 0.0}, {"loss_function": "huber"}],
)
def test_settings_out_of_range_are_refused(networks, setting) -> None:
    ((name, value),) = setting.items()
    with pytest.raises(agents.ConfigError, match=f"{name}.*{value}"):
        IQLLoss(*networks, **setting)
