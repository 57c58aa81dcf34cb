from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn
from torchrl.data import Bounded, Unbounded
from torchrl.modules.distributions import TanhNormal

import agents
from agents.networks.actors import BoundedTanhNormal
from agents.networks.bounds import center_and_half_range, default_target_entropy
from agents.networks.configs import (
    ActorConfig,
    CategoricalActorConfig,
    DeterministicActorConfig,
    MLPConfig,
    QValueConfig,
    ValueConfig,
    separate_critics,
)
from agents.networks.critics import ActionValueEnsemble, QValueEnsemble
from agents.networks.layers import Dropout
from agents.networks.policies import deterministic_policy, greedy_policy


def small(cls, **settings):
    return cls(hidden_sizes=[8, 8], **settings)


ACTORS = {
    "normal": small(ActorConfig),
    "tanh_normal": small(ActorConfig, distribution="tanh_normal"),
    "deterministic": small(DeterministicActorConfig),
}


@pytest.mark.parametrize("kind", ACTORS)
@pytest.mark.parametrize("normalize", [False, True])
def test_policy_stays_in_the_action_bounds_and_reaches_them(specs, kind, normalize) -> None:
    torch.manual_seed(0)
    actor = ACTORS[kind].build(specs, normalize=normalize)
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


def test_tanh_normal_actor_has_a_clipped_log_std_of_the_state_and_acts_by_its_location(specs, batch) -> None:
    torch.manual_seed(0)
    actor = small(ActorConfig, distribution="tanh_normal", log_std_min=-1.0, log_std_max=0.5).build(specs)
    network, observation = actor[0].module, batch["observation"]
    with torch.no_grad():
        loc, log_std = (30.0 * network.layers(observation)).chunk(2, -1)
        network.layers[-1][-1].weight *= 30.0
    assert log_std.min() < -1.0 and log_std.max() > 0.5
    dist = actor.get_dist(batch)
    torch.testing.assert_close(dist.base_dist.loc, loc)
    torch.testing.assert_close(dist.base_dist.scale, log_std.clamp(-1.0, 0.5).exp())
    torch.testing.assert_close(deterministic_policy(actor).module(observation), dist.deterministic_sample)
    noise = torch.randn(2, 3)
    drawn = network.draw(observation, noise)[:, 1]
    u = loc + log_std.clamp(-1.0, 0.5).exp() * noise[1]
    torch.testing.assert_close(drawn, network.action_center + network.action_half_range * u.tanh())


@pytest.mark.parametrize("kind", ["normal", "tanh_normal"])
def test_an_actor_draws_its_action_unless_told_otherwise(specs, batch, kind) -> None:
    actor = ACTORS[kind].build(specs)
    first, second = (actor(batch.clone())["action"] for _ in range(2))
    assert (first != second).any(-1).all()  # draws beyond a bound are clipped to it
    low, high = specs.action.space.low, specs.action.space.high
    assert ((low <= first) & (first <= high)).all()


def test_a_policy_has_a_mode_of_its_own(specs) -> None:
    actor = small(ActorConfig, dropout=0.5).build(specs).train()
    policy = deterministic_policy(actor)
    assert actor[0].module.training and not policy.module.network.training
    actor.train()
    assert not policy.module.network.training


def test_a_deterministic_actor_is_the_policy_that_is_deployed(specs, batch) -> None:
    torch.manual_seed(0)
    actor = small(DeterministicActorConfig).build(specs)
    policy = deterministic_policy(actor)
    assert torch.equal(actor(batch.clone())["action"], policy(batch.clone())["action"])
    assert {id(p) for p in actor.parameters()} == {id(p) for p in policy.parameters()}


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_no_action_between_the_bounds_is_rounded_beyond_them(scale) -> None:
    generator = torch.Generator().manual_seed(0)
    ends = scale * torch.randn(2, 100_000, generator=generator) * 10 ** torch.randn(2, 1, generator=generator)
    low, high = ends.amin(0), ends.amax(0)
    center, half_range = center_and_half_range(low, high)
    for position in (-1.0, 1.0, 2 * torch.rand(100_000, generator=generator) - 1):
        action = center + half_range * position
        assert ((action >= low) & (action <= high)).all()
    lost = torch.maximum((center - half_range - low).abs(), (center + half_range - high).abs())
    assert (lost <= 2.0**-23 * ends.abs().amax(0)).all()


@pytest.mark.parametrize("config", [ActorConfig(), DeterministicActorConfig()])
def test_actions_without_bounds_are_refused(specs, config) -> None:
    with pytest.raises(
        agents.ConfigError, match="continuous actions in a Box, with bounds, .* Unbounded.*; write finite bounds"
    ):
        config.build(dataclasses.replace(specs, action=Unbounded((3,))))


def test_tanh_normal_is_torchrls_inside_the_bounds(specs) -> None:
    generator = torch.Generator().manual_seed(0)
    loc, scale = torch.randn(7, 3, generator=generator), torch.rand(7, 3, generator=generator) + 0.1
    bounds = {"low": specs.action.space.low, "high": specs.action.space.high}
    ours, theirs = BoundedTanhNormal(loc, scale, **bounds), TanhNormal(loc, scale, **bounds)
    torch.testing.assert_close(ours.deterministic_sample, theirs.deterministic_sample)
    torch.manual_seed(1)
    expected, expected_log_prob = theirs.rsample_and_log_prob((5,))
    torch.manual_seed(1)
    action, log_prob = ours.rsample_and_log_prob((5,))
    torch.testing.assert_close(action, expected)
    torch.testing.assert_close(log_prob, expected_log_prob, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.log_prob(action), log_prob, rtol=1e-3, atol=1e-3)
    torch.manual_seed(1)
    assert torch.equal(ours.rsample((5,)), action)
    assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)


def test_tanh_normal_knows_the_likelihood_of_what_it_drew_far_out(specs) -> None:
    loc = torch.full((1, 1), 40.0, requires_grad=True)  # float32 rounds its tanh to 1
    one = torch.ones(1)
    dist = BoundedTanhNormal(loc, 0.5 * one, low=-2.0 * one, high=2.0 * one)
    torch.manual_seed(0)
    action, log_prob = dist.rsample_and_log_prob()
    torch.manual_seed(0)
    noise = torch.randn(1).double()
    raw = loc.double() + 0.5 * noise
    density = -0.5 * noise**2 - math.log(0.5 * math.sqrt(2 * math.pi))
    expected = density - math.log(2.0) + 2.0 * (raw.abs() - math.log(2.0))  # 1 - tanh^2 u is 4 exp(-2 |u|) there
    torch.testing.assert_close(log_prob.double(), expected[0], rtol=1e-5, atol=0.0)
    (slope,) = torch.autograd.grad(log_prob.sum(), loc)
    torch.testing.assert_close(slope, torch.full((1, 1), 2.0))
    assert action.item() == 2.0


def test_the_default_target_entropy_does_not_depend_on_the_unit_of_actions(specs) -> None:
    one = torch.ones(3)
    plain = dataclasses.replace(specs, action=Bounded(-one, one, (3,)))
    wide = dataclasses.replace(specs, action=Bounded(-10.0 * one, 10.0 * one, (3,)))
    assert default_target_entropy(plain) == -3.0
    assert default_target_entropy(wide) == pytest.approx(-3.0 + 3 * math.log(10.0))


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


def test_an_ensemble_takes_actions_of_each_members_own(specs, batch) -> None:
    torch.manual_seed(0)
    ensemble = small(QValueConfig, num_nets=3).build(specs, normalize=True).module
    observation, actions = batch["observation"], torch.randn(3, 16, 3)
    expected = torch.stack([ensemble(observation, action)[:, i] for i, action in enumerate(actions)], -1)
    torch.testing.assert_close(ensemble(observation.expand(3, 16, 5), actions), expected)


def test_separate_critics_are_drawn_one_after_the_other(specs, batch) -> None:
    torch.manual_seed(0)
    critics = separate_critics(small(MLPConfig, layer_norm=True), specs, num_nets=3)
    torch.manual_seed(0)
    for critic in critics:
        first = small(QValueConfig, layer_norm=True, num_nets=1).build(specs)(batch.copy())["state_action_value"]
        assert first.shape == (16, 1)
        assert torch.equal(critic(batch.copy())["state_action_value"], first)


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


def test_the_statistics_of_a_network_are_its_own(specs) -> None:
    before = specs.observation_mean.clone()
    network = small(ValueConfig).build(specs, normalize=True)
    network.load_state_dict({name: value + 1.0 for name, value in network.state_dict().items()})
    assert torch.equal(specs.observation_mean, before)


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
    torch.testing.assert_close(kept[kept != 0].unique(), torch.tensor([2.0 / (1 - p)]), rtol=1e-6, atol=0.0)
    assert torch.equal(Dropout(p).eval()(x), x)


def test_dropout_is_independent_between_units_and_between_calls() -> None:
    """What a layer drops looks like noise: over all frequencies of a batch, over its rows, over its units."""
    torch.manual_seed(0)
    dropped = torch.stack([(Dropout(0.3)(torch.ones(256, 128)) == 0).double() - 0.3 for _ in range(100)])
    dropped /= math.sqrt(0.3 * 0.7)  # [100, B, H], of variance 1
    for noise in (dropped, dropped.mT, dropped.movedim(0, -1)):
        sums = noise.sum(-1) / math.sqrt(noise.shape[-1])
        assert sums.var().item() == pytest.approx(1.0, abs=5 * math.sqrt(2 / sums.numel()))
    power = torch.fft.rfft(dropped.flatten(1)).abs().square() / dropped[0].numel()  # exponential, of mean 1
    assert power.max() < math.log(power.numel()) + 7  # the largest of so many, but for one case in a thousand


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


def test_continuous_actions_are_refused_in_one_line_where_discrete_ones_are_needed(specs) -> None:
    for build in (CategoricalActorConfig().build, QValueConfig().build_action_values):
        with pytest.raises(agents.ConfigError, match="discrete actions.*Bounded"):
            build(specs)


def test_values_of_all_actions_equal_the_members_one_by_one(discrete_specs, batch) -> None:
    torch.manual_seed(0)
    members = [small(MLPConfig).layers(5, 3) for _ in range(2)]
    expected = torch.stack([member(batch["observation"]) for member in members], 1)
    torch.testing.assert_close(ActionValueEnsemble(members, [])(batch["observation"]), expected)


def test_values_of_all_actions_are_those_of_scaled_observations(discrete_specs, batch) -> None:
    torch.manual_seed(0)
    network = small(QValueConfig).build_action_values(discrete_specs, normalize=True).module
    scaled = (batch["observation"] - discrete_specs.observation_mean) / (discrete_specs.observation_std + 1e-3)
    values = network(batch["observation"])
    network.normalizer = nn.Identity()
    torch.testing.assert_close(values, network(scaled))


def test_the_value_of_a_discrete_action_is_its_own_among_those_of_all(discrete_specs, discrete_batches) -> None:
    batch = discrete_batches(0)
    networks = []
    for build in (small(QValueConfig).build, small(QValueConfig).build_action_values):
        torch.manual_seed(0)
        networks.append(build(discrete_specs, normalize=True))
    chosen, all_actions = (network(batch.clone()) for network in networks)
    for qvalues, action_value, action in zip(
        chosen["state_action_value"], all_actions["action_value"], batch["action"]
    ):
        assert torch.equal(qvalues, action_value[:, action])


def test_a_categorical_actor_has_a_probability_per_action(discrete_specs, discrete_batches) -> None:
    batch = discrete_batches(0)
    actor = small(CategoricalActorConfig).build(discrete_specs)
    logits = actor[0].module(batch["observation"])
    expected = torch.log_softmax(logits, -1)[torch.arange(16), batch["action"]]
    torch.testing.assert_close(actor.get_dist(batch.clone()).log_prob(batch["action"]), expected)
    assert discrete_specs.action.is_in(actor(batch.clone())["action"])


def test_a_greedy_policy_follows_what_it_was_made_from(discrete_specs, batch) -> None:
    for network in (
        small(QValueConfig).build_action_values(discrete_specs),
        small(CategoricalActorConfig).build(discrete_specs)[0],
    ):
        policy = greedy_policy(network)
        assert not policy.training and network.training
        for best in range(3):
            last = [parameter for parameter in network.parameters() if parameter.shape[-1] == 3][-1]
            with torch.no_grad():
                last.zero_()[..., best] = 1e6  # the bias of one output
            assert (policy(batch.clone())["action"] == best).all()
