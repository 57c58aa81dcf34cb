"""SAC with some of an ensemble in its target, against the equations of RLPD and WSRL in plain torch."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

import agents
from agents.networks.configs import ActorConfig, QValueConfig
from agents.objectives import EDACLoss, REDQLoss

# the losses are tested without an agent, whose target updater TorchRL misses
pytestmark = pytest.mark.filterwarnings("ignore:No target network updater")

NUM_NETS = 5


@pytest.fixture
def networks(specs: agents.Specs):
    torch.manual_seed(0)
    actor = ActorConfig(hidden_sizes=[8], distribution="tanh_normal").build(specs)
    return actor, QValueConfig(hidden_sizes=[8], layer_norm=True, num_nets=NUM_NETS).build(specs)


def build(networks, specs: agents.Specs, **settings) -> REDQLoss:
    settings = {"target_entropy": -2.0, "gamma": 0.9, "alpha_init": 0.5, **settings}
    loss = REDQLoss(*networks, action_spec=specs.action, **settings)
    loss.target_qvalue_network_params.apply_(lambda p: p + 0.3)  # targets that differ from the critics
    return loss


def paper(loss: REDQLoss, networks, specs: agents.Specs, batch) -> dict[str, Tensor]:
    actor, qvalue = networks[0][0].module, networks[1].module
    target_qvalue = copy.deepcopy(qvalue)
    for target, source in zip(target_qvalue.parameters(), qvalue.parameters()):
        target.data = source.data + 0.3
    low, high = specs.action.space.low, specs.action.space.high

    def sample(observation: Tensor) -> tuple[Tensor, Tensor]:
        loc, scale = actor(observation)
        noise = torch.randn_like(loc)
        u = loc + scale * noise
        normal = -0.5 * noise**2 - scale.log() - 0.5 * math.log(2 * math.pi)
        log_slope = ((high - low) / 2).log() - 2 * torch.cosh(u).log()  # 1 - tanh^2 is 1 / cosh^2
        return (low + high) / 2 + (high - low) / 2 * torch.tanh(u), (normal - log_slope).sum(-1)

    s, a, s_next = batch["observation"], batch["action"], batch["next", "observation"]
    r, d = batch["next", "reward"][:, 0], batch["next", "terminated"][:, 0].float()
    alpha = loss.log_alpha.exp().detach()
    next_action, next_log_pi = sample(s_next)
    order = torch.rand(NUM_NETS).tolist()
    chosen = sorted(range(NUM_NETS), key=lambda i: -order[i])[: loss.num_target_nets]
    value = target_qvalue(s_next, next_action)[:, chosen].amin(-1)
    if loss.entropy_backup:
        value = value - alpha * next_log_pi
    target = (r + loss.gamma * (1 - d) * value).detach()
    action, log_pi = sample(s)
    of_policy = copy.deepcopy(qvalue).requires_grad_(False)(s, action)
    return {
        "loss_actor": (alpha * log_pi - getattr(of_policy, loss.actor_qvalue.replace("min", "amin"))(-1)).mean(),
        "loss_qvalue": sum(((target - q) ** 2).mean() for q in qvalue(s, a).unbind(-1)),
        "loss_alpha": -loss.log_alpha * (log_pi.mean().detach() + loss.target_entropy),
    }


@pytest.mark.parametrize(
    "settings", [{}, {"entropy_backup": False}, {"actor_qvalue": "min", "num_target_nets": 3}], ids=str
)
def test_losses_and_gradients_equal_the_papers_equations(networks, specs, batch, settings) -> None:
    loss = build(networks, specs, **settings)
    torch.manual_seed(5)
    ours = loss(batch)
    torch.manual_seed(5)
    expected = paper(loss, networks, specs, batch)
    parameters = [*(p for network in networks for p in network.parameters()), loss.log_alpha]
    assert expected.keys() == {name for name in ours.keys() if name.startswith("loss_")}
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-5)
        mine, theirs = (
            torch.autograd.grad(one, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
            for one in (ours[name], value)
        )
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_target_nets", [NUM_NETS, NUM_NETS + 3])
def test_with_all_critics_in_the_target_and_the_smallest_for_the_actor_it_is_sac_n(
    networks, specs, batch, num_target_nets
) -> None:
    settings = {"target_entropy": -2.0, "gamma": 0.9, "alpha_init": 0.5}
    sac_n = EDACLoss(*copy.deepcopy(networks), eta=0.0, **settings)
    ours = REDQLoss(
        *networks, action_spec=specs.action, num_target_nets=num_target_nets, actor_qvalue="min", **settings
    )
    values = []
    for loss in (sac_n, ours):
        torch.manual_seed(1)
        values.append({name: value for name, value in loss(batch).items() if name != "qvalue_std"})
    torch.testing.assert_close(*values)


def test_every_pair_of_critics_is_drawn_about_as_often(networks, specs) -> None:
    loss, values = build(networks, specs), torch.arange(float(NUM_NETS)).expand(2, NUM_NETS)
    torch.manual_seed(0)
    smallest = torch.stack([loss._smallest_of_some(values) for _ in range(1000)])  # [1000, 2]
    assert torch.equal(smallest[:, 0], smallest[:, 1])  # one draw for the batch
    expected = torch.tensor([4.0, 3.0, 2.0, 1.0, 0.0]) / 10  # of ten pairs, those whose smaller one it is
    counts = torch.bincount(smallest[:, 0].long(), minlength=NUM_NETS) / 1000
    torch.testing.assert_close(counts, expected, atol=0.05, rtol=0.0)


def test_an_actor_that_knows_no_bounds_is_valued_inside_them(specs, batch) -> None:
    actor = ActorConfig(hidden_sizes=[8]).build(specs)
    with torch.no_grad():
        actor[0].module.log_std.fill_(2.0)
    seen = []
    qvalue = QValueConfig(hidden_sizes=[8], num_nets=NUM_NETS).build(specs)
    qvalue.module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    REDQLoss(actor, qvalue, action_spec=specs.action, target_entropy=-2.0)(batch)
    assert len(seen) == 3 and all(specs.action.is_in(action.detach()) for action in seen)


@pytest.mark.parametrize("setting", [{"num_target_nets": 0}, {"gamma": 1.5}, {"alpha_init": 0.0}])
def test_settings_out_of_range_are_refused(networks, specs, setting) -> None:
    ((name, value),) = setting.items()
    with pytest.raises(agents.ConfigError, match=f"{name}.*{value}"):
        build(networks, specs, **setting)


def test_an_unknown_value_for_the_actor_is_refused_with_the_known_ones(networks, specs) -> None:
    with pytest.raises(agents.ConfigError, match="unknown actor_qvalue 'max'; choose from mean, min"):
        build(networks, specs, actor_qvalue="max")
