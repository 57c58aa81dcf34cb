"""The references do the work of our IQL: else the ratios of the benchmark would mean nothing."""

from __future__ import annotations

import copy

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.data import Bounded, Unbounded

import agents
import references
from agents.networks.configs import ActorConfig, QValueConfig, ValueConfig
from agents.objectives import IQLLoss

NUM_OBSERVATIONS, NUM_ACTIONS, HIDDEN_SIZE = 5, 3, 16
DECAY_STEPS = 40  # so few that a wrong schedule shows


@pytest.fixture
def specs() -> agents.Specs:
    """With actions within +-1, as the references have them."""
    action = Bounded(-1.0, 1.0, (NUM_ACTIONS,))
    moments = torch.zeros(NUM_OBSERVATIONS), torch.ones(NUM_OBSERVATIONS)
    return agents.Specs(Unbounded((NUM_OBSERVATIONS,)), action, *moments)


@pytest.fixture
def batch(batch: TensorDict) -> TensorDict:
    batch["action"] = batch["action"].clamp(-0.9, 0.9)
    return batch


@pytest.fixture
def agent(specs: agents.Specs) -> agents.Agent:
    torch.manual_seed(0)
    size = {"hidden_sizes": [HIDDEN_SIZE, HIDDEN_SIZE]}
    config = agents.IQLConfig(
        actor=ActorConfig(**size),
        qvalue=QValueConfig(**size),
        value=ValueConfig(**size),
        actor_optimizer=agents.AdamConfig(decay_steps=DECAY_STEPS),
    )
    return config.build(specs)


def as_plain(agent: agents.Agent) -> dict[str, Tensor]:
    """Our parameters and targets under the names and in the shapes of :class:`references.PlainIQL`."""
    loss = agent.loss_module
    actor, value = (params.flatten_keys(".") for params in (loss.actor_network_params, loss.value_network_params))
    ensembles = {"critics": loss.qvalue_network_params, "target_critics": loss.target_qvalue_network_params}
    named = {"log_std": actor["module.0.module.log_std"]}
    for layer in ("0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"):
        named[f"actor.{layer}"] = actor[f"module.0.module.layers.0.{layer}"]
        named[f"value.{layer}"] = value[f"module.0.{layer}"]
        for name, params in ensembles.items():
            for i, member in enumerate(params.flatten_keys(".")[f"module.layers.{layer}"]):  # [in, out] or [1, out]
                named[f"{name}.{i}.{layer}"] = member.T if layer.endswith("weight") else member[0]
    return {name: tensor.detach().clone() for name, tensor in named.items()}


def from_plain(iql: references.PlainIQL) -> dict[str, Tensor]:
    modules = {name: getattr(iql, name) for name in ("actor", "value", "critics", "target_critics")}
    named = {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    return {**named, "log_std": iql.log_std.detach()}


def plain_batch(batch: TensorDict) -> list[Tensor]:
    following = batch["next"]
    parts = batch["observation"], batch["action"], following["observation"], following["reward"]
    return [*parts, following["terminated"].float()]


def test_plain_iql_equals_ours_over_many_updates(agent, batches) -> None:
    """Both compute all three losses from the parameters before the update."""
    iql = references.PlainIQL(
        NUM_OBSERVATIONS, NUM_ACTIONS, hidden_size=HIDDEN_SIZE, dropout=0.0, decay_steps=DECAY_STEPS
    )
    initial = as_plain(agent)
    for name in ("actor", "value", "critics", "target_critics"):
        parameters = {k.removeprefix(f"{name}."): v for k, v in initial.items() if k.startswith(f"{name}.")}
        getattr(iql, name).load_state_dict(parameters)
    for seed in range(30):
        batch = batches(seed)
        batch["action"] = batch["action"].clamp(-1.0, 1.0)
        ours, theirs = agent.update(batch), iql.update(*plain_batch(batch))
        for name, loss in theirs.items():
            torch.testing.assert_close(loss, ours[name], rtol=1e-5, atol=1e-5)
    trained, expected = from_plain(iql), as_plain(agent)
    assert trained.keys() == expected.keys()
    for name, parameter in expected.items():
        torch.testing.assert_close(trained[name], parameter, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(parameter, initial[name], rtol=1e-5, atol=1e-5), f"{name} has not moved"


def test_plain_iql_has_the_work_of_the_defaults() -> None:
    iql = references.PlainIQL(45, 24)
    specs = agents.Specs(Unbounded((45,)), Bounded(-1.0, 1.0, (24,)), torch.zeros(45), torch.ones(45))
    trained = [p for p in agents.IQLConfig().build(specs).loss_module.parameters() if p.requires_grad]
    groups = [iql.actor_optimizer, iql.critic_optimizer, iql.value_optimizer]
    theirs = [p for optimizer in groups for group in optimizer.param_groups for p in group["params"]]
    assert sum(p.numel() for p in theirs) == sum(p.numel() for p in trained)
    rates = [module.p for module in iql.actor.modules() if isinstance(module, nn.Dropout)]
    assert rates == [agents.IQLConfig().actor.dropout] * 2


def test_plain_sampler_keeps_transitions_together() -> None:
    rows = torch.arange(1000.0)[:, None]
    following = {"observation": rows + 0.5, "reward": -rows, "terminated": rows % 2 == 0}
    transitions = TensorDict({"observation": rows, "action": 2 * rows, "next": following}, [1000])
    observation, action, next_observation, reward, terminated = references.plain_sampler(transitions)()
    assert observation.shape == (references.BATCH_SIZE, 1)
    assert torch.equal(action, 2 * observation) and torch.equal(next_observation, observation + 0.5)
    assert torch.equal(reward, -observation) and torch.equal(terminated, (observation % 2 == 0).float())


@pytest.fixture
def torchrl() -> references.TorchRLIQL:
    torch.manual_seed(0)
    return references.TorchRLIQL(NUM_OBSERVATIONS, NUM_ACTIONS, hidden_size=HIDDEN_SIZE, dropout=0.0)


def our_loss(iql: references.TorchRLIQL) -> IQLLoss:
    """Our loss on the networks of TorchRL's recipe, targets included."""

    def ensemble(parameters: TensorDict) -> TensorDictModule:
        critics = [copy.deepcopy(iql.qvalue.module) for _ in range(2)]
        for critic, own in zip(critics, parameters.unbind(0)):
            own = own["module"].flatten_keys(".")
            critic.load_state_dict({name: own[name].detach() for name in critic.state_dict()})
        network = agents.networks.QValueEnsemble(critics, [])
        return TensorDictModule(network, in_keys=["observation", "action"], out_keys=["state_action_value"])

    settings = {"temperature": references.TEMPERATURE, "expectile": references.EXPECTILE, "gamma": references.GAMMA}
    critics = ensemble(iql.loss_module.qvalue_network_params)
    loss = IQLLoss(iql.actor, critics, iql.value, advantage_clip=references.ADVANTAGE_CLIP, **settings)
    targets = TensorDict.from_module(ensemble(iql.loss_module.target_qvalue_network_params))
    loss.target_qvalue_network_params.data.update_(targets.data)
    return loss


@pytest.mark.filterwarnings("ignore:No target network updater")  # the losses are compared without an agent
def test_torchrls_losses_equal_ours_on_its_networks(torchrl, batch) -> None:
    batch["next", "done"] = batch["next", "terminated"]
    for _ in range(5):  # so that targets and critics differ
        theirs = torchrl.update(batch.clone())
    ours, theirs = our_loss(torchrl)(batch), torchrl.loss_module(batch.clone())
    for name in ("loss_actor", "loss_qvalue", "loss_value"):
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-5)


def test_torchrls_recipe_learns_from_its_buffer(torchrl, batches) -> None:
    transitions = torch.cat([batches(seed) for seed in range(32)])
    transitions["action"] = transitions["action"].clamp(-0.9, 0.9)
    transitions["next", "terminated"] = torch.ones_like(transitions["next", "terminated"])  # a fixed target
    sample = references.torchrl_sampler(transitions, "cpu")
    losses = [torchrl.update(sample()) for _ in range(100)]
    assert losses[0].batch_size == torch.Size([]) and all(loss.isfinite().all() for loss in losses)
    for name in ("loss_actor", "loss_qvalue"):
        first, last = (sum(loss[name] for loss in part) / 10 for part in (losses[:10], losses[-10:]))
        assert last < first, name
