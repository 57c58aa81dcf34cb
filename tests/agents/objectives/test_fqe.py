"""The losses of fitted Q evaluation, held against their equations in plain torch."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor, nn

import agents
from agents.objectives.fqe import DiscreteFQELoss, EvaluationLoss, FQELoss
from tests.conftest import make_batch

GAMMA, NUM_POLICIES, NUM_MEMBERS = 0.9, 2, 3
NUM_NETS = NUM_POLICIES * NUM_MEMBERS
pytestmark = pytest.mark.filterwarnings("ignore:No target network updater")


def config(num_nets: int = NUM_NETS) -> agents.QValueConfig:
    return agents.QValueConfig(hidden_sizes=[8], num_nets=num_nets, layer_norm=True)


def apart(loss: EvaluationLoss) -> None:
    """Targets that differ from the critics."""
    for index, target in enumerate(loss.target_qvalue_network_params.values(True, True)):
        target.data += 0.1 * (index + 1)


def target(batch: TensorDict, next_values: Tensor) -> Tensor:
    following = batch["next"]
    return following["reward"] + GAMMA * (~following["terminated"]) * next_values


def test_each_policy_has_the_targets_of_its_own_actions(specs) -> None:
    torch.manual_seed(0)
    network = config().build(specs, normalize=True)
    loss = FQELoss(network, gamma=GAMMA)
    apart(loss)
    batch = make_batch(12)
    actions = torch.stack([batch["next", "action"], batch["next", "action"].flip(0)], 1)  # [B, P, A]
    batch["next", "action"] = actions
    params = loss.target_qvalue_network_params.data
    expected = []
    with params.to_module(loss.qvalue_network, preserve_module_state=False):
        for policy in range(NUM_POLICIES):
            values = loss.qvalue_network.module(batch["next", "observation"], actions[:, policy])  # [B, N]
            expected.append(values[:, policy * NUM_MEMBERS : (policy + 1) * NUM_MEMBERS])
    y = target(batch, torch.cat(expected, 1))
    torch.testing.assert_close(loss.targets(params, batch), y)
    weight = torch.rand(12, NUM_NETS)
    losses = loss(batch.set("critic_weight", weight))
    q = loss.qvalues(loss.qvalue_network_params, batch)
    torch.testing.assert_close(losses["loss_qvalue"], (weight * (y - q).square()).sum(1).mean())
    torch.testing.assert_close(losses["bellman_error"], (y - q).square().mean().sqrt().detach())


def test_a_discrete_policy_is_valued_by_all_its_actions(discrete_specs) -> None:
    torch.manual_seed(0)
    loss = DiscreteFQELoss(config().build_action_values(discrete_specs), gamma=GAMMA)
    apart(loss)
    batch = make_batch(12, discrete=True)
    probability = torch.rand(12, NUM_POLICIES, 3).softmax(-1)
    batch["next", "action_probability"] = probability
    params = loss.target_qvalue_network_params.data
    with params.to_module(loss.qvalue_network, preserve_module_state=False):
        values = loss.qvalue_network.module(batch["next", "observation"])  # [B, N, A]
    expected = torch.stack([(values[:, i] * probability[:, i // NUM_MEMBERS]).sum(-1) for i in range(NUM_NETS)], 1)
    torch.testing.assert_close(loss.targets(params, batch), target(batch, expected))


def test_parts_that_have_fewer_values_count_for_nothing_where_they_have_none(factored_specs) -> None:
    torch.manual_seed(0)
    loss = DiscreteFQELoss(config(2).build_action_values(factored_specs), gamma=GAMMA)
    batch = make_batch(6, parts=torch.tensor([3, 2, 4]))
    batch["next", "action_probability"] = nn.functional.one_hot(batch["next", "action"], 4).float()  # [B, K, M]
    values = loss.state_values(loss.qvalue_network_params, batch["next"])
    chosen = loss.qvalues(loss.qvalue_network_params, batch["next"])
    torch.testing.assert_close(values, chosen)


def test_values_keep_to_their_bounds(specs) -> None:
    loss = FQELoss(config(2).build(specs), gamma=GAMMA, bounds=(-0.01, 0.01))
    batch = make_batch(32)
    error = (loss.targets(loss.qvalue_network_params.data, batch) - batch["next", "reward"]).abs()
    assert error.max() == pytest.approx(GAMMA * 0.01, rel=1e-4)
    assert error[batch["next", "terminated"].squeeze(-1)].max() == 0.0


def test_a_bootstrap_of_one_policy_reads_its_actions_as_they_are(specs) -> None:
    loss = FQELoss(config(2).build(specs), gamma=GAMMA)
    batch = make_batch(8)
    once = loss.targets(loss.qvalue_network_params.data, batch)
    batch["next", "action"] = batch["next", "action"][:, None]
    torch.testing.assert_close(loss.targets(loss.qvalue_network_params.data, batch), once)
    assert ("next", "action") in loss.in_keys
