"""IQL's presets, each against the source that it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import agents
from agents.algorithms.registry import tuned
from agents.networks.actors import NormalActor
from agents.networks.configs import ActorConfig, QValueConfig, ValueConfig
from agents.training.adam import AdamConfig
from recipes.settings import command_line, schema

# temperature and expectile of IQL in the ReBRAC paper (arXiv 2305.09836), its tables of tuned baselines on Adroit
REBRAC = {
    "pen": {"human": (1.0, 0.95), "cloned": (10.0, 0.9), "expert": (10.0, 0.8)},
    "door": {"human": (0.5, 0.9), "cloned": (6.0, 0.7), "expert": (0.5, 0.7)},
    "hammer": {"human": (3.0, 0.9), "cloned": (6.0, 0.7), "expert": (0.5, 0.95)},
    "relocate": {"human": (1.0, 0.95), "cloned": (6.0, 0.9), "expert": (10.0, 0.9)},
}


@pytest.fixture
def preset() -> Callable[..., agents.IQLConfig]:
    """What ``algorithm=<name>`` means in a run of 1000 updates."""
    command_line.register()

    def compose_preset(name: str, dataset: str = "demo/pen/mixed-v1") -> agents.IQLConfig:
        with initialize_config_dir(str(schema.CONF), version_base="1.3"):
            run = compose("train", [f"algorithm={name}", f"dataset={dataset}", "gradient_steps=1000"])
        return OmegaConf.to_object(run.algorithm)

    return compose_preset


def corl(**settings: float) -> agents.IQLConfig:
    """CORL's algorithms/offline/iql.py with its configs for Adroit."""
    return agents.IQLConfig(
        **{"expectile": 0.8, "temperature": 3.0, **settings},
        normalize_observations=True,
        actor=ActorConfig(init="default", dropout=0.0, log_std_min=-20.0, log_std_max=2.0),
        qvalue=QValueConfig(init="default"),
        value=ValueConfig(init="default"),
        actor_optimizer=AdamConfig(lr=3e-4, decay_steps=1000),
    )


def test_the_defaults_are_the_official_codes_on_adroit() -> None:
    assert agents.IQLConfig() == agents.IQLConfig(
        expectile=0.7,
        temperature=0.5,
        advantage_clip=100.0,
        gamma=0.99,
        loss_function="l2",
        target_tau=0.005,
        normalize_observations=False,
        max_grad_norm=None,
        actor=ActorConfig([256, 256], "relu", 0.1, False, "orthogonal", "normal", log_std_min=-5.0, log_std_max=2.0),
        qvalue=QValueConfig([256, 256], "relu", 0.0, False, "orthogonal", num_nets=2),
        value=ValueConfig([256, 256], "relu", 0.0, False, "orthogonal"),
        actor_optimizer=AdamConfig(lr=3e-4),
        critic_optimizer=AdamConfig(lr=3e-4, decay_steps=None),
    )


def test_the_presets_are_what_they_say(preset) -> None:
    decayed = AdamConfig(lr=3e-4, decay_steps=1000)  # the actor's rate alone, over the whole run
    assert preset("iql_official") == agents.IQLConfig(actor_optimizer=decayed)
    deep = [256, 256, 256]
    assert preset("iql") == agents.IQLConfig(
        normalize_observations=True,
        scale_advantage=True,
        temperature=1.0,
        actor=ActorConfig(deep, dropout=0.1),
        qvalue=QValueConfig(deep, layer_norm=True),
        value=ValueConfig(deep, layer_norm=True),
        actor_optimizer=decayed,
    )
    assert preset("iql_corl") == corl()
    assert preset("iql_tuned", "D4RL/hammer/expert-v2") == corl(temperature=0.5, expectile=0.95)
    official = {"actor": ActorConfig(dropout=0.0), "actor_optimizer": decayed}
    assert preset("iql_locomotion") == agents.IQLConfig(expectile=0.7, temperature=3.0, **official)
    assert preset("iql_antmaze") == agents.IQLConfig(expectile=0.9, temperature=10.0, **official)


def test_the_tuned_table_is_the_papers() -> None:
    for task, kinds in REBRAC.items():
        for kind, (temperature, expectile) in kinds.items():
            assert tuned("iql", f"D4RL/{task}/{kind}-v2") == {"temperature": temperature, "expectile": expectile}


def test_a_dataset_without_tuned_settings_is_refused_with_those_that_have_some() -> None:
    with pytest.raises(agents.ConfigError, match=r"'demo/pen/mixed-v1'; .*D4RL/pen/human-v2.*D4RL/relocate/expert-v2$"):
        tuned("iql", "demo/pen/mixed-v1")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("expectile", 1.0),
        ("expectile", 0.0),
        ("temperature", -0.5),
        ("advantage_clip", 0.0),
        ("gamma", 1.5),
        ("gamma", -0.5),
        ("target_tau", 0.0),
        ("target_tau", 1.5),
        ("max_grad_norm", 0.0),
    ],
)
def test_settings_out_of_range_are_refused_by_name_and_value(specs, setting, value) -> None:
    with pytest.raises(agents.ConfigError, match=rf"{setting} must .* got {value}$"):
        agents.IQLConfig(**{setting: value}).build(specs)


def test_settings_reach_the_loss(specs) -> None:
    settings = {"expectile": 0.9, "temperature": 2.0, "gamma": 0.5, "advantage_clip": None, "loss_function": "l1"}
    loss = agents.IQLConfig(**settings).build(specs).loss_module
    assert {name: getattr(loss, name) for name in settings} == settings


def test_actor_and_critics_learn_at_their_own_rates(specs, batch) -> None:
    config = agents.IQLConfig(
        actor_optimizer=AdamConfig(lr=1e-2), critic_optimizer=AdamConfig(lr=1e-4), actor=ActorConfig(dropout=0.0)
    )
    agent = config.build(specs)
    before = {name: value.clone() for name, value in agent.loss_module.named_parameters()}
    agent.update(batch)
    for name, value in agent.loss_module.named_parameters():
        step = (value - before[name]).abs().max()  # Adam's first step is the rate, where there is a gradient
        torch.testing.assert_close(step.item(), 1e-2 if name.startswith("actor") else 1e-4, rtol=1e-2, atol=0.0)


def test_normalisation_reaches_actor_critics_targets_and_value_alike(specs) -> None:
    def moments(normalize: bool) -> list[str]:
        agent = agents.IQLConfig(normalize_observations=normalize).build(specs)
        return [name for name in agent.loss_module.state_dict() if name.endswith(".mean")]

    assert moments(False) == []
    prefixes = {name.split("_network_params")[0] for name in moments(True)}
    assert prefixes == {"actor", "value", "qvalue", "target_qvalue"}


def test_the_policy_is_the_actors_mean(specs, batch) -> None:
    agent = agents.IQLConfig(actor=ActorConfig(hidden_sizes=[8])).build(specs)
    network = agent.policy.module.network
    assert isinstance(network, NormalActor)
    loc, _ = network.eval()(batch["observation"])
    assert torch.equal(agent.policy(batch.clone())["action"], loc)


def test_a_zero_temperature_is_behaviour_cloning(specs, batches) -> None:
    actor = ActorConfig(hidden_sizes=[8])
    torch.manual_seed(0)
    iql = replace(agents.IQLConfig(temperature=0.0), actor=actor).build(specs)
    torch.manual_seed(0)
    bc = agents.BCConfig(actor=actor).build(specs)
    for seed in range(5):
        losses = iql.update(batches(seed))["loss_actor"], bc.update(batches(seed))["loss_bc"]
        torch.testing.assert_close(*losses)
