from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torchrl.modules.distributions import TanhNormal

import agents
from agents.networks import (
    ActorConfig,
    BoundedTanhNormal,
    Dropout,
    MLPConfig,
    QValueConfig,
    QValueEnsemble,
    ValueConfig,
    deterministic_policy,
)


def small(cls, **settings):
    return cls(hidden_sizes=[8, 8], **settings)


@pytest.mark.parametrize("distribution", ["normal", "tanh_normal"])
@pytest.mark.parametrize("normalize", [False, True])
def test_policy_stays_in_the_action_bounds_and_reaches_them(specs, distribution, normalize) -> None:
    torch.manual_seed(0)
    actor = small(ActorConfig, distribution=distribution).build(specs, normalize=normalize)
    observation = 100.0 * torch.randn(500, 5)
    action = deterministic_policy(actor).module(observation)
    low, high = specs.action.space.low, specs.action.space.high
    assert (action >= low).all() and (action <= high).all()
    torch.testing.assert_close(action.amin(0), low, atol=1e-3, rtol=0.0)
    torch.testing.assert_close(action.amax(0), high, atol=1e-3, rtol=0.0)


def test_normal_actor_has_a_tanh_mean_and_a_free_log_std(specs, batch) -> None:
    actor = small(ActorConfig, log_std_min=-1.0, log_std_max=0.5).build(specs)
    network = actor[0].module
    with torch.no_grad():
        network.log_std.copy_(torch.tensor([-7.0, 0.0, 7.0]))
    dist = actor.get_dist(batch)
    low, high = specs.action.space.low, specs.action.space.high
    expected = (low + high) / 2 + (high - low) / 2 * torch.tanh(network.layers(batch["observation"]))
    torch.testing.assert_close(dist.mean, expected)
    torch.testing.assert_close(dist.base_dist.stddev[0], torch.tensor([-1.0, 0.0, 0.5]).exp())
    far = high.expand(16, 3) + 1.0  # unsquashed: an action outside the bounds has a finite likelihood
    assert dist.log_prob(far).isfinite().all()


def test_tanh_normal_stays_finite_at_the_bounds(specs, batch) -> None:
    at, zero, one = torch.ones(1), torch.zeros(1), torch.ones(1)
    theirs = TanhNormal(zero, 0.1 * one, low=-one, high=one).log_prob(at)
    ours = BoundedTanhNormal(zero, 0.1 * one, low=-one, high=one).log_prob(at)
    inside = TanhNormal(zero, 0.1 * one, low=-one, high=one).log_prob(at * (1 - 1e-5))
    torch.testing.assert_close(ours, inside, rtol=1e-3, atol=0.0)
    assert theirs < 1.2 * ours  # further out, by hundreds of nats
    actor = small(ActorConfig, distribution="tanh_normal").build(specs)
    dist = actor.get_dist(batch)
    inside = batch["action"]
    half = (specs.action.space.high - specs.action.space.low) / 2
    centre = (specs.action.space.high + specs.action.space.low) / 2
    raw = torch.atanh((inside - centre) / half)
    loc, scale = actor[0].module(batch["observation"])
    expected = torch.distributions.Normal(loc, scale).log_prob(raw) - torch.log(half * (1 - torch.tanh(raw) ** 2))
    torch.testing.assert_close(dist.log_prob(inside), expected.sum(-1), rtol=1e-4, atol=1e-4)


def test_ensemble_equals_its_members_one_by_one(specs, batch) -> None:
    torch.manual_seed(0)
    config = small(MLPConfig, layer_norm=True, activation="silu")
    members = [config.layers(5 + 3, 1) for _ in range(3)]
    for member in members:  # so that the scales and shifts differ between members
        for module in member:
            if isinstance(module, nn.LayerNorm):
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    joint = torch.cat([batch["observation"], batch["action"]], -1)
    expected = torch.cat([member(joint) for member in members], -1)
    torch.testing.assert_close(QValueEnsemble(members, [])(batch["observation"], batch["action"]), expected)


def test_critics_start_different(specs, batch) -> None:
    torch.manual_seed(0)
    qvalues = small(QValueConfig, num_nets=2).build(specs)(batch)["state_action_value"]
    assert qvalues.shape == (16, 2)
    assert (qvalues[:, 0] - qvalues[:, 1]).abs().min() > 1e-4


def test_normalisation_is_part_of_the_network(specs, batch) -> None:
    torch.manual_seed(0)
    for config in (ValueConfig, QValueConfig):
        torch.manual_seed(0)
        raw = small(config).build(specs)
        torch.manual_seed(0)
        normalized = small(config).build(specs, normalize=True)
        scaled = batch.clone()
        scaled["observation"] = (batch["observation"] - specs.observation_mean) / (specs.observation_std + 1e-3)
        key = raw.out_keys[0]
        torch.testing.assert_close(normalized(batch.clone())[key], raw(scaled)[key])


def test_orthogonal_initialisation_has_gain_sqrt_two_and_zero_biases() -> None:
    linear = MLPConfig(hidden_sizes=[32]).layers(32, 1)[0]
    torch.testing.assert_close(linear.weight @ linear.weight.T, 2.0 * torch.eye(32), atol=1e-5, rtol=0.0)
    assert (linear.bias == 0).all()


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("hidden_sizes", [4, 4, 4], 3),
        ("activation", "gelu", nn.GELU),
        ("dropout", 0.3, Dropout),
        ("layer_norm", True, nn.LayerNorm),
    ],
)
def test_each_field_shapes_the_network(field, value, kind) -> None:
    layers = MLPConfig(**{field: value}).layers(6, 2)
    if field == "hidden_sizes":
        assert [m.out_features for m in layers if isinstance(m, nn.Linear)] == [4, 4, 4, 2]
    else:
        assert len([m for m in layers if isinstance(m, kind)]) == 2


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.99])
def test_dropout_drops_its_share_and_keeps_the_mean(p) -> None:
    torch.manual_seed(0)
    x = torch.full((300, 333), 2.0)  # an odd number of units
    kept = Dropout(p)(x)
    standard_error = math.sqrt(p * (1 - p) / x.numel())
    assert (kept == 0).float().mean().item() == pytest.approx(p, abs=5 * standard_error)
    torch.testing.assert_close(kept[kept != 0].unique(), torch.tensor([2.0 / (1 - p)]), rtol=2e-3, atol=0.0)  # 2^-15
    assert torch.equal(Dropout(p).eval()(x), x)


def test_dropout_is_independent_between_units_and_between_calls() -> None:
    """Four units share a draw: their correlations, and those with the next call's, are those of noise."""
    torch.manual_seed(0)
    first, second = ((Dropout(0.5)(torch.ones(200_000)) > 0).float() for _ in range(2))
    low, high = first.chunk(2)  # of the same words
    for x, y in ((low, high), (low[0::2], low[1::2]), (low[0::2], high[1::2]), (low[:-1], low[1:]), (first, second)):
        assert abs(torch.corrcoef(torch.stack([x, y]))[0, 1]) < 5 / math.sqrt(len(x))


def test_no_gradient_flows_through_what_is_dropped() -> None:
    x = torch.ones(100, requires_grad=True)
    kept = Dropout(0.5)(x)
    kept.sum().backward()
    assert torch.equal(x.grad, kept.detach())


def test_default_initialisation_is_torchs_own() -> None:
    weight = MLPConfig(hidden_sizes=[64], init="default").layers(100, 1)[0].weight
    assert weight.abs().max() <= 1.0 / math.sqrt(100)


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (MLPConfig, {"hidden_sizes": [0]}),
        (MLPConfig, {"dropout": 1.0}),
        (MLPConfig, {"activation": "swish"}),
        (MLPConfig, {"init": "xavier"}),
        (QValueConfig, {"num_nets": 0}),
        (ActorConfig, {"distribution": "beta"}),
        (ActorConfig, {"log_std_min": 3.0}),
    ],
)
def test_settings_out_of_range_are_refused_by_name_and_value(config, settings) -> None:
    ((name, value),) = settings.items()
    with pytest.raises(agents.ConfigError, match=rf"{name}.*{value}" if not isinstance(value, list) else name):
        config(**settings)


def test_discrete_actions_are_refused_in_one_line(specs) -> None:
    from dataclasses import replace

    from torchrl.data import Categorical

    with pytest.raises(agents.ConfigError, match="continuous actions.*Categorical"):
        ActorConfig().build(replace(specs, action=Categorical(2)))
