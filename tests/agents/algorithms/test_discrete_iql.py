from __future__ import annotations

import copy

import pytest
import torch
from tensordict.nn import TensorDictModule
from torchrl.objectives import DiscreteIQLLoss

import agents
from agents.networks.configs import CategoricalActorConfig, MLPConfig, QValueConfig, ValueConfig
from agents.networks.critics import ActionValueEnsemble, ChosenActionValue
from agents.objectives import IQLLoss
from agents.training.adam import AdamConfig


def test_the_defaults_are_the_papers_on_locomotion() -> None:
    assert agents.DiscreteIQLConfig() == agents.DiscreteIQLConfig(
        expectile=0.7,
        temperature=3.0,
        advantage_clip=100.0,
        gamma=0.99,
        loss_function="l2",
        target_tau=0.005,
        normalize_observations=False,
        max_grad_norm=None,
        actor=CategoricalActorConfig([256, 256], "relu", 0.0, False, "orthogonal"),
        qvalue=QValueConfig([256, 256], "relu", 0.0, False, "orthogonal", num_nets=2),
        value=ValueConfig([256, 256], "relu", 0.0, False, "orthogonal"),
        actor_optimizer=AdamConfig(lr=3e-4),
        critic_optimizer=AdamConfig(lr=3e-4, decay_steps=None),
    )


@pytest.mark.filterwarnings("ignore:No target network updater")
def test_its_losses_equal_torchrls(discrete_specs, discrete_batches) -> None:
    torch.manual_seed(1)
    actor = CategoricalActorConfig(hidden_sizes=[8]).build(discrete_specs)
    value = ValueConfig(hidden_sizes=[8]).build(discrete_specs)
    critics = [MLPConfig(hidden_sizes=[8]).layers(5, 3) for _ in range(2)]
    ensemble = ChosenActionValue(ActionValueEnsemble(critics, []))
    ensemble = TensorDictModule(ensemble, ["observation", "action"], ["state_action_value"])
    singles = [TensorDictModule(critic, ["observation"], ["state_action_value"]) for critic in copy.deepcopy(critics)]
    settings = {"expectile": 0.8, "temperature": 2.0, "loss_function": "l2"}
    theirs = DiscreteIQLLoss(actor, singles, value, num_qvalue_nets=2, action_space="categorical", **settings)
    theirs.make_value_estimator(gamma=0.95)
    batch = discrete_batches(0)
    batch["next", "done"] = batch["next", "terminated"]
    expected = theirs(batch.clone())
    ours = IQLLoss(actor, ensemble, value, gamma=0.95, **settings)(batch)
    for name in ("loss_actor", "loss_qvalue", "loss_value", "entropy"):
        torch.testing.assert_close(ours[name], expected[name])


def test_the_policy_takes_the_most_likely_action(discrete_specs, discrete_batches) -> None:
    agent = agents.DiscreteIQLConfig(actor=CategoricalActorConfig(hidden_sizes=[8])).build(discrete_specs)
    batch, loss = discrete_batches(0), agent.loss_module
    with loss.actor_network_params.to_module(loss.actor_network):
        probabilities = loss.actor_network.get_dist(batch.clone()).probs
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(16))
    assert torch.equal(agent.policy(batch)["action"], probabilities.argmax(-1))


def test_actor_and_critics_learn_at_their_own_rates(discrete_specs, discrete_batches) -> None:
    config = agents.DiscreteIQLConfig(actor_optimizer=AdamConfig(lr=1e-2), critic_optimizer=AdamConfig(lr=1e-4))
    agent = config.build(discrete_specs)
    before = {name: value.clone() for name, value in agent.loss_module.named_parameters()}
    agent.update(discrete_batches(0))
    for name, value in agent.loss_module.named_parameters():
        step = (value - before[name]).abs().max()  # Adam's first step is the rate, where there is a gradient
        torch.testing.assert_close(step.item(), 1e-2 if name.startswith("actor") else 1e-4, rtol=1e-2, atol=0.0)


def test_a_zero_temperature_is_behaviour_cloning(discrete_specs, discrete_batches) -> None:
    agent = agents.DiscreteIQLConfig(temperature=0.0).build(discrete_specs)
    for seed in range(3):
        statistics = agent.update(discrete_batches(seed))
        torch.testing.assert_close(statistics["loss_actor"], -statistics["log_prob"])


@pytest.mark.parametrize(("setting", "value"), [("expectile", 1.0), ("temperature", -0.5), ("advantage_clip", 0.0)])
def test_settings_out_of_range_are_refused_by_name_and_value(setting, value) -> None:
    with pytest.raises(agents.ConfigError, match=rf"{setting} must .* got {value}$"):
        agents.DiscreteIQLConfig(**{setting: value})
