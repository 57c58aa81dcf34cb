"""SAC is TorchRL's loss with the paper's settings; what it shows offline is a critic that overrates."""

from __future__ import annotations

import math

import pytest
import torch
from torchrl.objectives import SACLoss

import agents
from agents.networks.configs import ActorConfig, QValueConfig
from agents.training.adam import AdamConfig


def small(**settings) -> agents.SACConfig:
    return agents.SACConfig(actor=ActorConfig([8], distribution="tanh_normal"), qvalue=QValueConfig([8]), **settings)


def test_the_loss_is_torchrls_and_the_settings_reach_it(specs) -> None:
    loss = small(alpha_init=0.5, gamma=0.9, target_entropy=-7.0).build(specs).loss_module
    assert isinstance(loss, SACLoss)
    assert (loss.loss_function, loss.num_qvalue_nets, loss.target_entropy.item()) == ("l2", 2, -7.0)
    torch.testing.assert_close(loss.log_alpha.exp().item(), 0.5)
    torch.testing.assert_close(loss.value_estimator.gamma.item(), 0.9)


def test_the_target_entropy_is_one_nat_less_than_uniform_half_ranges(specs) -> None:
    half_range = (specs.action.space.high - specs.action.space.low) / 2
    expected = -3.0 + sum(math.log(value) for value in half_range)
    assert small().build(specs).loss_module.target_entropy.item() == pytest.approx(expected)


def test_alpha_falls_while_the_policy_is_more_random_than_asked(specs, batches) -> None:
    for target_entropy, sign in ((-100.0, -1.0), (100.0, 1.0)):
        torch.manual_seed(0)
        agent = small(target_entropy=target_entropy, alpha_optimizer=AdamConfig(lr=1e-2)).build(specs)
        alphas = [agent.update(batches(seed))["alpha"].item() for seed in range(10)]
        assert sign * (alphas[-1] - alphas[0]) > 0.05


def test_the_defaults_are_the_papers() -> None:
    assert agents.SACConfig() == agents.SACConfig(
        alpha_init=1.0,
        target_entropy=None,
        gamma=0.99,
        target_tau=0.005,
        actor=ActorConfig([256, 256], "relu", 0.0, False, "default", "tanh_normal", log_std_min=-20.0, log_std_max=2.0),
        qvalue=QValueConfig([256, 256], "relu", 0.0, False, "default", num_nets=2),
        actor_optimizer=AdamConfig(lr=3e-4),
        critic_optimizer=AdamConfig(lr=3e-4),
        alpha_optimizer=AdamConfig(lr=3e-4),
    )


@pytest.mark.parametrize(
    ("setting", "value"),
    [("alpha_init", 0.0), ("target_entropy", math.inf), ("gamma", 1.5), ("target_tau", 0.0)],
)
def test_settings_out_of_range_are_refused_by_name_and_value(setting, value) -> None:
    with pytest.raises(agents.ConfigError, match=rf"{setting} must .* got {value}$"):
        agents.SACConfig(**{setting: value})
