"""Measures on held-out steps: by their definitions, without dropout, and without a trace."""

from __future__ import annotations

import torch
from tensordict import TensorDict

import agents
from agents.evaluation.held_out import HeldOut, held_out_steps
from agents.training.sampling import Sampling
from tests.conftest import ACTION_HIGH, ACTION_LOW


def trained(config, specs, batch) -> agents.Agent:
    torch.manual_seed(0)
    agent = config.build(specs)
    for _ in range(3):
        agent.update(batch)
    return agent


def test_a_clone_is_measured_by_likelihood_and_distance_without_dropout(specs, batches) -> None:
    agent = trained(agents.BCConfig(actor=agents.ActorConfig(hidden_sizes=[16], dropout=0.5)), specs, batches(0))
    batch = batches(1)
    measures = HeldOut(agent, specs, batch).measure()
    mean = agent.policy(batch.select("observation"))["action"]
    scale = dict(agent.loss_module.named_parameters())["actor_network_params.module.0.module.log_std"].exp()
    log_prob = torch.distributions.Normal(mean, scale).log_prob(batch["action"]).sum(-1).mean().item()
    distance = (mean - batch["action"]).abs() / (torch.tensor(ACTION_HIGH) - torch.tensor(ACTION_LOW))
    expected = {"loss_bc": -log_prob, "log_prob": log_prob, "action_error": distance.mean().item()}
    torch.testing.assert_close(measures, expected, rtol=1e-5, atol=1e-6)
    assert agent.loss_module.training and agent.loss_module.actor_network.training


def test_discrete_actions_are_right_or_wrong_as_a_whole(discrete_specs, factored_specs, batches_for) -> None:
    for specs in (discrete_specs, factored_specs):
        config = agents.DiscreteBCConfig(actor=agents.CategoricalActorConfig(hidden_sizes=[16]))
        agent = config.build(specs)
        batch = batches_for(specs, agent)(1)
        measures = HeldOut(agent, specs, batch).measure()
        same = agent.policy(batch.select("observation"))["action"] == batch["action"]
        right = same if same.ndim == 1 else same.all(-1)
        assert abs(measures["accuracy"] - right.float().mean().item()) < 1e-6
        assert measures["log_prob"] == -measures["loss_bc"]


def test_padding_of_windows_is_no_error(specs, batches_for) -> None:
    config = agents.DTConfig(actor=agents.TransformerConfig(width=16, num_layers=1), context_length=4)
    agent = config.build(specs)
    batch = batches_for(specs, agent)(0)
    spoiled = batch.clone()
    spoiled["action"] = torch.where(batch["mask"][..., None], batch["action"], batch["action"].new_tensor(ACTION_HIGH))
    assert not torch.equal(spoiled["action"], batch["action"])
    assert HeldOut(agent, specs, batch).measure() == HeldOut(agent, specs, spoiled).measure()


def test_a_locked_dimension_has_no_error(specs, batches) -> None:
    agent = agents.TD3BCConfig().build(specs)
    batch = batches(0)
    held_out = HeldOut(agent, specs, batch)
    held_out._range[1] = 0.0
    measured = held_out.measure()["action_error"]
    held_out._range[1] = torch.inf  # a dimension without an error, that counts
    assert abs(measured - 1.5 * held_out.measure()["action_error"]) < 1e-6


def test_steps_are_spread_over_all_that_could_be_drawn() -> None:
    class Data:
        def replay_buffer(self, batch_size: int, **options: object) -> TensorDict:
            assert options == {"rewards": None, **sampling}
            return TensorDict({"observation": torch.arange(11)}, [11])

    sampling = Sampling(("observation",), best_episodes=0.5)
    steps = {number: held_out_steps(Data(), sampling, number)["observation"].tolist() for number in (3, 6, 50)}
    assert steps == {3: [0, 5, 10], 6: [0, 2, 4, 6, 8, 10], 50: [*range(11)]}
