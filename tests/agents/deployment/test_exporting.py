"""A policy in a file acts as the one that was trained, in batches of any size and through whole episodes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensordict.nn import TensorDictModule

import agents
from agents.algorithms.bc import BCConfig
from agents.algorithms.diffusion_bc import DiffusionBCConfig
from agents.algorithms.discrete_bc import DiscreteBCConfig
from agents.algorithms.dt import DTConfig
from agents.algorithms.iql import ExtractionConfig, IQLConfig
from agents.checkpoint import load as load_checkpoint
from agents.checkpoint import save
from agents.deployment.acting import FilePolicy, parts_of, specs_of
from agents.deployment.contract import Contract, Memory
from agents.deployment.describing import describe
from agents.deployment.exporting import contract_file, export_policy, write_policy
from agents.deployment.formats import load
from agents.deployment.graph import PolicyGraph
from agents.deployment.memory import core_of
from agents.deployment.parity import Steps, compare
from agents.deployment.policy import DeployedPolicy
from agents.deployment.pt2_format import as_function
from agents.environments.environment import EvaluationEnv
from agents.errors import PolicyError
from agents.files import write_atomically
from tests.agents.deployment.test_loading import ACTION, vector
from tests.worlds import WORLDS, environment_id

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

SEARCH = {
    "iql argmax": IQLConfig(extraction=ExtractionConfig(kind="argmax")),
    "iql softmax": IQLConfig(extraction=ExtractionConfig(kind="softmax", cem_iterations=2)),
}
NOISY = {"diffusion_bc with noise": DiffusionBCConfig()}
NOISY["diffusion_bc with noise"].actor.noise_scale = 1.0
CONFIGS = {name: config() for name, config in agents.ALGORITHMS.items()} | SEARCH | NOISY
WORLD_OF = {"continuous": "goal-box", "discrete": "goal-multidiscrete"}
PAIRS = [(name, WORLD_OF[config.actions]) for name, config in CONFIGS.items()]  # and of each other world a policy:
PAIRS += [("bc", "table-whole-numbers"), ("discrete_cql", "table-discrete"), ("discrete_iql", "vector-multibinary")]
SCALED = BCConfig(normalize_observations=True)


def exported(made: Any, path: Path, **options: Any) -> tuple[Any, Any]:
    """The policy of a checkpoint, and the same from a file."""
    checkpoint, dataset = made
    export_policy(checkpoint, dataset, path, **options)
    return checkpoint.build_agent().policy.eval(), load(path, trust=True)


def in_torch(checkpoint: Any, dataset: Any) -> DeployedPolicy:
    """The graph of a policy, before it is written to any file."""
    core = core_of(checkpoint.build_agent().policy.eval().requires_grad_(False))
    contract = describe(checkpoint, dataset, core)
    return DeployedPolicy(contract, as_function(PolicyGraph(core, checkpoint.specs()).eval(), contract))


def test_a_file_acts_as_the_policy_does_and_says_what_it_takes(checkpoint_of, tmp_path) -> None:
    checkpoint, dataset = made = checkpoint_of(SCALED, "goal-box")
    policy, file = exported(made, tmp_path / "policy.onnx", guard=True, rate=25.0, score={"step": 20.0, "return": 1.5})
    parity = compare(policy, file, dataset)
    assert parity.holds and parity.number == len(dataset) and 0.0 < parity.max_difference < 1e-5

    contract = file.contract
    assert contract == Contract.from_json(contract_file(tmp_path / "policy.onnx").read_text(), "it")
    assert [part.key for part in contract.observations] == ["achieved_goal", "desired_goal", "observation"]
    observations = dataset.rows[:, :8].numpy()
    low = np.concatenate([part.low for part in contract.observations])
    np.testing.assert_array_equal(low, observations.min(0))
    scale = np.concatenate([part.std for part in contract.observations])
    np.testing.assert_allclose(scale, dataset.specs.observation_std + 1e-3, rtol=1e-6)
    assert (contract.rate, contract.score, contract.step) == (25.0, {"step": 20.0, "return": 1.5}, 0)
    assert contract.dataset["fingerprint"] == dataset.fingerprint
    assert (contract.action.low, contract.action.high) == ((-1.0, 0.0), (2.0, 0.5))

    shown = {"achieved_goal": low[:3], "desired_goal": low[3:6], "observation": low[6:]}
    file(shown)
    assert not file.outside.any()
    wide = contract.observations[2].high[1] - low[7]
    file({**shown, "observation": [low[6], low[7] - 2 * wide]})
    assert file.outside.argmax() == 7 and contract.outside_names[7] == "observation.1"
    assert file.outside[7] == pytest.approx(2.0, rel=1e-4)


def test_a_policy_that_remembers_does_so_in_a_file(checkpoint_of) -> None:
    checkpoint, dataset = checkpoint_of(DTConfig(), "goal-box")
    policy, file = checkpoint.build_agent().policy.eval(), in_torch(checkpoint, dataset)
    parity = compare(policy, file, dataset)
    assert parity.holds and parity.max_difference < 1e-6
    observation = parts_of(file.contract, Steps(dataset).first(1))
    one = {name: value[0] for name, value in observation.items()}
    first = file(one)
    with pytest.raises(PolicyError, match="needs the reward of the step before"):
        file(one)
    second = file(one, 1.0)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(file.another()(one), first)
    np.testing.assert_array_equal(file.another()(one, 5.0), first)  # there is no step before the first
    wrong: list[Any] = [10**400, "x", [1.0, 2.0], float("nan")]
    for reward in wrong:
        with pytest.raises(PolicyError, match="the reward must be 1 finite numbers, got "):
            file(one, reward)
    with pytest.raises(PolicyError, match=r"3 observations, where 1 episodes are remembered: call reset\(\)"):
        file.batch({name: np.repeat(value, 3, 0) for name, value in observation.items()}, [1.0] * 3)
    file.reset()
    np.testing.assert_array_equal(file(one), first)
    assert file.contract.memory[1].reset == pytest.approx(dataset.specs.max_return)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "world"), PAIRS)
def test_every_policy_is_the_same_in_a_file_on_every_kind_of_data(name, world, checkpoint_of, tmp_path) -> None:
    checkpoint, dataset = made = checkpoint_of(CONFIGS[name], world)
    policy, file = exported(made, tmp_path / "policy.onnx", guard=True)
    parity = compare(policy, file, dataset)
    assert parity.holds and parity.equal == 1.0, parity
    assert ("fixed" in file.contract.random_numbers) == (name in SEARCH | NOISY)
    env = EvaluationEnv(environment_id(world), spaces=dataset.specs.spaces, owner="the data")
    with env:
        ours, theirs = agents.evaluate(policy, env, 5), agents.evaluate(FilePolicy(file), env, 5)
    np.testing.assert_array_equal(ours.returns, theirs.returns)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize(("name", "world"), [("dt", "goal-box"), ("discrete_cql", "goal-multidiscrete")])
def test_smaller_weights_act_nearly_as_the_policy(name, world, precision, checkpoint_of, tmp_path) -> None:
    made = checkpoint_of(CONFIGS[name], world)
    policy, file = exported(made, tmp_path / "policy.onnx", precision=precision)
    assert file.contract.precision == precision
    parity = compare(policy, file, made[1])
    assert parity.ties == 0 and (parity.equal > 0.5 if parity.discrete else 1e-5 < parity.share < 0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "world"), [("dt", "goal-box"), ("discrete_bc", "goal-multidiscrete")])
def test_a_graph_of_torch_is_the_same_too(name, world, checkpoint_of, tmp_path) -> None:
    checkpoint, dataset = made = checkpoint_of(CONFIGS[name], world)
    policy, file = exported(made, tmp_path / "policy.pt2", format="pt2")
    assert compare(policy, file, dataset).holds
    (tmp_path / "cut.pt2").write_bytes((tmp_path / "policy.pt2").read_bytes()[:-1000])
    with pytest.raises(PolicyError, match="cut.pt2 is damaged, truncated or no policy"):
        load(tmp_path / "cut.pt2", trust=True)


@pytest.mark.parametrize(
    ("config", "world"),
    [
        (DiscreteBCConfig(), "table-discrete"),
        (DiscreteBCConfig(), "goal-multidiscrete"),
        (SEARCH["iql softmax"], "goal-box"),
    ],
)
def test_first_indices_and_turns_of_random_numbers_are_in_the_graph(config, world, checkpoint_of) -> None:
    checkpoint, dataset = checkpoint_of(config, world)
    file = in_torch(checkpoint, dataset)
    parity = compare(checkpoint.build_agent().policy.eval(), file, dataset)
    assert parity.holds and parity.equal == 1.0, parity
    if world == "table-discrete":
        part = file.contract.observations[0]
        (seen,) = part.seen
        assert seen == tuple(sorted({int(index) + 2 for index in dataset.rows[:, 0]}))
        assert (part.low, part.high, part.starts) == ((seen[0],), (seen[-1],), (2,))


def test_an_environment_for_a_file_has_its_observations_and_actions(checkpoint_of) -> None:
    for world, (_, actions) in WORLDS.items():
        discrete = type(actions).__name__ != "Box"
        checkpoint, dataset = checkpoint_of(DiscreteBCConfig() if discrete else BCConfig(), world)
        contract = describe(checkpoint, dataset, core_of(checkpoint.build_agent().policy))
        specs = specs_of(Contract.from_json(contract.to_json(), "it"))
        assert specs.numbers == dataset.specs.numbers
        if not discrete:
            assert specs.action == dataset.specs.action


def test_units_and_rate_of_a_log_are_in_the_contract(checkpoint_of, tmp_path) -> None:
    checkpoint, dataset = checkpoint_of(BCConfig(), "table-whole-numbers")
    metadata = next(tmp_path.glob(f"data/{dataset.id}/data/metadata.json"))
    entries = {"observation_units": [None], "action_units": ["N m", None], "steps_per_second": 50}
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | entries))
    core = core_of(checkpoint.build_agent().policy)
    contract = describe(checkpoint, dataset, core)
    assert contract.rate == 50.0 and describe(checkpoint, dataset, core, rate=25.0).rate == 25.0
    assert contract.action.units == ("N m", None)
    first = json.loads(contract.to_json())
    del first["precision"], first["action"]["units"]  # as files of before
    assert Contract.from_json(json.dumps(first), "it").precision == "float32"


def test_a_memory_that_is_not_known_is_refused() -> None:
    policy = TensorDictModule(torch.nn.GRUCell(3, 2), in_keys=["observation", "hidden"], out_keys=["action"])
    with pytest.raises(PolicyError, match=r"reads \['observation', 'hidden'\] and writes \['action'\] has no format"):
        core_of(policy)


@pytest.mark.parametrize(("wrong", "holds"), [(0.0, True), (1e-4, False)])
def test_a_file_that_acts_otherwise_is_noticed(wrong, holds, checkpoint_of) -> None:
    checkpoint, dataset = checkpoint_of(SCALED, "goal-box")
    file = in_torch(checkpoint, dataset)

    def run(arrays: Any) -> Any:
        return {"action": file.run(arrays)["action"] + np.float32(wrong)}

    other = DeployedPolicy(file.contract, run)
    assert compare(checkpoint.build_agent().policy.eval(), other, dataset).holds == holds


class Always(torch.nn.Module):
    """The same action at any observation."""

    action: torch.Tensor

    def __init__(self, *action: float) -> None:
        super().__init__()
        self.register_buffer("action", torch.tensor([action]))

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        return self.action.expand(len(observation), -1)


@pytest.mark.parametrize(
    ("world", "action", "given", "holds"),
    [
        ("goal-box", (0.5, 0.5), (0.5, 0.4), False),  # nothing is rounded, though a half is what rounding hangs on
        ("goal-box", (0.5, 0.25), (0.5, 0.250004), False),  # of a range that is 0.5 wide
        ("table-whole-numbers", (0.5, 1.25), (1, 1), True),
        ("table-whole-numbers", (0.5, 1.25), (2, 1), False),
        ("table-whole-numbers", (0.5, 1.25), (1, 2), False),  # another number than the one that hangs on rounding
    ],
)
def test_only_what_float32_does_not_tell_apart_is_a_tie(world, action, given, holds, checkpoint_of) -> None:
    checkpoint, dataset = checkpoint_of(BCConfig(), world)
    contract = in_torch(checkpoint, dataset).contract
    policy = TensorDictModule(Always(*action), in_keys=["observation"], out_keys=["action"])
    file = DeployedPolicy(contract, lambda arrays: {"action": np.repeat([given], max(map(len, arrays.values())), 0)})
    parity = compare(policy, file, dataset)
    assert (parity.holds, parity.ties) == (holds, len(dataset) if holds else 0)


def test_whole_numbers_stay_in_the_space_of_the_data_where_the_policy_has_other_bounds(checkpoint_of) -> None:
    checkpoint, dataset = checkpoint_of(BCConfig(), "table-whole-numbers", action_bounds=[-2.6, 4.4])
    file, policy = in_torch(checkpoint, dataset), checkpoint.build_agent().policy.eval()
    assert compare(policy, file, dataset).holds
    policy = TensorDictModule(Always(-2.6, 4.4), in_keys=["observation"], out_keys=["action"])
    contract, graph = file.contract, PolicyGraph(core_of(policy), checkpoint.specs())
    assert compare(policy, DeployedPolicy(contract, as_function(graph, contract)), dataset).holds
    assert (contract.action.low, contract.action.high) == ((-2.0, -2.0), (3.0, 3.0))


def test_the_limits_under_which_a_policy_learned_are_in_its_file(checkpoint_of, tmp_path) -> None:
    checkpoint, dataset = checkpoint_of(BCConfig(), "goal-box")
    agent, space = checkpoint.build_agent(), dataset.specs.action.space
    low, high = (space.low + share * (space.high - space.low) for share in (0.45, 0.55))
    options = {"config": checkpoint._config(), "specs": dataset.specs.limited(low, high), "extra": checkpoint.extra}
    file = in_torch(load_checkpoint(save(tmp_path / "limited.safetensors", agent, **options)), dataset)
    assert (file.contract.action.low, file.contract.action.high) == (tuple(low.tolist()), tuple(high.tolist()))
    assert compare(agent.policy, file, dataset).holds, "up to the limits"
    actions = file.batch(parts_of(file.contract, Steps(dataset).first(64)))
    np.testing.assert_array_equal(actions, actions.clip(low.numpy(), high.numpy()))
    assert ((actions == low.numpy()) | (actions == high.numpy())).mean() > 0.2


def test_held_out_episodes_are_compared_on_their_own_rows(checkpoint_of) -> None:
    _, dataset = checkpoint_of(BCConfig(), "goal-box")
    kept, held_out = dataset.split(0.4)
    for part in (kept, held_out):
        first = Steps(part).first(1)[0]
        assert part.starts is not None
        np.testing.assert_array_equal(first, dataset.rows[part.starts[0], : len(first)])


def test_the_range_is_that_of_the_episodes_that_were_learned_from(checkpoint_of) -> None:
    """Their last observations among them."""
    checkpoint, dataset = checkpoint_of(BCConfig(), "goal-box")
    core = core_of(checkpoint.build_agent().policy.eval())
    kept, held_out = dataset.split(0.5)
    rows = dataset.rows.clone()
    rows[kept.starts[0] + int(kept.statistics.lengths[0]), 0], rows[held_out.starts, 0] = 7.0, 9.0
    contracts = [describe(checkpoint, replace(part, rows=rows), core) for part in (kept, dataset)]
    assert [contract.observations[0].high[0] for contract in contracts] == [7.0, 9.0]
    assert [contract.dataset["episodes"] for contract in contracts] == [8, 8]


def test_after_a_kill_between_two_files_no_policy_has_the_contract_of_another(tmp_path, monkeypatch) -> None:
    path = tmp_path / "policy.onnx"
    write_policy(path, b"old", b"{}")

    def killed(file: Path, payload: bytes) -> None:
        if file.suffix == ".json":
            raise KeyboardInterrupt
        write_atomically(file, payload)

    monkeypatch.setattr("agents.deployment.exporting.write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        write_policy(path, b"new", b"[]")
    assert path.read_bytes() == b"new" and not contract_file(path).exists()


def test_the_contract_refuses_what_it_does_not_know() -> None:
    with pytest.raises(PolicyError, match="it is damaged: its contract is no JSON"):
        Contract.from_json("{", "it")
    with pytest.raises(PolicyError, match="it is no policy of this project"):
        Contract.from_json(json.dumps({"format": "other"}), "it")
    with pytest.raises(PolicyError, match="it is of version 2, this reads version 1: export the policy again"):
        Contract.from_json(json.dumps({"format": "offline-agents policy", "version": 2}), "it")
    with pytest.raises(PolicyError, match="it is damaged: in its contract, 'observations'"):
        Contract.from_json(json.dumps({"format": "offline-agents policy", "version": 1}), "it")


@pytest.mark.parametrize("wrong", [None, "x", [], [None], [[1.0]], True])
@pytest.mark.parametrize(
    "place", [("step",), ("dataset",), ("observations", 0, "low", 0), ("action", "high"), ("memory", 0, "reset")]
)
def test_a_contract_whose_values_are_of_other_types_is_damaged(place, wrong) -> None:
    memory = Memory("memory.steps", "int64", (1,), 0)
    values = json.loads(Contract((vector(),), ACTION, (memory,)).to_json())
    holder = values
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = wrong
    with pytest.raises(PolicyError, match="it is damaged: in its contract, "):
        Contract.from_json(json.dumps(values), "it")
