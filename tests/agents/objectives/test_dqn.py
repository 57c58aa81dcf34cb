"""Double DQN's and CQL's objective against the papers' equations in plain torch, and against TorchRL's losses."""

from __future__ import annotations

import copy

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.data import Categorical
from torchrl.modules import QValueActor
from torchrl.objectives import DiscreteCQLLoss
from torchrl.objectives import DQNLoss as TorchRLDQNLoss

import agents
from agents.networks.configs import QValueConfig
from agents.networks.critics import ActionValueEnsemble
from agents.objectives import DQNLoss, conservative_gap

# the losses are tested without an agent, whose target updater TorchRL misses
pytestmark = pytest.mark.filterwarnings("ignore:No target network updater")


@pytest.fixture
def batch(discrete_batches) -> TensorDict:
    return discrete_batches(0)


def build(specs: agents.Specs, *, num_nets: int = 1, **settings: object) -> tuple[DQNLoss, TensorDictModule]:
    """A loss whose targets differ from the critics, and its network."""
    torch.manual_seed(0)
    network = QValueConfig(hidden_sizes=[8], num_nets=num_nets).build_action_values(specs)
    loss = DQNLoss(network, **settings)
    loss.target_qvalue_network_params.apply_(lambda p: p + 0.3 * torch.randn_like(p))
    return loss, network


def target_network(loss: DQNLoss, network: TensorDictModule) -> TensorDictModule:
    target = copy.deepcopy(network)
    loss.target_qvalue_network_params.to_module(target)
    return target


def paper(loss: DQNLoss, network: TensorDictModule, batch: TensorDict) -> dict[str, Tensor]:
    """The losses of arXiv 1509.06461 and arXiv 2006.04779, one transition and one critic at a time."""
    target = target_network(loss, network).module
    errors, gaps = [], []
    for s, a, after in zip(batch["observation"], batch["action"], batch["next"]):
        q, q_next, q_bar = (net(obs[None])[0] for net, obs in (
            (network.module, s), (network.module, after["observation"]), (target, after["observation"])
        ))  # fmt: skip
        best = q_next.mean(0).argmax()
        y = after["reward"][0] + loss.gamma * (1 - after["terminated"][0].float()) * q_bar[:, best].min().detach()
        errors.append(sum((y - q_i[a]) ** 2 for q_i in q))
        gaps.append(sum(q_i.exp().sum().log() - q_i[a] for q_i in q))
    if loss.cql_alpha is None:
        return {"loss_qvalue": torch.stack(errors).mean()}
    return {"loss_qvalue": torch.stack(errors).mean() / 2, "loss_cql": loss.cql_alpha * torch.stack(gaps).mean()}


def gradients(losses: dict[str, Tensor], network: nn.Module) -> list[Tensor]:
    total = sum(loss for name, loss in losses.items() if name.startswith("loss"))
    return list(torch.autograd.grad(total, list(network.parameters())))


@pytest.mark.parametrize("num_nets", [1, 2])
@pytest.mark.parametrize("cql_alpha", [None, 0.0, 2.5])
def test_losses_and_gradients_equal_the_papers_equations(discrete_specs, batch, num_nets, cql_alpha) -> None:
    loss, network = build(discrete_specs, num_nets=num_nets, gamma=0.9, cql_alpha=cql_alpha)
    ours, expected = loss(batch), paper(loss, network, batch)
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients(ours, network), gradients(expected, network), rtol=1e-5, atol=1e-6)


def torchrls(network: TensorDictModule) -> QValueActor:
    """The only critic of an ensemble as TorchRL's losses want it: ``[B, O] -> [B, A]``."""

    class First(nn.Module):
        def __init__(self, ensemble: ActionValueEnsemble) -> None:
            super().__init__()
            self.ensemble = ensemble

        def forward(self, observation: Tensor) -> Tensor:
            return self.ensemble(observation).squeeze(1)

    return QValueActor(First(network.module), in_keys=["observation"], spec=Categorical(3))


@pytest.mark.parametrize("loss_function", ["l2", "smooth_l1"])
def test_equals_torchrls_double_dqn(discrete_specs, batch, loss_function) -> None:
    ours, network = build(discrete_specs, gamma=0.95, loss_function=loss_function)
    theirs = TorchRLDQNLoss(torchrls(network), loss_function=loss_function, double_dqn=True, action_space="categorical")
    theirs.make_value_estimator(gamma=0.95)
    targets = ours.target_qvalue_network_params.values(True, True)
    for target, value in zip(theirs.target_value_network_params.values(True, True), targets):
        target.data.copy_(value)
    batch["next", "done"] = batch["next", "terminated"]
    found, expected = ours(batch), theirs(batch.clone())
    torch.testing.assert_close(found["loss_qvalue"], expected["loss"])
    torch.testing.assert_close(gradients(found, network), gradients(expected, network))


def test_equals_torchrls_cql_while_targets_are_the_critics(discrete_specs, batch) -> None:
    """That loss takes the critics for its targets in any case."""
    ours, network = build(discrete_specs, gamma=0.95, cql_alpha=1.0)
    ours.target_qvalue_network_params.update_(ours.qvalue_network_params.data)
    theirs = DiscreteCQLLoss(torchrls(network), action_space="categorical")
    theirs.make_value_estimator(gamma=0.95)
    batch["next", "done"] = batch["next", "terminated"]
    found, expected = ours(batch), theirs(batch.clone())
    for name in ("loss_qvalue", "loss_cql"):
        torch.testing.assert_close(found[name], expected[name])
    torch.testing.assert_close(gradients(found, network), gradients(expected, network))


def test_the_conservative_gap_is_what_a_uniform_guess_costs() -> None:
    """Of equal values the gap is log A; of one action far above the others it is 0 there, the distance elsewhere."""
    action_value = torch.tensor([[[7.0, 7.0, 7.0]], [[50.0, 0.0, 0.0]], [[50.0, 0.0, 0.0]]])
    qvalues = torch.tensor([[7.0], [50.0], [0.0]])
    expected = torch.tensor([[3.0]]).log(), torch.zeros(1, 1), torch.full((1, 1), 50.0)
    torch.testing.assert_close(conservative_gap(action_value, qvalues), torch.cat(expected))


def test_no_gradient_reaches_the_target(discrete_specs, batch) -> None:
    loss, _ = build(discrete_specs)
    batch["next", "observation"].requires_grad_()
    loss(batch)["loss_qvalue"].backward()
    assert batch["next", "observation"].grad is None


def test_termination_stops_bootstrapping_and_truncation_does_not(discrete_specs, batch) -> None:
    loss, _ = build(discrete_specs)
    batch["next", "terminated"] = torch.ones(16, 1, dtype=torch.bool)
    ended = loss(batch)["loss_qvalue"]
    batch["next", "observation"] = batch["next", "observation"] + 10.0
    torch.testing.assert_close(loss(batch)["loss_qvalue"], ended)  # Q(s') no longer matters
    batch["next", "terminated"] = torch.zeros(16, 1, dtype=torch.bool)
    running = loss(batch)["loss_qvalue"]
    assert (running - ended).abs() > 1e-3
    batch["next", "truncated"] = torch.ones(16, 1, dtype=torch.bool)
    torch.testing.assert_close(loss(batch)["loss_qvalue"], running)


@pytest.mark.parametrize("cql_alpha", [None, 1.0])
def test_statistics_describe_the_batch_and_cost_no_gradient(discrete_specs, batch, cql_alpha) -> None:
    loss, network = build(discrete_specs, num_nets=2, cql_alpha=cql_alpha)
    out = loss(batch)
    action_value, action = network.module(batch["observation"]), batch["action"]
    of_data = torch.stack([values[:, a] for values, a in zip(action_value, action)])
    best_value, best_action = action_value.mean(1).max(-1)
    torch.testing.assert_close(out["qvalue"], of_data.mean())
    torch.testing.assert_close(out["qvalue_greedy"], best_value.mean())
    torch.testing.assert_close(out["greedy_share"], (best_action == action).float().mean())
    assert 0.0 < out["greedy_share"] < 1.0
    assert not any(value.requires_grad for name, value in out.items() if not name.startswith("loss_"))
    assert set(out.keys()) == set(loss.out_keys)


def test_the_batch_is_left_as_it_was_and_keywords_work_too(discrete_specs, batch) -> None:
    loss, _ = build(discrete_specs)
    before = batch.clone()
    out = loss(batch)
    assert set(batch.keys(True, True)) == set(before.keys(True, True))
    assert (batch == before).all()
    named = loss(
        observation=batch["observation"],
        action=batch["action"],
        next_observation=batch["next", "observation"],
        next_reward=batch["next", "reward"],
        next_terminated=batch["next", "terminated"],
    )
    torch.testing.assert_close(named[0], out["loss_qvalue"])


def test_other_keys_can_be_set(discrete_specs, batch) -> None:
    loss, _ = build(discrete_specs)
    expected = loss(batch)["loss_qvalue"]
    loss.set_keys(reward="gain")
    batch["next", "gain"] = batch["next"].pop("reward")
    torch.testing.assert_close(loss(batch)["loss_qvalue"], expected)


@pytest.mark.parametrize("setting", [{"gamma": 1.5}, {"cql_alpha": -1.0}, {"loss_function": "huber"}])
def test_settings_out_of_range_are_refused(discrete_specs, setting) -> None:
    ((name, value),) = setting.items()
    with pytest.raises(agents.ConfigError, match=f"{name.removeprefix('cql_')}.*{value}"):
        build(discrete_specs, **setting)
