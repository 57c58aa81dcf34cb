"""Decision Transformer's defaults and preset against their sources, and the return that its policy asks for."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hydra import compose, initialize_config_dir
from tensordict import TensorDict

import agents
from agents.checkpoint import load, load_policy, save
from agents.networks.transformer import TransformerConfig
from agents.training.adam import WarmUpAdamConfig
from recipes.settings import command_line, schema


def tiny(**changes: object) -> agents.DTConfig:
    return agents.DTConfig(context_length=4, actor=TransformerConfig(width=8, num_layers=1), **changes)


def asked_for(policy) -> float:
    """The return that a policy asks for at the first step of an episode."""
    return policy(TensorDict({"observation": torch.zeros(1, 5)}, [1]))["memory", "return_to_go"].item()


def test_the_defaults_are_those_of_the_authors_code() -> None:
    assert agents.DTConfig() == agents.DTConfig(
        target_return=None,
        return_scale=1000.0,
        context_length=20,
        max_episode_steps=1000,
        normalize_observations=True,
        max_grad_norm=0.25,
        actor=TransformerConfig(width=128, num_layers=3, num_heads=1, activation="relu", dropout=0.1),
        actor_optimizer=WarmUpAdamConfig(lr=1e-4, weight_decay=1e-4, warm_up=10_000),
    )


def test_the_preset_brings_its_batch_size_which_the_command_line_can_change() -> None:
    command_line.register()
    with initialize_config_dir(str(schema.CONF), version_base="1.3"):
        sizes = [compose("train", overrides).batch_size for overrides in (["algorithm=dt"], ["algorithm=iql"])]
        sizes += [compose("train", [*typed]).batch_size for typed in (("batch_size=7", "algorithm=dt"),)]
    assert sizes == [64, 256, 7]


def test_the_agent_asks_for_windows(specs) -> None:
    sampling = tiny().build(specs).sampling
    assert sampling["context_length"] == 4
    assert {"return_to_go", "step_count", "mask"} <= set(sampling["keys"])
    assert agents.IQLConfig().build(specs).sampling["context_length"] is None


def test_the_policy_asks_for_the_best_return_of_the_data_unless_told_otherwise(specs) -> None:
    assert asked_for(tiny().build(specs).policy) == specs.max_return == 7.0
    assert asked_for(tiny(target_return=-3.0).build(specs).policy) == -3.0
    unknown = dataclasses.replace(specs, max_return=None)
    with pytest.raises(agents.ConfigError, match="set target_return"):
        tiny().build(unknown)
    assert asked_for(tiny(target_return=5.0).build(unknown).policy) == 5.0


def test_a_checkpoint_knows_what_to_ask_for_without_the_data(specs, tmp_path) -> None:
    config = tiny()
    path = save(tmp_path / "a", config.build(specs), config=config, specs=specs)
    assert asked_for(load_policy(path)) == load(path).specs().max_return == 7.0
    assert asked_for(dataclasses.replace(config, target_return=2.0).build(load(path).specs()).policy) == 2.0


def test_the_learning_rate_rises_in_a_straight_line(specs, batches_for) -> None:
    agent = tiny(actor_optimizer=WarmUpAdamConfig(lr=1.0, warm_up=4)).build(specs)
    rates = []
    for seed in range(6):
        agent.update(batches_for(specs, agent)(seed))
        rates.append(agent.learning_rates["lr_actor"])
    assert rates == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_it_learns_to_act_as_the_return_asks_it_to(specs) -> None:
    """In episodes of one step whose return says which of two actions was taken."""
    config = tiny(return_scale=1.0, actor_optimizer=WarmUpAdamConfig(lr=1e-2, warm_up=1))
    config = dataclasses.replace(config, actor=TransformerConfig(width=16, num_layers=1, dropout=0.0))
    low, high = torch.tensor([-0.5, -1.0, 1.0]), torch.tensor([0.5, 0.0, 3.0])
    torch.manual_seed(0)
    agent = config.build(specs)
    for _ in range(200):
        good = torch.rand(32, 1, 1) < 0.5
        windows = TensorDict(
            {
                "observation": torch.randn(32, 1, 5),
                "action": torch.where(good, high, low),
                "return_to_go": good.float(),
                "step_count": torch.zeros(32, 1, 1, dtype=torch.int64),
                "mask": torch.ones(32, 1, dtype=torch.bool),
            },
            [32, 1],
        )
        agent.update(windows)
    for target_return, action in ((1.0, high), (0.0, low)):
        agent.policy.module.target_return = target_return
        acted = agent.policy(TensorDict({"observation": torch.zeros(1, 5)}, [1]))["action"]
        torch.testing.assert_close(acted[0], action, atol=0.1, rtol=0.0)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("target_return", float("nan")), ("return_scale", 0.0), ("context_length", 0), ("max_episode_steps", 0)],
)
def test_settings_out_of_range_are_refused_by_name_and_value(setting, value) -> None:
    with pytest.raises(agents.ConfigError, match=rf"{setting} must .* got {value}$"):
        agents.DTConfig(**{setting: value})


def test_a_warm_up_out_of_range_is_refused() -> None:
    with pytest.raises(agents.ConfigError, match="warm_up must be at least 1, got 0"):
        WarmUpAdamConfig(warm_up=0)
