"""CQL's conservative term against the paper's equation in plain torch, and the rest against TorchRL's own loss."""

from __future__ import annotations

import math

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torchrl.data import Composite
from torchrl.objectives import CQLLoss as TorchRLCQLLoss

import agents
from agents.networks.configs import ActorConfig, MLPConfig, separate_critics
from agents.objectives import CQLLoss

# the losses are tested without an agent, whose target updater TorchRL misses
pytestmark = pytest.mark.filterwarnings("ignore:No target network updater")

NUM_RANDOM = 4


@pytest.fixture
def networks(specs: agents.Specs):
    torch.manual_seed(0)
    actor = ActorConfig(hidden_sizes=[8], distribution="tanh_normal").build(specs)
    return actor, separate_critics(MLPConfig(hidden_sizes=[8]), specs, num_nets=2)


def build(networks, specs, cls: type = CQLLoss, **settings) -> TorchRLCQLLoss:
    settings = {"loss_function": "l2", "target_entropy": -3.0, "num_random": NUM_RANDOM, **settings}
    loss = cls(*networks, action_spec=specs.action, deactivate_vmap=True, **settings)
    loss.set_keys(done="terminated")
    loss.make_value_estimator(gamma=0.9)
    return loss


def paper(networks, specs, batch: TensorDict, seed: int, temperature: float = 1.0) -> Tensor:
    """``t log sum_a exp((Q(s, a) - log mu(a)) / t) - Q(s, a_data)`` of each critic, ``[N, B]``, state by state."""
    actor, critics = networks
    low, high = specs.action.space.low, specs.action.space.high
    torch.manual_seed(seed)
    noise = torch.randn(2, 16, NUM_RANDOM, 3)
    uniform = low + (high - low) * torch.rand(16, NUM_RANDOM, 3)

    def of_policy(observation: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        loc, scale = actor[0].module(observation)
        u = loc + scale * noise
        normal = -0.5 * noise**2 - scale.log() - 0.5 * math.log(2 * math.pi)
        log_slope = ((high - low) / 2).log() - 2 * torch.cosh(u).log()  # 1 - tanh^2 is 1 / cosh^2
        return (low + high) / 2 + (high - low) / 2 * torch.tanh(u), (normal - log_slope).sum(-1)

    gaps = torch.zeros(2, 16)
    for i, (state, next_state) in enumerate(zip(batch["observation"], batch["next", "observation"])):
        (action, log_mu), (next_action, next_log_mu) = of_policy(state, noise[0, i]), of_policy(next_state, noise[1, i])
        actions = torch.cat([uniform[i], action, next_action])
        log_mus = torch.cat([-torch.log((high - low).prod()).expand(NUM_RANDOM), log_mu, next_log_mu])
        for j, critic in enumerate(critics):
            qvalues = critic.module(state.expand(3 * NUM_RANDOM, 5), actions)[:, 0]
            of_data = critic.module(state[None], batch["action"][i][None])[0, 0]
            gaps[j, i] = temperature * ((qvalues - log_mus) / temperature).exp().sum().log() - of_data
    return gaps.detach()


def conservative_term(loss: CQLLoss, batch: TensorDict, seed: int) -> tuple[Tensor, TensorDict]:
    batch = batch.copy()
    loss.q_loss(batch)  # which writes what the term reads
    torch.manual_seed(seed)
    return loss.cql_loss(batch)[0], batch


def gradient(loss: Tensor, parameters: nn.Module) -> Tensor:
    """By all parameters of a network, as one vector."""
    gradients = torch.autograd.grad(
        loss, list(parameters.parameters()), allow_unused=True, retain_graph=True, materialize_grads=True
    )
    return torch.cat([value.flatten() for value in gradients])


@pytest.mark.parametrize(("weight", "temperature"), [(1.0, 1.0), (5.0, 1.0), (1.0, 2.0)])
def test_the_conservative_term_is_the_papers(networks, specs, batch, weight, temperature) -> None:
    loss = build(networks, specs, min_q_weight=weight, temperature=temperature)
    value, _ = conservative_term(loss, batch, seed=3)
    gaps = paper(networks, specs, batch, 3, temperature)
    torch.testing.assert_close(value, weight * gaps.sum(0).mean(), rtol=1e-4, atol=1e-4)


def test_the_actor_is_evaluated_once_per_state_whatever_is_drawn(networks, specs, batch) -> None:
    loss, rows = build(networks, specs), []
    loss.actor_network[0].module.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    conservative_term(loss, batch, seed=3)
    assert rows == [16, 16, 16]  # for the target, and for R actions at each of the two states


def test_alpha_prime_weighs_the_gap_above_the_threshold(networks, specs, batch) -> None:
    plain = build(networks, specs)
    lagrange = build(networks, specs, with_lagrange=True, lagrange_thresh=2.0)
    with torch.no_grad():
        lagrange.log_alpha_prime.fill_(math.log(3.0))
    value, _ = conservative_term(plain, batch, seed=3)
    weighted, written = conservative_term(lagrange, batch, seed=3)
    torch.testing.assert_close(weighted, 3.0 * (value - 2 * 2.0))
    torch.testing.assert_close(
        gradient(weighted, lagrange.qvalue_network_params), 3.0 * gradient(value, plain.qvalue_network_params)
    )
    of_alpha_prime, _ = lagrange.alpha_prime_loss(written)
    torch.testing.assert_close(of_alpha_prime, -0.5 * weighted)
    (slope,) = torch.autograd.grad(of_alpha_prime, lagrange.log_alpha_prime, retain_graph=True)
    torch.testing.assert_close(slope, -0.5 * weighted.detach())  # a gap above the threshold makes alpha' grow
    assert not gradient(of_alpha_prime, lagrange.qvalue_network_params).any()


def test_each_loss_reaches_its_own_parameters_only(networks, specs, batch) -> None:
    loss = build(networks, specs, with_lagrange=True)
    losses = loss(batch.copy())
    owners = {
        "actor": loss.actor_network_params,
        "critics": loss.qvalue_network_params,
        "alpha": nn.ParameterList([loss.log_alpha]),
        "alpha_prime": nn.ParameterList([loss.log_alpha_prime]),
    }
    reached = {
        "loss_actor": "actor",
        "loss_qvalue": "critics",
        "loss_cql": "critics",
        "loss_alpha": "alpha",
        "loss_alpha_prime": "alpha_prime",
    }
    assert {name for name in losses.keys() if name.startswith("loss_")} == set(reached)
    for name, owner in reached.items():
        for other, parameters in owners.items():
            assert gradient(losses[name], parameters).any() == (other == owner), (name, other)


def test_what_is_not_conservative_is_torchrls(networks, specs, batch) -> None:
    ours, theirs = build(networks, specs), build(networks, specs, TorchRLCQLLoss)
    for method in ("q_loss", "actor_loss"):
        torch.manual_seed(1)
        expected, _ = getattr(theirs, method)(batch.copy())
        torch.manual_seed(1)
        torch.testing.assert_close(getattr(ours, method)(batch.copy())[0], expected)


@pytest.mark.parametrize("lagrange", [False, True])
def test_it_returns_scalars_under_the_names_that_it_gives(networks, specs, batch, lagrange) -> None:
    loss = build(networks, specs, with_lagrange=lagrange)
    losses = loss(batch.copy())
    assert set(losses.keys()) == set(loss.out_keys)
    assert all(value.shape == () for value in losses.values())
    assert "loss_actor_bc" not in losses.keys()
    qvalues = torch.cat([critic.module(batch["observation"], batch["action"]) for critic in networks[1]])
    torch.testing.assert_close(losses["qvalue"], qvalues.mean())
    if lagrange:
        torch.testing.assert_close(losses["alpha_prime"], torch.tensor(1.0))


def test_bounds_may_come_under_the_key_of_actions(networks, specs) -> None:
    loss = CQLLoss(*networks, action_spec=Composite(action=specs.action), deactivate_vmap=True)
    torch.testing.assert_close((loss.action_low, loss.action_high), (specs.action.space.low, specs.action.space.high))


@pytest.mark.filterwarnings("ignore:CQLLoss with reduction")
def test_losses_of_single_transitions_are_refused(networks, specs, batch) -> None:
    with pytest.raises(agents.ConfigError, match="reduction must be mean or sum, got 'none'"):
        build(networks, specs, reduction="none")(batch)
