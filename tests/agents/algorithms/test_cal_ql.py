"""Cal-QL's defaults against the source that they name, and what its agent draws."""

from __future__ import annotations

import pytest

import agents
from agents.networks.configs import ActorConfig, QValueConfig
from agents.training.adam import AdamConfig
from agents.training.online import OnlineConfig


def test_the_defaults_are_corls_on_adroit() -> None:
    hidden_sizes = [256, 256, 256]
    assert agents.CalQLConfig() == agents.CalQLConfig(
        min_q_weight=1.0,
        lagrange_threshold=None,
        num_random=10,
        max_target_backup=True,
        gamma=0.99,
        target_tau=0.005,
        alpha_init=1.0,
        target_entropy=None,
        normalize_observations=False,
        actor=ActorConfig(hidden_sizes, "relu", 0.0, False, "orthogonal", "tanh_normal", log_std_min=-20.0),
        qvalue=QValueConfig(hidden_sizes, "relu", 0.0, False, "orthogonal", num_nets=2),
        actor_optimizer=AdamConfig(lr=1e-4),
        critic_optimizer=AdamConfig(lr=3e-4),
        alpha_optimizer=AdamConfig(lr=1e-4),
        alpha_prime_optimizer=AdamConfig(lr=3e-4),
    )
    assert agents.CalQLConfig.online == OnlineConfig(offline_share=0.5, updates_per_step=1, whole_episodes=True)


def test_the_agent_asks_for_returns_with_its_own_discount(specs) -> None:
    sampling = agents.CalQLConfig(gamma=0.9).build(specs).sampling
    assert "discounted_return" in sampling["keys"] and sampling["gamma"] == 0.9
    assert "discounted_return" not in agents.CQLConfig().build(specs).sampling["keys"]


@pytest.mark.parametrize(
    ("setting", "value"), [("min_q_weight", -0.5), ("num_random", 0), ("alpha_init", 0.0), ("gamma", 1.5)]
)
def test_settings_out_of_range_are_refused_by_name_and_value(setting, value) -> None:
    with pytest.raises(agents.ConfigError, match=rf"{setting} must .* got {value}$"):
        agents.CalQLConfig(**{setting: value})
