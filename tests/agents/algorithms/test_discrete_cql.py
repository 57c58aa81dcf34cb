from __future__ import annotations

import pytest
import torch

import agents
from agents.networks.configs import QValueConfig
from agents.training.adam import AdamConfig


def test_the_defaults_are_those_of_the_sources() -> None:
    """alpha: official Atari code and d3rlpy. The rest: TorchRL's discrete_offline_config.yaml."""
    assert agents.DiscreteCQLConfig() == agents.DiscreteCQLConfig(
        alpha=1.0,
        gamma=0.99,
        loss_function="l2",
        target_tau=0.005,
        target_every=1,
        normalize_observations=False,
        max_grad_norm=None,
        qvalue=QValueConfig([256, 256], "relu", 0.0, False, "orthogonal", num_nets=1),
        critic_optimizer=AdamConfig(lr=3e-4, decay_steps=None),
    )


def test_without_its_penalty_it_is_dqn(discrete_specs, discrete_batches) -> None:
    """Half of its loss, which Adam does not notice."""
    policies = []
    for config in (agents.DiscreteCQLConfig(alpha=0.0), agents.DQNConfig()):
        torch.manual_seed(0)
        agent = config.build(discrete_specs)
        for seed in range(5):
            losses = agent.update(discrete_batches(seed))
        policies.append((losses["qvalue"], agent.policy(discrete_batches(9))["action"]))
    torch.testing.assert_close(*policies)


def test_actions_that_the_data_lack_get_low_values(discrete_specs, discrete_batches) -> None:
    """No action but 0 and 1, equally paid: what DQN leaves to chance, CQL puts below."""
    policies = {}
    for config in (agents.DiscreteCQLConfig, agents.DQNConfig):
        torch.manual_seed(0)
        qvalue, optimizer = QValueConfig(hidden_sizes=[16], num_nets=1), AdamConfig(lr=1e-2)
        agent = config(qvalue=qvalue, critic_optimizer=optimizer).build(discrete_specs)
        for seed in range(100):
            batch = discrete_batches(seed, 64)
            batch["action"] = batch["action"] % 2
            agent.update(batch)
        policies[config] = agent.policy(discrete_batches(1000, 256))["action"]
    assert (policies[agents.DiscreteCQLConfig] < 2).all()
    assert (policies[agents.DQNConfig] == 2).any()


@pytest.mark.parametrize(("setting", "value"), [("alpha", -1.0), ("gamma", 1.5), ("target_tau", 0.0)])
def test_settings_out_of_range_are_refused_by_name_and_value(setting, value) -> None:
    with pytest.raises(agents.ConfigError, match=rf"{setting} must .* got {value}$"):
        agents.DiscreteCQLConfig(**{setting: value})
