"""What TorchRL's own tests ask of a loss, asked of every loss of ours."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import Tensor
from torchrl.objectives import HardUpdate, LossModule, SoftUpdate, ValueEstimators

import agents
from agents.algorithms.iql import ExtractionConfig
from agents.objectives.schedules import AdaptiveExpectile, Decay, LinearExpectile
from tests.conftest import make_batch

# the losses are tested without an agent, whose target updater TorchRL misses
pytestmark = pytest.mark.filterwarnings("ignore:No target network updater")

CONFIGS: dict[str, Callable[[], Any]] = {
    "awac": agents.AWACConfig,
    "dqn": lambda: agents.DiscreteCQLConfig(alpha=None),
    "discrete_cql": agents.DiscreteCQLConfig,
    "discrete_iql": agents.DiscreteIQLConfig,
    "edac": agents.EDACConfig,
    "edac of best actions": lambda: agents.EDACConfig(max_q_backup=True),
    "sac_n": lambda: agents.EDACConfig(eta=0.0),
    "iql": agents.IQLConfig,
    "ddpg_bc": lambda: agents.IQLConfig(extraction=ExtractionConfig(kind="ddpg_bc")),
    "rebrac": agents.ReBRACConfig,
    "cal_ql": lambda: agents.CalQLConfig(num_random=3, lagrange_threshold=0.8),
    "rlpd": lambda: agents.RLPDConfig(entropy_backup=True),
    "cql": agents.CQLConfig,
    "cql_lagrange": lambda: agents.CQLConfig(lagrange_threshold=0.8),
}
OURS = [name for name in CONFIGS if not name.startswith("cql")]  # those that call TorchRL's CQLLoss excepted


@pytest.fixture(params=CONFIGS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def loss(name: str, specs: agents.Specs, discrete_specs: agents.Specs) -> LossModule:
    config = CONFIGS[name]()
    for part in vars(config).values():
        if hasattr(part, "hidden_sizes"):
            part.hidden_sizes = [8]
        if hasattr(part, "num_nets"):
            part.num_nets = 3
    torch.manual_seed(0)
    return config.build(specs if config.actions == "continuous" else discrete_specs).loss_module


@pytest.fixture
def batch(name: str) -> TensorDict:
    batch = make_batch(12, discrete=name in ("dqn", "discrete_cql", "discrete_iql"))
    batch["next", "done"] = batch["next", "terminated"].clone()
    return batch


ours = pytest.mark.parametrize("name", OURS, indirect=True)


def evaluate(loss: LossModule, batch: TensorDict) -> TensorDict:
    torch.manual_seed(1)
    return loss(batch)


def losses(loss: LossModule, batch: TensorDict) -> dict[str, Tensor]:
    return {key: value for key, value in evaluate(loss, batch.copy()).items() if key.startswith("loss_")}


def gradients(loss: LossModule, batch: TensorDict) -> dict[str, Tensor | None]:
    loss.zero_grad()
    sum(value.sum() for value in losses(loss, batch).values()).backward()
    return {name: parameter.grad for name, parameter in loss.named_parameters()}


def test_outputs_are_the_out_keys_and_each_can_be_selected(loss, batch) -> None:
    expected = evaluate(loss, batch.copy())
    assert set(expected.keys()) == set(loss.out_keys)
    for key in list(loss.out_keys):
        loss.select_out_keys(key)
        assert set(evaluate(loss, batch.copy()).keys()) == {key}
        loss.reset_out_keys()
    assert set(evaluate(loss, batch.copy()).keys()) == set(expected.keys())


def test_in_keys_suffice_for_a_call_by_name(loss, batch) -> None:
    torch.manual_seed(1)
    values = loss(**{"_".join(key) if isinstance(key, tuple) else key: batch[key] for key in loss.in_keys})
    for key, value in zip(loss.out_keys, values):
        torch.testing.assert_close(value, evaluate(loss, batch.copy())[key])


@ours
def test_the_batch_is_left_as_it_was(loss, batch) -> None:
    before = batch.clone()
    evaluate(loss, batch)
    assert set(batch.keys(True, True)) == set(before.keys(True, True)) and (batch == before).all()


def test_keys_can_be_renamed(loss, batch) -> None:
    expected = losses(loss, batch)
    loss.set_keys(reward="pay", done="end", terminated="end")
    batch["next", "pay"], batch["next", "end"] = batch["next"].pop("reward"), batch["next"].pop("terminated")
    torch.testing.assert_close(losses(loss, batch), expected)
    loss.set_keys(reward=None)
    assert loss.tensor_keys.reward == "reward" and ("next", "reward") in loss.in_keys


def test_each_key_can_be_set_and_no_other(loss, name) -> None:
    for key, default in vars(loss.default_keys()).items():
        as_built = "terminated" if key == "done" and name not in OURS else default
        assert getattr(loss.tensor_keys, key) == as_built
        loss.set_keys(**{key: "another"})
        assert getattr(loss.tensor_keys, key) == "another"
    with pytest.raises(ValueError, match="unknown"):
        loss.set_keys(unknown="another")


@pytest.mark.parametrize("updater", [SoftUpdate, HardUpdate])
@pytest.mark.parametrize("after_forward", [False, True])
def test_targets_follow_an_updater_made_before_and_after_a_forward(loss, batch, updater, after_forward) -> None:
    if after_forward:
        gradients(loss, batch)
    settings = {"tau": 1.0} if updater is SoftUpdate else {"value_network_update_interval": 1}
    with pytest.warns() if updater is SoftUpdate else pytest.MonkeyPatch.context():  # of a tau that copies
        follow = updater(loss, **settings)
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.add_(1.0)
    follow.step()
    follow.step()  # HardUpdate counts first
    for key, source in loss.qvalue_network_params.items(True, True):
        torch.testing.assert_close(loss.target_qvalue_network_params[key], source.data)


@pytest.mark.parametrize("after_forward", [False, True])
def test_copies_and_types_hold_every_tensor(loss, batch, after_forward) -> None:
    names = set(dict(loss.named_parameters()))
    if after_forward:
        gradients(loss, batch)
    other = copy.deepcopy(loss)
    assert set(dict(other.named_parameters())) == names == set(dict(loss.named_parameters()))
    torch.testing.assert_close(losses(other, batch), losses(loss, batch))
    with torch.no_grad():
        for value in (*other.parameters(), *other.buffers()):
            value.copy_(value + 1)
    other.load_state_dict(loss.state_dict())
    torch.testing.assert_close(losses(other, batch), losses(loss, batch))
    as_double = batch.apply(lambda value: value.double() if value.is_floating_point() else value)
    assert all(value.dtype == torch.float64 for value in losses(other.double(), as_double).values())


def test_a_batch_of_any_shape_is_its_rows(loss, batch) -> None:
    for shape in ((3, 4), (4, 3), (2, 3, 2)):
        torch.testing.assert_close(losses(loss, batch.reshape(shape)), losses(loss, batch))


@ours
def test_a_batch_whose_size_hides_a_dimension_is_refused(loss, batch) -> None:
    hidden = batch.reshape(3, 4)
    hidden.batch_size = [3]
    with pytest.raises((agents.ConfigError, RuntimeError, IndexError)):
        losses(loss, hidden)


@ours
@pytest.mark.parametrize("shape", [(12,), (3, 4)])
def test_reductions_agree(loss, batch, shape) -> None:
    batch, mean = batch.reshape(shape), losses(loss, batch)
    loss.reduction = "sum"
    torch.testing.assert_close(losses(loss, batch), {key: 12 * value for key, value in mean.items()})
    loss.reduction = "none"
    per_row = losses(loss, batch)
    assert all(value.shape == shape for value in per_row.values())
    torch.testing.assert_close({key: value.mean() for key, value in per_row.items()}, mean)


@ours
def test_rows_outside_the_mask_count_for_nothing(loss, batch) -> None:
    if isinstance(getattr(loss, "eta", None), float) or type(loss).__name__ in ("AWACLoss", "ReBRACLoss"):
        loss.policy_noise = 0.0
        draw_nothing(loss)
    mask = torch.arange(12) % 3 > 0
    expected = losses(loss, batch[mask])
    batch["collector", "mask"] = mask[:, None]
    batch["next", "reward"][~mask] = torch.nan
    torch.testing.assert_close(losses(loss, batch), expected)
    loss.reduction = "none"
    for key, value in losses(loss, batch.reshape(3, 4)).items():
        assert (value.flatten()[~mask] == 0.0).all() and value.isfinite().all()
        torch.testing.assert_close(value.sum() / 8, expected[key])


@ours
def test_a_batch_that_is_masked_altogether_has_a_loss_of_0(loss, batch) -> None:
    batch["collector", "mask"] = torch.zeros(12, 1, dtype=torch.bool)
    assert all(value == 0.0 for value in evaluate(loss, batch).values())
    assert all(grad is None or (grad == 0.0).all() for grad in gradients(loss, batch).values())


def draw_nothing(loss: LossModule) -> None:
    """Actions are the mean ones, so that they do not depend on the number of rows."""
    if hasattr(loss, "actor_network_params"):
        params = loss.actor_network_params
        for key, value in params.items(True, True):
            if key[-1] == "log_std":
                value.data.fill_(-100.0)


@ours
def test_importance_weights_of_copies_count_like_copies(loss, batch) -> None:
    weight = torch.tensor([1.0, 2.0, 0.5]).repeat(4)
    loss.reduction = "none"
    per_row = losses(loss, batch)
    loss.reduction = "mean"
    batch["priority_weight"] = weight
    for key, value in losses(loss, batch).items():
        if key != "loss_alpha":
            torch.testing.assert_close(value, (weight * per_row[key]).sum() / weight.sum())


def test_a_held_out_loss_is_that_of_training(loss, batch) -> None:
    loss.eval()
    expected = losses(loss, batch)
    with torch.no_grad():
        held_out = losses(loss, batch)
    torch.testing.assert_close(held_out, {key: value.detach() for key, value in expected.items()})
    assert not any(value.requires_grad for value in held_out.values())


def test_the_mode_of_a_loss_is_that_of_its_networks(loss) -> None:
    networks = [value for value in vars(loss).values() if isinstance(value, torch.nn.Module)]
    for mode in (False, True):
        loss.train(mode)
        assert networks and all(part.training == mode for network in networks for part in network.modules())


@pytest.mark.parametrize("algorithm", ["bc", "discrete_bc", "iql", "rebrac", "sac", "td3_bc"])
def test_a_held_out_loss_has_no_dropout(algorithm, specs, discrete_specs) -> None:
    config = agents.ALGORITHMS[algorithm]()
    config.actor.hidden_sizes, config.actor.dropout = [8], 0.5
    discrete = config.actions == "discrete"
    loss = config.build(discrete_specs if discrete else specs).loss_module
    batch = make_batch(12, discrete=discrete)

    def drawn() -> list[Tensor]:
        values = []
        for _ in range(2):
            torch.manual_seed(0)  # of actions; dropout draws more of it
            values.append(next(value for key, value in loss(batch.copy()).items() if key in ("loss_actor", "loss_bc")))
            torch.rand(1)
        return values

    training, held_out = drawn(), (loss.eval(), drawn())[1]
    assert torch.equal(*held_out)
    assert not torch.equal(training[0], held_out[0])


@pytest.mark.parametrize(
    ("schedule", "inputs"),
    [
        (LinearExpectile(0.5, 0.9, 10), [torch.ones(4)]),
        (AdaptiveExpectile(0.7, 0.3, 0.1), [torch.ones(4)]),
        (Decay("linear", 0.5, 10), []),
    ],
)
def test_a_held_out_loss_moves_no_schedule(schedule, inputs) -> None:
    schedule = copy.deepcopy(schedule)
    state = copy.deepcopy(schedule.state_dict())
    with torch.no_grad():
        schedule(*inputs)
    schedule.eval()(*inputs)
    assert schedule.state_dict() == state
    schedule.train()(*inputs)
    assert schedule.state_dict() != state


@ours
def test_the_value_estimator_sets_the_discount(loss, batch) -> None:
    before = losses(loss, batch)["loss_qvalue"]
    loss.make_value_estimator(gamma=0.5)
    assert loss.gamma == 0.5 and losses(loss, batch)["loss_qvalue"] != before
    loss.make_value_estimator(ValueEstimators.TD0, gamma=0.6)
    with pytest.raises(agents.ConfigError, match="TD0 only.*GAE"):
        loss.make_value_estimator(ValueEstimators.GAE)
    with pytest.raises(agents.ConfigError, match="gamma.*1.5"):
        loss.make_value_estimator(gamma=1.5)


def test_a_value_n_steps_on_is_discounted_n_times(loss, batch) -> None:
    loss.make_value_estimator(gamma=0.5)
    batch["steps_to_next_obs"] = torch.full((12, 1), 3)
    ours = losses(loss, batch)
    loss.make_value_estimator(gamma=0.5**3)
    batch["steps_to_next_obs"] = torch.ones(12, 1, dtype=torch.int64)
    torch.testing.assert_close(ours, losses(loss, batch))
    torch.testing.assert_close(ours, losses(loss, batch.exclude("steps_to_next_obs")))


def test_a_reset_draws_every_parameter_anew(loss, batch) -> None:
    def drawn() -> dict[str, Tensor]:
        targets = {name: value for name, value in loss.named_buffers() if name.endswith(("weight", "bias"))}
        return {**dict(loss.named_parameters()), **targets}

    with torch.no_grad():
        for value in drawn().values():
            value.fill_(7.0)
    loss.reset_parameters_recursive()
    left = [name for name, value in drawn().items() if (value == 7.0).any()]
    assert [name for name in left if "log_alpha" not in name] == []
    assert all(value.isfinite().all() for value in losses(loss, batch).values())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in OURS if not name.startswith("edac")], indirect=True)  # see EDACLoss
def test_the_whole_loss_compiles(loss, batch) -> None:
    getattr(loss, "actor_network", loss).eval()  # without dropout: see Dropout
    torch.compiler.reset()  # of code that losses share, so many versions and no more are compiled in a process
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(evaluate(compiled, batch.copy()).to_dict(), evaluate(loss, batch.copy()).to_dict())
