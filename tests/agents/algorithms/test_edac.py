"""EDAC's config, and SAC-N's as its case: the authors' settings, and what an ensemble is for."""

from __future__ import annotations

import math

import pytest
import torch

import agents
from agents.networks.configs import ActorConfig, QValueConfig
from agents.training.adam import AdamConfig


def small(num_nets: int = 3, **settings) -> agents.EDACConfig:
    actor = ActorConfig([8], distribution="tanh_normal")
    return agents.EDACConfig(actor=actor, qvalue=QValueConfig([8], num_nets=num_nets), **settings)


def test_the_settings_reach_the_loss(specs) -> None:
    settings = {"eta": 2.0, "gamma": 0.9, "target_entropy": -7.0, "max_q_backup": True}
    loss = small(alpha_init=0.5, **settings).build(specs).loss_module
    assert {name: getattr(loss, name) for name in settings} == settings
    torch.testing.assert_close(loss.log_alpha.exp().item(), 0.5)


def test_a_larger_ensemble_is_more_careful(specs, batches) -> None:
    qvalues = []
    for num_nets in (2, 32):
        torch.manual_seed(0)
        agent = small(num_nets, eta=0.0, critic_optimizer=AdamConfig(lr=1e-2), target_tau=0.1).build(specs)
        qvalues.append([agent.update(batches(seed))["qvalue"].item() for seed in range(60)][-1])
    assert qvalues[1] < qvalues[0] - 1.0


def test_the_defaults_are_the_authors_on_adroit() -> None:
    hidden_sizes = [256, 256, 256]
    assert agents.EDACConfig() == agents.EDACConfig(
        eta=10.0,
        max_q_backup=False,
        alpha_init=1.0,
        target_entropy=None,
        gamma=0.99,
        target_tau=0.005,
        normalize_observations=False,
        actor=ActorConfig(hidden_sizes, "relu", 0.0, False, "default", "tanh_normal", log_std_min=-5.0),
        qvalue=QValueConfig(hidden_sizes, "relu", 0.0, False, "default", num_nets=20),
        actor_optimizer=AdamConfig(lr=3e-5),
        critic_optimizer=AdamConfig(lr=3e-4),
        alpha_optimizer=AdamConfig(lr=3e-5),
    )


def test_a_single_critic_is_refused() -> None:
    with pytest.raises(agents.ConfigError, match=r"qvalue.num_nets must be at least 2, got 1$"):
        small(num_nets=1)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("eta", -1.0), ("alpha_init", 0.0), ("target_entropy", math.inf), ("gamma", 1.5), ("target_tau", 0.0)],
)
def test_settings_out_of_range_are_refused_by_name_and_value(setting, value) -> None:
    with pytest.raises(agents.ConfigError, match=rf"{setting} must .* got {value}$"):
        agents.EDACConfig(**{setting: value})
