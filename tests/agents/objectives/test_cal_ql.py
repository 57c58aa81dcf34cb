"""Cal-QL's objective against the paper's equations in plain torch."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor, nn

import agents
from agents.networks.configs import ActorConfig, QValueConfig
from agents.objectives import CalQLLoss

# the losses are tested without an agent, whose target updater TorchRL misses
pytestmark = pytest.mark.filterwarnings("ignore:No target network updater")

NUM_RANDOM = 4
ALPHA_PRIME = 3.0


@pytest.fixture
def networks(specs: agents.Specs):
    torch.manual_seed(0)
    actor = ActorConfig(hidden_sizes=[8], distribution="tanh_normal").build(specs)
    return actor, QValueConfig(hidden_sizes=[8], num_nets=3).build(specs)


def build(networks, specs: agents.Specs, **settings) -> CalQLLoss:
    settings = {"target_entropy": -2.0, "gamma": 0.9, "alpha_init": 0.5, "num_random": NUM_RANDOM, **settings}
    loss = CalQLLoss(*networks, action_spec=specs.action, **settings)
    loss.target_qvalue_network_params.apply_(lambda p: p + 0.3)  # targets that differ from the critics
    return loss


def paper(loss: CalQLLoss, networks, specs: agents.Specs, batch: TensorDict) -> dict[str, Tensor]:
    """The losses, row by row from the equations of arXiv 2303.05479 on the networks' own tensors."""
    actor, qvalue = networks[0][0].module, networks[1].module
    target_qvalue = copy.deepcopy(qvalue)
    for target, source in zip(target_qvalue.parameters(), qvalue.parameters()):
        target.data = source.data + 0.3
    low, high = specs.action.space.low, specs.action.space.high
    state, next_state = batch["observation"], batch["next", "observation"]

    def sample(observation: Tensor, *shape: int) -> tuple[Tensor, Tensor]:
        loc, scale = actor(observation)
        noise = torch.randn(*shape, *loc.shape)
        u = loc + scale * noise
        normal = -0.5 * noise**2 - scale.log() - 0.5 * math.log(2 * math.pi)
        log_slope = ((high - low) / 2).log() - 2 * torch.cosh(u).log()  # 1 - tanh^2 is 1 / cosh^2
        return (low + high) / 2 + (high - low) / 2 * torch.tanh(u), (normal - log_slope).sum(-1)

    action, log_pi = sample(state)
    num_backup = NUM_RANDOM if loss.max_target_backup else 1
    backup = sample(next_state, num_backup)[0].detach()
    uniform = low + (high - low) * torch.rand(NUM_RANDOM, 16, 3)
    draws = [(uniform, -torch.log((high - low).prod()).expand(NUM_RANDOM, 16))]
    draws += [tuple(value.detach() for value in sample(states, NUM_RANDOM)) for states in (state, next_state)]
    weight, threshold = loss.min_q_weight, loss.lagrange_threshold
    alpha_prime = 1.0 if threshold is None else ALPHA_PRIME
    loss_qvalue, loss_cql, held = torch.zeros(()), torch.zeros(()), []
    for row in range(16):
        best = torch.stack([target_qvalue(next_state[[row]], a[[row]])[0].min() for a in backup]).max()
        bootstrap = 0.0 if batch["next", "terminated"][row] else loss.gamma * best
        target = (batch["next", "reward"][row, 0] + bootstrap).detach()
        of_data = qvalue(state[[row]], batch["action"][[row]])[0]  # [N]
        loss_qvalue = loss_qvalue + ((target - of_data) ** 2).sum() / 16
        total = torch.zeros(3)
        for kind, (actions, log_density) in enumerate(draws):
            for a, log_mu in zip(actions[:, row], log_density[:, row]):
                values = qvalue(state[[row]], a[None])[0]
                if kind > 0:
                    held += (values < batch["discounted_return"][row]).tolist()
                    values = torch.maximum(values, batch["discounted_return"][row])
                total = total + (values - log_mu).exp()
        loss_cql = loss_cql + (total.log() - of_data - (threshold or 0.0)).sum() / 16
    alpha = loss.log_alpha.exp().detach()
    frozen = copy.deepcopy(qvalue).requires_grad_(False)
    losses = {
        "loss_actor": (alpha * log_pi - frozen(state, action).amin(-1)).mean(),
        "loss_qvalue": loss_qvalue,
        "loss_cql": alpha_prime * weight * loss_cql,
        "loss_alpha": -loss.log_alpha * (log_pi.mean().detach() + loss.target_entropy),
        "calibrated_share": torch.tensor(held).float().mean(),
    }
    if threshold is not None:
        losses["loss_alpha_prime"] = -0.5 * loss.log_alpha_prime.exp() * weight * loss_cql.detach()
    return losses


def gradients(loss: Tensor, parameters: list[nn.Parameter]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True, materialize_grads=True)


@pytest.mark.parametrize("settings", [{}, {"max_target_backup": False, "min_q_weight": 5.0, "lagrange_threshold": 0.8}])
def test_losses_and_gradients_equal_the_papers_equations(networks, specs, batch, settings) -> None:
    loss = build(networks, specs, **settings)
    parameters = [*(p for network in networks for p in network.parameters()), loss.log_alpha]
    if settings:
        loss.log_alpha_prime.data.fill_(math.log(ALPHA_PRIME))
        parameters.append(loss.log_alpha_prime)
    torch.manual_seed(5)
    ours = loss(batch)
    torch.manual_seed(5)
    expected = paper(loss, networks, specs, batch)
    assert {name for name in ours.keys() if name.startswith("loss_")} < expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-5)
        if name.startswith("loss_"):
            mine, theirs = gradients(ours[name], parameters), gradients(value, parameters)
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_values_above_the_datas_returns_are_pushed_down_and_those_below_are_not(networks, specs, batch) -> None:
    loss = build(networks, specs)

    def slope(discounted_return: float) -> tuple[Tensor, Tensor]:
        """By the critics' output bias, of the conservative term; and the share that is held up."""
        batch["discounted_return"] = torch.full((16, 1), discounted_return)
        torch.manual_seed(0)
        losses = loss(batch)
        bias = loss.qvalue_network_params["module", "layers", "2", "bias"]
        return torch.autograd.grad(losses["loss_cql"], bias)[0].squeeze(), losses["calibrated_share"]

    free, none = slope(-100.0)
    held, all_of_them = slope(100.0)
    assert (none, all_of_them) == (0.0, 1.0)
    torch.testing.assert_close(free, torch.zeros(3), atol=1e-5, rtol=0.0)  # up and down by the same amount
    torch.testing.assert_close(held, torch.full((3,), -1.0))  # nothing pushes against the data's actions


def test_a_batch_without_returns_is_refused_with_the_way_to_get_them(networks, specs, batch) -> None:
    with pytest.raises(agents.ConfigError, match=r"'discounted_return'.*\*\*agent.sampling"):
        build(networks, specs)(batch.exclude("discounted_return"))


@pytest.mark.parametrize(
    "setting", [{"min_q_weight": -1.0}, {"lagrange_threshold": math.inf}, {"num_random": 0}, {"gamma": 1.5}]
)
def test_settings_out_of_range_are_refused(networks, specs, setting) -> None:
    ((name, value),) = setting.items()
    with pytest.raises(agents.ConfigError, match=f"{name}.*{value}"):
        build(networks, specs, **setting)
