"""AWAC's defaults against the source that they name."""

from __future__ import annotations

import pytest
import torch

import agents
from agents.networks.configs import ActorConfig, QValueConfig
from agents.training.adam import AdamConfig


def test_the_defaults_are_corls_on_adroit() -> None:
    """github.com/corl-team/CORL: algorithms/offline/awac.py and its configs for pen, door, hammer and relocate."""
    assert agents.AWACConfig() == agents.AWACConfig(
        temperature=1 / 0.1,
        advantage_clip=100.0,
        gamma=0.99,
        target_tau=0.005,
        normalize_observations=True,
        actor=ActorConfig([256] * 3, init="default", log_std_min=-20.0, log_std_max=2.0),
        qvalue=QValueConfig([256] * 3, init="default", num_nets=2),
        actor_optimizer=AdamConfig(lr=3e-4),
        critic_optimizer=AdamConfig(lr=3e-4),
    )


def test_a_zero_temperature_is_behaviour_cloning(specs, batches) -> None:
    actor = ActorConfig(hidden_sizes=[8])
    torch.manual_seed(0)
    awac = agents.AWACConfig(temperature=0.0, actor=actor, normalize_observations=False).build(specs)
    torch.manual_seed(0)
    bc = agents.BCConfig(actor=actor).build(specs)
    for seed in range(5):
        losses = awac.update(batches(seed))["loss_actor"], bc.update(batches(seed))["loss_bc"]
        torch.testing.assert_close(*losses)


@pytest.mark.parametrize(("setting", "value"), [("temperature", -0.5), ("gamma", 1.5), ("target_tau", 0.0)])
def test_settings_out_of_range_are_refused_by_name_and_value(setting, value) -> None:
    with pytest.raises(agents.ConfigError, match=rf"{setting} must .* got {value}$"):
        agents.AWACConfig(**{setting: value})
