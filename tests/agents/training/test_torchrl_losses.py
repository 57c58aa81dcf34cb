"""Every loss of TorchRL's that learns from transitions is an agent's: it trains, is saved, and goes on exactly."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import InteractionType, NormalParamExtractor, ProbabilisticTensorDictModule, TensorDictModule
from tensordict.nn import ProbabilisticTensorDictSequential as ProbabilisticSequential
from torch import Tensor, nn
from torchrl import objectives
from torchrl.data import Bounded
from torchrl.modules import (
    MLP,
    Actor,
    DistributionalQValueActor,
    OneHotCategorical,
    ProbabilisticActor,
    QValueActor,
    TanhNormal,
    ValueOperator,
)
from torchrl.objectives import LossModule

import agents
from agents.networks.policies import deterministic_policy
from agents.training.adam import AdamConfig
from agents.training.stack import AgentStack
from tests.conftest import NUM_ACTIONS, NUM_OBSERVATIONS, make_batch

# the losses are tested as their authors leave them, warnings and all
pytestmark = pytest.mark.filterwarnings("ignore")

ACTION = Bounded(-1.0, 1.0, (NUM_ACTIONS,))
Build = Callable[[], tuple[LossModule, TensorDictModule]]


def mlp(inputs: int, outputs: int) -> nn.Module:
    return MLP(in_features=inputs, out_features=outputs, num_cells=[8])


def deterministic() -> Actor:
    return Actor(nn.Sequential(mlp(NUM_OBSERVATIONS, NUM_ACTIONS), nn.Tanh()), in_keys=["observation"], spec=ACTION)


def stochastic() -> ProbabilisticActor:
    network = nn.Sequential(mlp(NUM_OBSERVATIONS, 2 * NUM_ACTIONS), NormalParamExtractor())
    module = TensorDictModule(network, ["observation"], ["loc", "scale"])
    return ProbabilisticActor(module, in_keys=["loc", "scale"], distribution_class=TanhNormal, spec=ACTION)


def qvalue(outputs: int = 1) -> ValueOperator:
    return ValueOperator(mlp(NUM_OBSERVATIONS + NUM_ACTIONS, outputs), in_keys=["observation", "action"])


def state_value() -> ValueOperator:
    return ValueOperator(mlp(NUM_OBSERVATIONS, 1), in_keys=["observation"])


def of(
    loss: Callable[..., LossModule], actor: Callable[[], Any], *critics: Callable[[], Any], **settings: Any
) -> Build:
    def build() -> tuple[LossModule, TensorDictModule]:
        policy = actor()
        return loss(policy, *(critic() for critic in critics), **settings), policy

    return build


def categorical() -> Any:
    network = TensorDictModule(mlp(NUM_OBSERVATIONS, NUM_ACTIONS), ["observation"], ["logits"])
    return ProbabilisticSequential(
        network,
        ProbabilisticTensorDictModule(
            ["logits"], ["action"], distribution_class=OneHotCategorical, default_interaction_type=InteractionType.MODE
        ),
    )


def action_values(key: str = "action_value") -> Any:
    return ValueOperator(mlp(NUM_OBSERVATIONS, NUM_ACTIONS), in_keys=["observation"], out_keys=[key])


def greedy() -> QValueActor:
    return QValueActor(mlp(NUM_OBSERVATIONS, NUM_ACTIONS), in_keys=["observation"], action_space="one_hot")


def distributional() -> DistributionalQValueActor:
    network = MLP(in_features=NUM_OBSERVATIONS, out_features=(5, NUM_ACTIONS), num_cells=[8])
    return DistributionalQValueActor(network, torch.linspace(-1, 1, 5), in_keys=["observation"], action_space="one_hot")


SPEC = {"action_spec": ACTION}
LOSSES: dict[str, Build] = {
    "BCLoss": of(objectives.BCLoss, deterministic),
    "CQLLoss": of(objectives.CQLLoss, stochastic, qvalue, **SPEC),
    "CrossQLoss": of(objectives.CrossQLoss, stochastic, qvalue, **SPEC),
    "DDPGLoss": of(objectives.DDPGLoss, deterministic, qvalue, delay_actor=True, delay_value=True),
    "DDPGLoss, its way": of(objectives.DDPGLoss, deterministic, qvalue),
    "IQLLoss": of(objectives.IQLLoss, stochastic, qvalue, state_value),
    "REDQLoss": of(objectives.REDQLoss, stochastic, qvalue, num_qvalue_nets=3, sub_sample_len=2, **SPEC),
    "SACLoss": of(objectives.SACLoss, stochastic, qvalue, **SPEC),
    "SACLoss with V": of(objectives.SACLoss, stochastic, qvalue, state_value, num_qvalue_nets=1, **SPEC),
    "TD3BCLoss": of(objectives.TD3BCLoss, deterministic, qvalue, bounds=(-1.0, 1.0)),
    "TD3Loss": of(objectives.TD3Loss, deterministic, qvalue, bounds=(-1.0, 1.0)),
    "TQCLoss": of(objectives.TQCLoss, stochastic, lambda: qvalue(5), **SPEC),
    "DQNLoss": of(objectives.DQNLoss, greedy, action_space="one_hot"),
    "DiscreteCQLLoss": of(objectives.DiscreteCQLLoss, greedy, action_space="one_hot"),
    "DiscreteIQLLoss": of(
        objectives.DiscreteIQLLoss,
        categorical,
        lambda: action_values("state_action_value"),
        state_value,
        action_space="one_hot",
    ),
    "DiscreteSACLoss": of(
        objectives.DiscreteSACLoss, categorical, action_values, action_space="one_hot", num_actions=NUM_ACTIONS
    ),
    "DistributionalDQNLoss": of(objectives.DistributionalDQNLoss, distributional, gamma=0.9),
}
ONE_HOT = ("DQNLoss", "DiscreteCQLLoss", "DiscreteIQLLoss", "DiscreteSACLoss", "DistributionalDQNLoss")
NO_TARGETS = ("BCLoss", "CrossQLoss")


def make_agent(name: str, seed: int = 0, **settings: Any) -> agents.Agent:
    torch.manual_seed(seed)
    loss, policy = LOSSES[name]()
    parameters = [parameter for parameter in loss.parameters() if parameter.requires_grad]
    tau = None if name in NO_TARGETS else 0.1
    return agents.Agent(loss, policy, optimizers={"all": (parameters, AdamConfig())}, target_tau=tau, **settings)


def batch_for(name: str, seed: int = 0) -> TensorDict:
    batch = make_batch(8, seed, discrete=name in ONE_HOT)
    batch["next", "done"] = batch["next", "terminated"].clone()
    if name in ONE_HOT:
        batch["action"] = nn.functional.one_hot(batch["action"], NUM_ACTIONS)
    else:
        batch["action"] = batch["action"].clamp(-0.9, 0.9)
    return batch


def train(agent: agents.Agent, name: str, *seeds: int) -> dict[str, Tensor]:
    for seed in seeds:
        torch.manual_seed(seed)
        agent.update(batch_for(name, seed))
    return {key: value.clone() for key, value in agent.loss_module.state_dict().items() if isinstance(value, Tensor)}


@pytest.mark.parametrize("name", LOSSES)
def test_a_saved_agent_goes_on_bit_for_bit(name) -> None:
    agent = make_agent(name)
    agent.check(batch_for(name))
    before = train(agent, name, 1, 2)
    saved = copy.deepcopy(agent.state_dict())
    expected = train(agent, name, 3, 4)
    assert any(not torch.equal(value, before[key]) for key, value in expected.items())
    resumed = make_agent(name, seed=1)
    resumed.load_state_dict(saved)
    torch.testing.assert_close(train(resumed, name, 3, 4), expected, rtol=0.0, atol=0.0)


def test_another_discount_is_kept() -> None:
    loss, policy = LOSSES["TD3Loss"]()
    loss.make_value_estimator(gamma=0.5)
    agents.Agent(loss, policy, optimizers={"all": (loss.parameters(), AdamConfig())}, target_tau=0.1)
    assert loss.value_estimator.gamma == 0.5


def test_the_errors_of_single_transitions_reach_the_caller() -> None:
    for name in ("TD3Loss", "DQNLoss"):
        agent, batch = make_agent(name), batch_for(name)
        agent.update(batch)
        assert batch["td_error"].shape[0] == 8 and (batch["td_error"] > 0).all()
        agent.compile(batch_for(name), "trace")
        traced = batch_for(name)
        assert "td_error" not in agent.update(traced)
        assert traced["td_error"].shape == batch["td_error"].shape


def test_a_batch_that_holds_errors_of_an_earlier_update_is_like_a_new_one() -> None:
    again, fresh = make_agent("DiscreteCQLLoss"), make_agent("DiscreteCQLLoss")
    batch = batch_for("DiscreteCQLLoss")
    for agent in (again, fresh):
        agent.compile(batch, "trace")
    for _ in range(2):
        other = batch_for("DiscreteCQLLoss")
        torch.testing.assert_close(again.update(batch), fresh.update(other), rtol=0.0, atol=0.0)
        torch.testing.assert_close(batch["td_error"], other["td_error"], rtol=0.0, atol=0.0)


def test_importance_weights_of_a_batch_count() -> None:
    agent, batch = make_agent("TD3Loss"), batch_for("TD3Loss")
    plain = agent.update(batch_for("TD3Loss"))["loss_qvalue"]
    batch["priority_weight"] = torch.zeros(8)
    batch["priority_weight"][0] = 1.0
    weighted = make_agent("TD3Loss").update(batch)["loss_qvalue"]
    assert weighted != plain


def test_losses_are_chosen_and_weighed() -> None:
    agent = make_agent("CQLLoss", loss_weights={"loss_actor_bc": 1.0, "loss_qvalue": 0.5})
    loss, batch = agent.loss_module, batch_for("CQLLoss")
    torch.manual_seed(0)
    _, gradients = agent.rule.function((True,))(batch)
    torch.manual_seed(0)
    losses = loss(batch.copy())
    parameters = [parameter for parameter in loss.parameters() if parameter.requires_grad]
    total = losses["loss_actor_bc"] + 0.5 * losses["loss_qvalue"]
    expected = torch.autograd.grad(total, parameters, allow_unused=True)
    torch.testing.assert_close(dict(enumerate(gradients)), dict(enumerate(expected)))


def test_a_stack_minimises_what_its_agents_minimise() -> None:
    choice = {"loss_qvalue": 1.0}
    parts = [make_agent("TD3Loss", seed, loss_weights=choice) for seed in (0, 1)]
    stack = AgentStack(parts, [torch.Generator(), torch.Generator()])
    assert stack.rule.function((True,)).minimised(["loss_actor", "loss_qvalue"]) == ["loss_qvalue"]


def test_a_loss_that_is_not_minimised_may_be_infinite() -> None:
    agent = make_agent("CQLLoss", loss_weights={"loss_qvalue": 1.0})
    losses = agent.update(batch_for("CQLLoss"))
    losses["loss_actor"] = torch.tensor(torch.inf)
    agent.check_finite(losses)
    losses["loss_qvalue"] = torch.tensor(torch.nan)
    with pytest.raises(agents.NonFiniteLossError, match="loss_qvalue = nan"):
        agent.check_finite(losses)


@pytest.mark.parametrize(
    "loss_weights, message",
    [
        ({}, r"no output loss or loss_\*"),
        (
            {"loss_entropy": 1.0},
            "no output loss_entropy; it has.*loss_actor",
        ),
    ],
)
def test_a_choice_that_leaves_nothing_is_refused(loss_weights, message) -> None:
    with pytest.raises(agents.ConfigError, match=message):
        make_agent("TD3Loss", loss_weights=loss_weights).check(batch_for("TD3Loss"))


def test_a_key_that_the_data_lack_is_named_before_training() -> None:
    agent = make_agent("TD3Loss")
    agent.loss_module.set_keys(reward="pay")
    with pytest.raises(
        agents.ConfigError, match=r"TD3Loss fails .*it reads \('next', 'pay'\), which the batch has not"
    ):
        agent.check(batch_for("TD3Loss"))


def test_a_policy_that_fails_is_named_before_training() -> None:
    agent = make_agent("TD3Loss")
    agent.policy = TensorDictModule(mlp(NUM_OBSERVATIONS + 1, NUM_ACTIONS), ["observation"], ["action"])
    with pytest.raises(agents.ConfigError, match="TensorDictModule fails on a batch of these data .*shapes"):
        agent.check(batch_for("TD3Loss"))
    agent.policy = TensorDictModule(mlp(NUM_OBSERVATIONS, NUM_ACTIONS - 1), ["observation"], ["action"])
    with pytest.raises(agents.ConfigError, match=r"'action' \[8, 3\] of a batch, got \[8, 2\]"):
        agent.check(batch_for("TD3Loss"))


def test_what_a_loss_makes_at_its_first_call_is_named() -> None:
    class Late(objectives.BCLoss):
        def forward(self, tensordict: TensorDict) -> TensorDict:
            self.register_buffer("scale", torch.ones(()))
            return super().forward(tensordict)

    actor = deterministic()
    loss = Late(actor)
    agent = agents.Agent(loss, actor, optimizers={"all": (loss.parameters(), AdamConfig())})
    with pytest.raises(agents.ConfigError, match="Late makes scale at its first call"):
        agent.check(batch_for("BCLoss"))


@pytest.mark.parametrize("actor", [deterministic, stochastic])
def test_a_deterministic_policy_of_ones_own_network_acts(actor) -> None:
    own = actor()
    observation = torch.randn(4, NUM_OBSERVATIONS)
    action = deterministic_policy(own)(TensorDict({"observation": observation}, [4]))["action"]
    outputs = own(TensorDict({"observation": observation}, [4]))
    torch.testing.assert_close(action, outputs["loc"].tanh() if "loc" in outputs.keys() else outputs["action"])


def test_a_deterministic_policy_of_something_else_is_refused() -> None:
    with pytest.raises(agents.ConfigError, match="from 'observation' to 'action', got .*state_value"):
        deterministic_policy(state_value())
