"""Actions of several parts against all their combinations, one by one."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import InteractionType, TensorDictModule, set_interaction_type
from torch import Tensor, nn
from torch.distributions import Categorical
from torchrl import data
from torchrl.data import MultiCategorical

import agents
from agents.networks.configs import CategoricalActorConfig, QValueConfig, ValueConfig
from agents.networks.critics import ChosenActionValue, chosen_action_value
from agents.networks.factored import FactoredCategorical, PartScores, negative_log_likelihood, sum_over_parts
from agents.networks.policies import greedy_policy
from agents.objectives import DQNLoss, IQLLoss
from tests.conftest import make_batch

# the losses are tested without an agent, whose target updater TorchRL misses
pytestmark = pytest.mark.filterwarnings("ignore:No target network updater")

KINDS = {"MultiDiscrete": [3, 2, 4], "MultiBinary": [2, 2, 2, 2]}


@pytest.fixture(params=KINDS)
def num_values(request) -> Tensor:
    return torch.tensor(KINDS[request.param])


@pytest.fixture
def factored_specs(specs, num_values) -> agents.Specs:
    return dataclasses.replace(specs, action=MultiCategorical(num_values))


@pytest.fixture
def batch(num_values) -> TensorDict:
    return make_batch(16, parts=num_values)


def combinations(num_values: Tensor) -> Tensor:
    """Every action, ``[P, K]``."""
    return torch.cartesian_prod(*map(torch.arange, num_values.tolist()))


def of_combinations(table: Tensor, num_values: Tensor) -> Tensor:
    """The scores of every action, ``[..., K, M] -> [..., P]``."""
    return sum(table[..., part, values] for part, values in enumerate(combinations(num_values).T))


def indices(actions: Tensor, num_values: Tensor) -> Tensor:
    """Their places among the combinations, ``[B, K] -> [B]``."""
    return (actions[:, None] == combinations(num_values)).all(-1).int().argmax(-1)


class Joint(nn.Module):
    """A network with parts as one that scores every combination of them."""

    def __init__(self, network: nn.Module, num_values: Tensor) -> None:
        super().__init__()
        self.network, self.num_values = network, num_values
        self.num_nets = getattr(network, "num_nets", 1)

    def forward(self, observation: Tensor) -> Tensor:
        return of_combinations(self.network(observation), self.num_values)


def joint_batch(batch: TensorDict, num_values: Tensor) -> TensorDict:
    batch = batch.clone()
    batch["action"] = indices(batch["action"], num_values)
    return batch


def assert_same_losses(ours, joint, batch: TensorDict, num_values: Tensor) -> None:
    """Losses, statistics and gradients, of targets that differ from the critics."""
    results = []
    for loss, seen in ((ours, batch), (joint, joint_batch(batch, num_values))):
        for name, target in loss.named_parameters():
            if name.startswith("target_"):
                target.data += 0.1
        values = loss(seen)
        learnt = [parameter for parameter in loss.parameters() if parameter.requires_grad]
        total = sum(value for name, value in values.items() if name.startswith("loss_"))
        results.append((values.to_dict(), torch.autograd.grad(total, learnt)))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


def test_a_table_holds_the_outputs_part_by_part_and_minus_infinity_elsewhere(num_values) -> None:
    outputs = torch.arange(float(num_values.sum())).expand(2, -1)
    table = PartScores(num_values.tolist())(outputs)
    assert table.shape == (2, len(num_values), num_values.max())
    assert torch.equal(table[table.isfinite()].view(2, -1), outputs)
    assert torch.equal(table[0].isfinite().sum(-1), num_values)


def test_the_largest_the_soft_maximum_and_the_best_are_those_over_all_combinations(num_values) -> None:
    torch.manual_seed(0)
    table = PartScores(num_values.tolist())(torch.randn(50, 2, int(num_values.sum())))
    joint = of_combinations(table, num_values)
    assert joint.shape == (50, 2, num_values.prod())
    torch.testing.assert_close(sum_over_parts(table.amax(-1)), joint.amax(-1))
    torch.testing.assert_close(sum_over_parts(table.logsumexp(-1)), joint.logsumexp(-1))
    best = table[:, 0].argmax(-1)
    assert torch.equal(best, combinations(num_values)[joint[:, 0].argmax(-1)])
    torch.testing.assert_close(
        chosen_action_value(table, best),
        joint.gather(-1, indices(best, num_values)[:, None, None].expand(-1, 2, 1)).squeeze(-1),
    )


def test_a_distribution_is_the_one_over_all_combinations(num_values) -> None:
    torch.manual_seed(0)
    table = PartScores(num_values.tolist())(torch.randn(50, int(num_values.sum())))
    ours, joint = (
        FactoredCategorical(table, validate_args=False),
        Categorical(logits=of_combinations(table, num_values)),
    )
    every = combinations(num_values)
    torch.testing.assert_close(ours.log_prob(every[:, None]), joint.log_prob(torch.arange(len(every))[:, None]))
    torch.testing.assert_close(ours.entropy(), joint.entropy())
    assert torch.equal(ours.mode, every[joint.logits.argmax(-1)])
    drawn = ours.sample((1000,))
    assert drawn.shape == (1000, 50, len(num_values)) and (drawn < num_values).all()
    frequency = (drawn == 1).float().mean(0)
    torch.testing.assert_close(frequency, table.softmax(-1)[..., 1], rtol=0.0, atol=5 * 0.5 / math.sqrt(1000))


@pytest.mark.parametrize("num_nets", [1, 2])
@pytest.mark.parametrize("cql_alpha", [None, 2.5])
def test_dqn_and_cql_are_those_over_all_combinations(factored_specs, batch, num_values, num_nets, cql_alpha) -> None:
    torch.manual_seed(0)
    network = QValueConfig(hidden_sizes=[8], num_nets=num_nets).build_action_values(factored_specs)
    joint = TensorDictModule(Joint(copy.deepcopy(network.module), num_values), ["observation"], ["action_value"])
    settings = {"gamma": 0.9, "cql_alpha": cql_alpha}
    batch["action"][:4] = greedy_policy(network)(batch[:4].clone())[
        "action"
    ]  # for a share of greedy ones that is not 0
    assert_same_losses(DQNLoss(network, **settings), DQNLoss(joint, **settings), batch, num_values)


def test_iql_is_the_one_over_all_combinations(factored_specs, batch, num_values) -> None:
    torch.manual_seed(0)
    actor = CategoricalActorConfig(hidden_sizes=[8]).build(factored_specs)
    critics = QValueConfig(hidden_sizes=[8]).build(factored_specs)
    value = ValueConfig(hidden_sizes=[8]).build(factored_specs)
    joint_actor, joint_critics = copy.deepcopy(actor), copy.deepcopy(critics)
    joint_actor[0].module = Joint(joint_actor[0].module, num_values)
    joint_actor[1].distribution_class = Categorical
    joint_critics.module = ChosenActionValue(Joint(joint_critics.module.action_values, num_values))
    ours, joint = IQLLoss(actor, critics, value), IQLLoss(joint_actor, joint_critics, copy.deepcopy(value))
    assert_same_losses(ours, joint, batch, num_values)


def test_the_likelihood_that_cloning_maximises_is_the_one_over_all_combinations(batch, num_values) -> None:
    torch.manual_seed(0)
    table = PartScores(num_values.tolist())(torch.randn(16, int(num_values.sum())))
    ours = negative_log_likelihood(table, batch["action"])
    joint = nn.functional.cross_entropy(
        of_combinations(table, num_values), indices(batch["action"], num_values), reduction="none"
    )
    torch.testing.assert_close(ours, joint)


def test_an_actor_draws_each_part_and_its_mode_is_the_greedy_policy(factored_specs, batch, num_values) -> None:
    torch.manual_seed(0)
    actor = CategoricalActorConfig(hidden_sizes=[8]).build(factored_specs)
    drawn = torch.stack([actor(batch.clone())["action"] for _ in range(8)])
    assert factored_specs.action.is_in(drawn[0]) and (drawn != drawn[0]).any()
    with set_interaction_type(InteractionType.DETERMINISTIC):
        mode = actor(batch.clone())["action"]
    assert torch.equal(greedy_policy(actor[0])(batch.clone())["action"], mode)


@pytest.mark.parametrize("algorithm", [agents.DiscreteIQLConfig, agents.DiscreteCQLConfig, agents.DiscreteBCConfig])
def test_one_part_is_a_plain_discrete_action_bit_for_bit(discrete_specs, algorithm) -> None:
    results = []
    for action in (data.Categorical(3), MultiCategorical(torch.tensor([3]))):
        torch.manual_seed(0)
        agent = algorithm().build(dataclasses.replace(discrete_specs, action=action))
        for seed in range(3):
            batch = make_batch(16, seed, discrete=True)
            batch["action"] = batch["action"].view(16, *action.shape)
            statistics = agent.update(batch).to_dict()
        results.append((statistics, agent.loss_module.state_dict(), agent.policy(batch)["action"].view(16)))
    (ours, tensors, acts), (expected, expected_tensors, expected_acts) = results
    assert ours == expected and torch.equal(acts, expected_acts)
    assert all(torch.equal(value, expected_tensors[name]) for name, value in tensors.items() if torch.is_tensor(value))


def test_buttons_that_pay_only_together_are_the_nearest_sum(specs) -> None:
    """What the decomposition cannot represent: of rewards 0, 0, 0, 1 it learns -1/4, 1/4, 1/4, 3/4."""
    table = torch.zeros(1, 1, 2, 2, requires_grad=True)
    every = combinations(torch.tensor([2, 2]))
    optimizer = torch.optim.SGD([table], lr=0.2)
    for _ in range(200):
        optimizer.zero_grad()
        found = chosen_action_value(table.expand(4, 1, 2, 2), every).squeeze(-1)
        (found - every.prod(-1)).square().sum().backward()
        optimizer.step()
    torch.testing.assert_close(found.detach(), torch.tensor([-0.25, 0.25, 0.25, 0.75]))
