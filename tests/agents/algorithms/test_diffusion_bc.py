"""Diffusion behaviour cloning: its loss against the equation, its defaults, and what only it can clone."""

from __future__ import annotations

import torch
from tensordict import TensorDict

import agents
from agents.networks.configs import DiffusionActorConfig
from agents.training.adam import AdamConfig


def test_the_defaults_are_diffusion_qls() -> None:
    assert agents.DiffusionBCConfig() == agents.DiffusionBCConfig(
        normalize_observations=False,
        max_grad_norm=None,
        actor=DiffusionActorConfig(
            hidden_sizes=[256, 256, 256], activation="mish", dropout=0.0, init="default", num_steps=5, noise_scale=0.0
        ),
        actor_optimizer=AdamConfig(lr=3e-4),
    )


def test_the_loss_is_the_squared_error_of_the_predicted_noise(specs, batch) -> None:
    torch.manual_seed(0)
    loss = agents.DiffusionBCConfig(actor=DiffusionActorConfig(hidden_sizes=[8])).build(specs).loss_module
    network = loss.actor_network
    with loss.actor_network_params.to_module(network):
        torch.manual_seed(1)
        ours = loss(batch.clone())["loss_diffusion_bc"]
        torch.manual_seed(1)
        t, noise = torch.randint(0, 5, (16,)), torch.randn(16, 3)
        kept = network.module.alphas_cumprod[t][:, None]
        low, high = specs.action.space.low, specs.action.space.high
        noisy = kept.sqrt() * (2 * (batch["action"] - low) / (high - low) - 1) + (1 - kept).sqrt() * noise
        predicted = network.module.score_network(torch.cat([noisy, batch["observation"], t[:, None].float()], -1))
    torch.testing.assert_close(ours, (predicted - noise).square().mean())


def test_of_two_ways_to_act_it_clones_both_and_nothing_in_between(specs) -> None:
    """In the data, all dimensions are either 0.7 half ranges above the centre, or as much below it."""
    config = agents.DiffusionBCConfig(
        actor=DiffusionActorConfig(hidden_sizes=[64, 64]),
        actor_optimizer=AdamConfig(lr=1e-2, decay_steps=600),
    )
    torch.manual_seed(0)
    agent = config.build(specs)
    network = agent.policy.module
    for _ in range(600):
        side = torch.randint(0, 2, (128, 1)) * 2.0 - 1.0
        action = network.action_center + network.action_half_range * 0.7 * side.expand(-1, 3)
        agent.update(TensorDict({"observation": torch.randn(128, 5), "action": action}, [128]))
    with torch.no_grad():
        drawn = network.draw(torch.zeros(1, 5), torch.randn(200, 5, 3))[0]
    position = (drawn - network.action_center) / network.action_half_range
    near = (position.abs() - 0.7).abs().amax(-1) < 0.25
    assert near.float().mean() > 0.7
    upper = (position > 0).all(-1)
    assert 0.3 < upper.float().mean() < 0.7
    assert ((position > 0).all(-1) | (position < 0).all(-1)).float().mean() > 0.9
