"""Behaviour cloning on discrete actions: the mean negative log-likelihood of the data's actions, and no critics."""

from __future__ import annotations

import pytest
import torch
from tensordict.nn import TensorDictModule
from torch.nn import functional as F
from torchrl.objectives import BCLoss

import agents
from agents.networks.configs import CategoricalActorConfig
from agents.training.adam import AdamConfig
from tests.conftest import make_batch


def small(**settings) -> agents.DiscreteBCConfig:
    return agents.DiscreteBCConfig(actor=CategoricalActorConfig(hidden_sizes=[16]), **settings)


@pytest.mark.filterwarnings("ignore:The name target_actor_network_params")
def test_the_loss_is_cross_entropy_in_plain_torch_and_torchrls(discrete_specs, discrete_batches) -> None:
    torch.manual_seed(0)
    batch, agent = discrete_batches(0), small().build(discrete_specs)
    network = agent.policy.module.network
    plain = F.cross_entropy(network(batch["observation"]), batch["action"])
    theirs = BCLoss(TensorDictModule(network, ["observation"], ["action"]))(batch)["loss_bc"]
    ours = agent.loss_module(batch)["loss_bc"]
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(loss, [*network.parameters()]) for loss in (plain, theirs)]
    ours.backward()
    for gradient in gradients:
        torch.testing.assert_close([parameter.grad for parameter in agent.loss_module.parameters()], [*gradient])


def test_of_parts_it_is_the_sum_of_their_cross_entropies(factored_specs) -> None:
    torch.manual_seed(0)
    agent = small().build(factored_specs)
    batch = make_batch(parts=factored_specs.action.nvec)
    scores = agent.policy.module.network[:-1](batch["observation"]).split([3, 2, 4], -1)
    expected = sum(F.cross_entropy(part, action) for part, action in zip(scores, batch["action"].T))
    torch.testing.assert_close(agent.update(batch)["loss_bc"], expected.detach())


def test_it_is_discrete_iql_at_temperature_zero(discrete_specs, discrete_batches) -> None:
    policies = []
    for config in (agents.DiscreteBCConfig(), agents.DiscreteIQLConfig(temperature=0.0)):
        torch.manual_seed(0)
        agent = config.build(discrete_specs)
        for seed in range(3):
            agent.update(discrete_batches(seed))
        policies.append(agent.policy.module.network.state_dict())
    torch.testing.assert_close(*policies)


def test_there_is_an_actor_and_nothing_else(discrete_specs, discrete_batches) -> None:
    agent = agents.DiscreteBCConfig().build(discrete_specs)
    assert agent.rule.target_net_updater is None
    assert all(name.startswith("actor_network_params") for name in agent.loss_module.state_dict())
    assert set(agent.learning_rates) == {"lr_actor"}
    assert list(agent.update(discrete_batches(0)).keys()) == ["loss_bc"]
    assert set(agent.loss_module.in_keys) == {"observation", "action"}


@pytest.mark.parametrize("kind", ["one", "parts"])
def test_it_clones_a_policy_that_the_network_can_express(discrete_specs, factored_specs, kind) -> None:
    specs = discrete_specs if kind == "one" else factored_specs
    parts = None if kind == "one" else specs.action.nvec
    torch.manual_seed(0)
    teacher, agent = small().build(specs).policy, small(actor_optimizer=AdamConfig(lr=1e-2)).build(specs)
    for seed in range(200):
        batch = make_batch(64, seed, discrete=True, parts=parts)
        batch["action"] = teacher(batch.clone())["action"]
        agent.update(batch)
    unseen = make_batch(1000, 1000, discrete=True, parts=parts)
    agreement = (agent.policy(unseen.clone())["action"] == teacher(unseen.clone())["action"]).float().mean(0)
    assert (agreement > 0.9).all()


def test_the_best_episodes_alone_are_drawn_if_told_so(discrete_specs) -> None:
    assert agents.DiscreteBCConfig(best_episodes=0.25).build(discrete_specs).sampling["best_episodes"] == 0.25
    assert agents.DiscreteBCConfig().build(discrete_specs).sampling["best_episodes"] is None


def test_the_defaults_are_discrete_iqls_actor_and_its_rate() -> None:
    iql, bc = agents.DiscreteIQLConfig(), agents.DiscreteBCConfig()
    assert (bc.actor, bc.actor_optimizer) == (iql.actor, iql.actor_optimizer)


@pytest.mark.parametrize(("setting", "value"), [("max_grad_norm", 0.0), ("best_episodes", 0.0), ("best_episodes", 1.5)])
def test_a_setting_out_of_range_is_refused_by_name_and_value(setting, value) -> None:
    with pytest.raises(agents.ConfigError, match=rf"{setting} must .* got {value}$"):
        agents.DiscreteBCConfig(**{setting: value})
