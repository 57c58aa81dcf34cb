"""CQL's config: the groups of parameters that Lagrange adds, CORL's settings, and what the objective is for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tensordict import TensorDict
from torchrl.data import Bounded

import agents
from agents.networks.configs import ActorConfig, MLPConfig
from agents.training.adam import AdamConfig
from agents.training.agent import Agent


def small(**settings) -> agents.CQLConfig:
    return agents.CQLConfig(
        actor=ActorConfig([16], distribution="tanh_normal"), qvalue=MLPConfig([16]), num_random=4, **settings
    )


def test_the_settings_reach_the_loss(specs) -> None:
    config = small(min_q_weight=2.0, lagrange_threshold=3.0, alpha_init=0.5, target_entropy=-7.0, gamma=0.9)
    loss = config.build(specs).loss_module
    assert (loss.min_q_weight, loss.target_action_gap, loss.num_random, loss.loss_function) == (2.0, 3.0, 4, "l2")
    assert loss.target_entropy.item() == -7.0
    torch.testing.assert_close(loss.log_alpha.exp().item(), 0.5)
    torch.testing.assert_close(loss.value_estimator.gamma.item(), 0.9)


def test_alpha_prime_is_there_with_a_threshold_only(specs, batch) -> None:
    with_lagrange, without = small(lagrange_threshold=5.0).build(specs), small().build(specs)
    names = {"lr_actor", "lr_critic", "lr_alpha"}
    assert set(without.learning_rates) == names
    assert set(with_lagrange.learning_rates) == names | {"lr_alpha_prime"}
    added = set(with_lagrange.update(batch).keys()) - set(without.update(batch).keys())
    assert added == {"loss_alpha_prime", "alpha_prime"}


def test_a_locked_dimension_leaves_the_penalty_finite(specs, batch) -> None:
    """Of random actions it is as likely as a dimension in +-1, in which the policy's likelihood counts it too."""
    low, high = specs.action.space.low.clone(), specs.action.space.high.clone()
    log_densities = []
    for low[2], high[2] in ((-1.0, 1.0), (0.5, 0.5)):
        loss = small().build(replace(specs, action=Bounded(low.clone(), high.clone()))).loss_module
        log_densities.append(loss._uniform_actions(torch.zeros(4, 3))[1])
    torch.testing.assert_close(*log_densities)


def overrating(agent: Agent, batches: Callable[[int], TensorDict], specs: agents.Specs) -> float:
    """Q of random actions above Q of the data's, mean over states and critics, after some updates."""
    fixed = batches(0)
    low, high = specs.action.space.low, specs.action.space.high
    fixed["action"] = low + 0.25 * (high - low) + 0.1 * fixed["action"]  # data that cover a part of the actions
    for _ in range(40):
        agent.update(fixed)
    loss = agent.loss_module
    others = fixed.clone()
    others["action"] = low + (high - low) * torch.rand(16, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        of_data, of_others = (
            loss._vmap_qvalue_networkN0(td.select("observation", "action"), loss.qvalue_network_params)[
                "state_action_value"
            ]
            for td in (fixed, others)
        )
    return (of_others - of_data).mean().item()


def test_a_larger_weight_rates_actions_outside_the_data_lower(specs, batches) -> None:
    gaps = []
    for weight in (0.0, 1.0, 10.0):
        torch.manual_seed(0)
        config = small(min_q_weight=weight, critic_optimizer=AdamConfig(lr=1e-2))
        gaps.append(overrating(config.build(specs), batches, specs))
    assert gaps[0] > gaps[1] > gaps[2]


def test_alpha_prime_grows_while_the_gap_is_above_the_threshold(specs, batch) -> None:
    for threshold, sign in ((-50.0, 1.0), (50.0, -1.0)):
        torch.manual_seed(0)
        agent = small(lagrange_threshold=threshold, alpha_prime_optimizer=AdamConfig(lr=1e-2)).build(specs)
        weights = [agent.update(batch)["alpha_prime"].item() for _ in range(10)]
        assert weights[0] == 1.0 and sign * (weights[-1] - 1.0) > 0.05


def test_the_defaults_are_corls_on_adroit() -> None:
    hidden_sizes = [256, 256, 256]
    assert agents.CQLConfig() == agents.CQLConfig(
        min_q_weight=1.0,
        lagrange_threshold=None,
        num_random=10,
        alpha_init=1.0,
        target_entropy=None,
        gamma=0.99,
        target_tau=0.005,
        normalize_observations=True,
        actor=ActorConfig(hidden_sizes, "relu", 0.0, False, "default", "tanh_normal", log_std_min=-20.0),
        qvalue=MLPConfig(hidden_sizes, "relu", 0.0, False, "orthogonal"),
        actor_optimizer=AdamConfig(lr=1e-4),
        critic_optimizer=AdamConfig(lr=3e-4),
        alpha_optimizer=AdamConfig(lr=1e-4),
        alpha_prime_optimizer=AdamConfig(lr=3e-4),
    )


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("min_q_weight", -1.0),
        ("lagrange_threshold", math.inf),
        ("num_random", 0),
        ("alpha_init", 0.0),
        ("target_entropy", math.nan),
        ("gamma", 1.5),
        ("target_tau", 0.0),
    ],
)
def test_settings_out_of_range_are_refused_by_name_and_value(setting, value) -> None:
    with pytest.raises(agents.ConfigError, match=rf"{setting} must .* got {value}$"):
        agents.CQLConfig(**{setting: value})
