"""The diffusion model against the definition of DDPM in plain torch, and against TorchRL's where that applies."""

from __future__ import annotations

import math

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import InteractionType, set_interaction_type
from torch import Tensor, nn
from torchrl.modules import DiffusionActor as TorchRLDiffusionActor

import agents
from agents.networks.configs import DiffusionActorConfig
from agents.networks.diffusion import DiffusionActor, diffusion_policy


def small(specs: agents.Specs, *, std: float = 0.1, **changes: object) -> DiffusionActor:
    torch.manual_seed(0)
    actor = DiffusionActorConfig(hidden_sizes=[8], **changes).build(specs).module
    for parameter in actor.parameters():
        nn.init.normal_(parameter, std=std)
    return actor


def alphas(num_steps: int) -> Tensor:
    """Diffusion-QL's schedule (arXiv 2208.06193, its code's "vp"), step by step."""
    return torch.tensor(
        [math.exp(-0.1 / num_steps - 0.5 * 9.9 * (2 * t - 1) / num_steps**2) for t in range(1, num_steps + 1)]
    )


def scaled(action: Tensor, specs: agents.Specs) -> Tensor:
    low, high = specs.action.space.low, specs.action.space.high
    return 2 * (action - low) / (high - low) - 1


@pytest.mark.parametrize("num_steps", [1, 5, 100])
def test_at_the_end_there_is_noise_alone_whatever_the_number_of_steps(specs, num_steps) -> None:
    kept = small(specs, num_steps=num_steps).alphas_cumprod
    torch.testing.assert_close(kept, alphas(num_steps).cumprod(0))
    assert kept[-1].item() == pytest.approx(math.exp(-5.05), rel=1e-4)


def test_the_denoiser_is_diffusion_qls(specs, batch) -> None:
    """Its model.py in plain torch, but for the order in which action, time and observation lie side by side."""

    def mish(x: Tensor) -> Tensor:
        return x * torch.tanh(torch.log1p(x.exp()))

    network, noisy, t = small(specs).score_network, batch["action"], torch.arange(16.0) % 5
    ours = network(torch.cat([noisy, batch["observation"], t[:, None]], -1))
    angles = t[:, None] * torch.exp(torch.arange(8) * -math.log(10_000) / 7)
    first, _, second = network.embed_time
    time = second(mish(first(torch.cat([angles.sin(), angles.cos()], -1))))
    hidden, _, output = network.layers
    expected = output(mish(hidden(torch.cat([noisy, batch["observation"], time], -1))))
    torch.testing.assert_close(ours, expected)


def test_noise_is_added_to_actions_in_halves_of_their_range(specs, batch) -> None:
    actor, t = small(specs), torch.arange(16) % 5
    torch.manual_seed(1)
    noisy, noise = actor.add_noise(batch["action"], t)
    torch.manual_seed(1)
    assert torch.equal(noise, torch.randn(16, 3))
    kept = alphas(5).cumprod(0)[t][:, None]
    expected = kept.sqrt() * scaled(batch["action"], specs) + (1 - kept).sqrt() * noise
    torch.testing.assert_close(noisy, expected)


@pytest.mark.parametrize("std", [0.1, 1.0])
def test_the_way_back_is_that_of_ddpm(specs, batch, std) -> None:
    """Equations 7 and 12 of arXiv 2006.11239, and x_0 clipped to the bounds, which matters to the second network."""
    actor, num_steps = small(specs, std=std), 5
    noise = torch.randn(2, num_steps, 3)
    alpha, observation = alphas(num_steps), batch["observation"]
    kept, clipped = alpha.cumprod(0), 0
    for k in range(2):
        x = noise[k, 0].expand(16, -1)
        for t in reversed(range(num_steps)):
            eps = actor.score_network(torch.cat([x, observation, torch.full((16, 1), float(t))], -1))
            x_0 = (x - (1 - kept[t]).sqrt() * eps) / kept[t].sqrt()
            clipped += int((x_0.abs() > 1).sum())
            before = kept[t - 1] if t else torch.ones(())
            mean = (before.sqrt() * (1 - alpha[t]) * x_0.clamp(-1, 1) + alpha[t].sqrt() * (1 - before) * x) / (
                1 - kept[t]
            )
            variance = (1 - before) / (1 - kept[t]) * (1 - alpha[t])
            x = mean + variance.sqrt() * (noise[k, t] if t else 0)
        drawn = actor.draw(observation, noise)[:, k]
        torch.testing.assert_close(scaled(drawn, specs), x, rtol=1e-4, atol=1e-5)
    assert clipped > 0


def test_without_noise_and_clipping_it_is_torchrls_deterministic_chain(specs, batch) -> None:
    actor = small(specs, std=0.02)
    theirs = TorchRLDiffusionActor(action_dim=3, score_network=actor.score_network, num_steps=5)
    theirs.module.alphas, theirs.module.betas = alphas(5), 1 - alphas(5)
    theirs.module.alphas_cumprod = alphas(5).cumprod(0)
    with set_interaction_type(InteractionType.DETERMINISTIC):
        expected = theirs(batch.select("observation"))["action"]
    ours = scaled(actor(batch["observation"]), specs)
    assert 0.01 < ours.abs().max() < 1.0
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_the_policy_is_the_sample_of_its_own_noise(specs, batch) -> None:
    full, half = small(specs, noise_scale=1.0), small(specs, noise_scale=0.5)
    torch.testing.assert_close(half.noise, full.noise / 2)
    assert full.noise.std() > 0.5
    action = full(batch["observation"])
    torch.testing.assert_close(action, full.draw(batch["observation"], full.noise[None])[:, 0])
    assert not torch.allclose(action, half(batch["observation"]))
    torch.manual_seed(1)  # which would draw another noise, if it were not its own
    actor = DiffusionActorConfig(hidden_sizes=[8], noise_scale=1.0).build(specs)
    assert torch.equal(actor.module.noise, full.noise)
    assert not small(specs).noise.any()
    policy = diffusion_policy(actor)
    expected = actor.module(batch["observation"])
    assert torch.equal(policy(TensorDict({"observation": batch["observation"]}, [16]))["action"], expected)


def test_observations_are_scaled_by_the_network(specs, batch) -> None:
    torch.manual_seed(0)
    raw = DiffusionActorConfig(hidden_sizes=[8]).build(specs)
    torch.manual_seed(0)
    scaling = DiffusionActorConfig(hidden_sizes=[8]).build(specs, normalize=True)
    moved = (batch["observation"] - specs.observation_mean) / (specs.observation_std + 1e-3)
    torch.testing.assert_close(scaling.module(batch["observation"]), raw.module(moved))


@pytest.mark.parametrize("settings", [{"num_steps": 0}, {"noise_scale": -1.0}, {"dropout": 1.0}])
def test_settings_out_of_range_are_refused_by_name_and_value(settings) -> None:
    name, value = next(iter(settings.items()))
    with pytest.raises(agents.ConfigError, match=rf"{name} must .* got {value}$"):
        DiffusionActorConfig(**settings)
