"""Q and V along an episode: those of the loss's own networks, whoever wrote the loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import agents
from agents.training.values import critic_values

STEPS = 6


@pytest.fixture
def steps(batches, discrete_batches):
    """Observations and actions of an episode, for continuous or discrete actions."""

    def make(discrete: bool) -> tuple[np.ndarray, np.ndarray]:
        batch = (discrete_batches if discrete else batches)(1, STEPS)
        return batch["observation"].numpy().astype(np.float64), batch["action"].numpy()

    return make


@pytest.mark.parametrize("name", agents.ALGORITHMS)
def test_every_algorithm_with_critics_or_values_gives_their_values(name, specs, discrete_specs, steps) -> None:
    config = agents.ALGORITHMS[name]()
    discrete = config.actions == "discrete"
    agent = config.build(discrete_specs if discrete else specs)
    values = critic_values(agent, *steps(discrete))
    learnt = {"loss_qvalue": "qvalue", "loss_value": "state_value"}
    assert values.keys() == {value for loss, value in learnt.items() if loss in agent.loss_module.out_keys}
    assert all(along.shape == (STEPS,) and np.isfinite(along).all() and along.std() > 0 for along in values.values())


def test_they_are_the_smallest_critics_and_the_values_of_the_loss(specs, steps) -> None:
    agent = agents.IQLConfig().build(specs)
    observations, actions = steps(False)
    values, loss = critic_values(agent, observations, actions), agent.loss_module
    inputs = torch.as_tensor(observations).float(), torch.as_tensor(actions)
    with torch.no_grad(), loss.qvalue_network_params.to_module(loss.qvalue_network):
        qvalues = loss.qvalue_network.module(*inputs)
    with torch.no_grad(), loss.value_network_params.to_module(loss.value_network):
        state_values = loss.value_network.module(inputs[0])
    np.testing.assert_allclose(values["qvalue"], qvalues.amin(-1), rtol=1e-6)
    np.testing.assert_allclose(values["state_value"], state_values.squeeze(-1), rtol=1e-6)
    assert qvalues.shape == (STEPS, 2) and (qvalues[:, 0] != qvalues[:, 1]).all()


def test_of_torchrls_stacked_critics_each_is_asked(specs, steps) -> None:
    agent = agents.TD3BCConfig().build(specs)
    before = critic_values(agent, *steps(False))["qvalue"]
    params = agent.loss_module.qvalue_network_params
    for index in range(2):
        with torch.no_grad():
            last = [*params.values(True, True)][-1]  # of the output layer: a bias or a row of weights
            kept = last.clone()
            last[index] -= 100.0
        assert (critic_values(agent, *steps(False))["qvalue"] < before).any()
        with torch.no_grad():
            last.copy_(kept)


def test_the_value_of_a_discrete_action_is_that_of_the_action_taken(discrete_specs, steps) -> None:
    agent = agents.DiscreteCQLConfig().build(discrete_specs)
    observations, _ = steps(True)
    by_action = [critic_values(agent, observations, np.full(STEPS, action))["qvalue"] for action in range(3)]
    greedy = agent.policy.module(torch.as_tensor(observations).float()).numpy()
    np.testing.assert_array_equal(np.argmax(by_action, 0), greedy)


def test_they_follow_an_update_and_leave_the_loss_as_it_was(specs, batches, steps) -> None:
    agent = agents.IQLConfig(qvalue=agents.QValueConfig(dropout=0.5)).build(specs)
    before = critic_values(agent, *steps(False))
    again = critic_values(agent, *steps(False))
    np.testing.assert_array_equal(before["qvalue"], again["qvalue"])  # without dropout
    assert all(module.training for module in agent.loss_module.modules() if isinstance(module, torch.nn.Dropout))
    agent.update(batches(0))
    after = critic_values(agent, *steps(False))
    assert (after["qvalue"] != before["qvalue"]).all() and (after["state_value"] != before["state_value"]).all()
