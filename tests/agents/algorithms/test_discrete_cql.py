"""Conservative Q-learning on discrete actions, and double DQN, which is what it is without its penalty."""

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
    for config in (agents.DiscreteCQLConfig(alpha=0.0), agents.DiscreteCQLConfig(alpha=None)):
        torch.manual_seed(0)
        agent = config.build(discrete_specs)
        for seed in range(5):
            losses = agent.update(discrete_batches(seed))
        policies.append((losses["qvalue"], agent.policy(discrete_batches(9))["action"]))
    torch.testing.assert_close(*policies)


def test_actions_that_the_data_lack_get_low_values(discrete_specs, discrete_batches) -> None:
    """No action but 0 and 1, equally paid: what DQN leaves to chance, CQL puts below."""
    policies = {}
    for alpha in (1.0, None):
        torch.manual_seed(0)
        qvalue, optimizer = QValueConfig(hidden_sizes=[16], num_nets=1), AdamConfig(lr=1e-2)
        config = agents.DiscreteCQLConfig(alpha=alpha, qvalue=qvalue, critic_optimizer=optimizer)
        agent = config.build(discrete_specs)
        for seed in range(100):
            batch = discrete_batches(seed, 64)
            batch["action"] = batch["action"] % 2
            agent.update(batch)
        policies[alpha] = agent.policy(discrete_batches(1000, 256))["action"]
    assert (policies[1.0] < 2).all()
    assert (policies[None] == 2).any()


def test_the_policy_takes_the_action_of_largest_mean_value(discrete_specs, discrete_batches) -> None:
    agent = agents.DiscreteCQLConfig(alpha=None, qvalue=QValueConfig(hidden_sizes=[8], num_nets=3)).build(
        discrete_specs
    )
    observation = discrete_batches(0)["observation"]
    with agent.loss_module.qvalue_network_params.to_module(agent.loss_module.qvalue_network):
        action_value = agent.loss_module.qvalue_network.module(observation)  # [B, N, A]
    assert torch.equal(agent.policy.module(observation), action_value.mean(1).argmax(-1))


def test_targets_can_be_copied_now_and_then_instead(discrete_specs, discrete_batches) -> None:
    config = agents.DiscreteCQLConfig(alpha=None, target_tau=1.0, target_every=3, qvalue=QValueConfig(hidden_sizes=[8]))
    agent = config.build(discrete_specs)
    loss = agent.loss_module
    for seed in range(6):
        agent.update(discrete_batches(seed))
        pairs = zip(loss.qvalue_network_params.values(True, True), loss.target_qvalue_network_params.values(True, True))
        assert all(torch.equal(value, target) for value, target in pairs) == (agent.num_updates % 3 == 0)


def test_the_value_of_a_one_step_task_is_its_reward(discrete_specs, discrete_batches) -> None:
    """A reward for one of three actions, and the end: Q is the reward of each, the policy takes the paid one."""
    torch.manual_seed(0)
    qvalue, optimizer = QValueConfig(hidden_sizes=[16], num_nets=1), AdamConfig(lr=1e-2)
    agent = agents.DiscreteCQLConfig(alpha=None, qvalue=qvalue, critic_optimizer=optimizer).build(discrete_specs)
    for seed in range(300):
        batch = discrete_batches(seed, 64)
        batch["next", "reward"] = (batch["action"] == 1).float()[:, None]
        batch["next", "terminated"] = torch.ones(64, 1, dtype=torch.bool)
        statistics = agent.update(batch)
    assert statistics["loss_qvalue"] < 0.02
    assert (agent.policy(discrete_batches(1000))["action"] == 1).all()


@pytest.mark.parametrize(
    ("setting", "value"), [("alpha", -1.0), ("gamma", 1.5), ("target_tau", 0.0), ("target_every", 0)]
)
def test_settings_out_of_range_are_refused_by_name_and_value(setting, value) -> None:
    with pytest.raises(agents.ConfigError, match=rf"{setting} must .* got {value}$"):
        agents.DiscreteCQLConfig(**{setting: value})
