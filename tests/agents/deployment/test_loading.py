"""A policy in a file is loaded without torch, and refuses what it does not take in one clear line."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import agents
from agents.deployment import aoti_format, pt2_format
from agents.deployment.contract import Action, Contract, Memory, Observation
from agents.deployment.formats import load
from agents.deployment.onnx_format import METADATA, _seal
from agents.deployment.policy import DeployedPolicy
from agents.errors import ConfigError, PolicyError

REPOSITORY = Path(agents.__file__).parents[1]
HEAVY = "torch", "tensordict", "torchrl", "mujoco", "wandb", "hydra", "gymnasium", "minari", "recipes"


def vector(**changes: Any) -> Observation:
    fields = {
        "name": "observation", "path": (), "type": "float32", "shape": (2,), "names": ("speed", "load"),
        "units": (None, None), "low": (0.0, 0.0), "high": (1.0, 9.0), "mean": None, "std": None,
    }  # fmt: skip
    return Observation(**{**fields, **changes})


def category(**changes: Any) -> Observation:
    fields = {
        "name": "observation.gear", "path": ("gear",), "type": "int64", "shape": (), "names": ("gear",),
        "units": (None,), "low": (1.0,), "high": (5.0,), "mean": None, "std": None, "categories": (5,), "starts": (1,),
        "seen": ((1, 2, 3),),
    }  # fmt: skip
    return Observation(**{**fields, **changes})


ACTION = Action("float32", (1,), ("torque",), (-1.0,), (1.0,))
PLAIN = Contract((vector(),), ACTION)
PARTS = Contract((vector(name="observation.drive", path=("drive",)), category()), ACTION)


def sums(arrays: dict[str, Any]) -> dict[str, Any]:
    """An action that is the sum of all inputs."""
    return {"action": sum(array.reshape(len(array), -1).sum(-1, keepdims=True) for array in arrays.values())}


@pytest.mark.parametrize(
    ("contract", "observation"),
    [
        (PLAIN, [0.5, 2.0]),
        (PLAIN, np.array([0.5, 2.0])),
        (PLAIN, {"observation": [0.5, 2.0]}),
        (PLAIN, {"load": 2, "speed": 0.5}),
        (PARTS, {"drive": [-0.5, 0.0], "gear": 3}),
        (PARTS, {"gear": np.float64(3.0), "drive": (-0.5, 0)}),
    ],
)
def test_an_observation_is_taken_as_an_environment_or_a_log_has_it(contract, observation) -> None:
    assert DeployedPolicy(contract, sums)(observation) == pytest.approx([2.5])


MISTAKES = {
    "another length": (PLAIN, [0.5], r"'observation' must have the shape \[2\], got \[1\]"),
    "a batch": (PLAIN, [[0.5, 1.0]], r".* got \[1, 2\]; a batch of observations goes to policy.batch"),
    "text": (PLAIN, ["a", "b"], r"'observation' must hold numbers \(float32\), got <U1 from \['a', 'b'\]"),
    "nothing": (PLAIN, None, r"'observation' must hold numbers \(float32\), got object from None"),
    "complex": (PLAIN, [1j, 0], r"'observation' must hold numbers \(float32\), got complex128 .*"),
    "ragged": (PLAIN, [[1.0], [1.0, 2.0]], r"'observation' is no array: .*"),
    "a NaN": (PLAIN, [0.5, np.nan], r"the observation's 'load' is nan"),
    "beyond float32": (PLAIN, [1e300, 1.0], r"the observation's 'speed' is inf"),
    "other names": (
        PLAIN, {"speed": 1.0, "weight": 2.0},
        r"the names of the observation are others: the policy's 'load' is missing, it knows no 'weight'",
    ),
    "shapes that differ": (PLAIN, {"speed": [1.0, 2.0], "load": 2.0}, r"the numbers .* are of different shapes: .*"),
    "a part that is missing": (
        PARTS, {"drive": [1.0, 2.0]}, r"the observation lacks 'gear': the policy takes 'drive', 'gear', this is 'drive'"
    ),
    "no parts": (PARTS, [1.0, 2.0, 3.0], r"the observation lacks 'drive': .*, this is list"),
    "no category": (
        PARTS, {"drive": [1.0, 2.0], "gear": 6},
        r"the observation's 'gear' must be a whole number from 1 to 5, got 6",
    ),
    "half a category": (PARTS, {"drive": [1.0, 2.0], "gear": 1.5}, r"the observation's 'gear' must be .*, got 1.5"),
    "a category that is NaN": (PARTS, {"drive": [1.0, 2.0], "gear": np.nan}, r"the observation's 'gear' .*, got nan"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MISTAKES)
def test_an_observation_of_another_kind_is_refused_in_one_line(kind) -> None:
    contract, observation, message = MISTAKES[kind]
    with pytest.raises(PolicyError, match=f"^{message}$"):
        DeployedPolicy(contract, sums)(observation)


def test_parts_of_a_batch_are_as_many_as_each_other() -> None:
    batch = {"drive": np.zeros((3, 2)), "gear": [1, 2]}
    with pytest.raises(PolicyError, match="differ in their number: observation.drive 3, observation.gear 2"):
        DeployedPolicy(PARTS, sums).batch(batch)


def test_names_of_a_program_are_compared_with_those_of_the_policy() -> None:
    assert DeployedPolicy(PLAIN, sums, names=["speed", "load"])([0.5, 2.0]) == pytest.approx([2.5])
    with pytest.raises(PolicyError, match="in another order: number 0 is 'load' here, 'speed' in the policy"):
        DeployedPolicy(PLAIN, sums, names=["load", "speed"])
    with pytest.raises(PolicyError, match="others: the policy's 'load' is missing, it knows no 'weight'"):
        DeployedPolicy(PLAIN, sums, names=["speed", "weight"])


def test_a_memory_goes_on_until_it_is_reset() -> None:
    contract = Contract((vector(),), ACTION, (Memory("memory.steps", "int64", (1,), 3),))

    def run(arrays: dict[str, Any]) -> dict[str, Any]:
        return {"action": arrays["memory.steps"], "memory.steps.next": arrays["memory.steps"] + 1}

    policy = DeployedPolicy(contract, run)
    assert [policy([0.0, 0.0])[0] for _ in range(3)] == [3, 4, 5]
    assert policy.another()([0.0, 0.0]) == 3
    assert policy([0.0, 0.0]) == 6
    policy.reset()
    assert policy([0.0, 0.0]) == 3


def test_arrays_of_any_layout_arrive_row_by_row() -> None:
    contract = Contract((vector(), category()), ACTION, (Memory("memory.steps", "int64", (1,), 0),), takes_reward=True)

    def run(arrays: dict[str, Any]) -> dict[str, Any]:
        assert all(array.flags.c_contiguous for array in arrays.values())
        assert [array.strides[0] for array in arrays.values()] == [8, 8, 4, 8]
        return {"action": arrays["reward"], "memory.steps.next": arrays["memory.steps"]}

    policy, table = DeployedPolicy(contract, run), np.arange(1.0, 31.0, dtype=np.float32).reshape(3, 10) % 5 + 1
    shown = {"observation": table[:, 2:6:2], "gear": table[:, 7]}
    policy.batch(shown)
    np.testing.assert_array_equal(policy.batch(shown, table[:, 3])[:, 0], table[:, 3])


def onnx_file(path: Path, contract: str | None, *, counts: bool = False) -> Path:
    """A graph that adds up a vector of two, and may count the steps, with a contract in it."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    tensor, number = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    nodes = [onnx.helper.make_node("ReduceSum", ["observation", "axes"], ["action"], keepdims=1)]
    axes = onnx.helper.make_tensor("axes", onnx.TensorProto.INT64, [1], [1])
    inputs, outputs = [tensor("observation", number, ["batch", 2])], [tensor("action", number, ["batch", 1])]
    constants = [axes]
    if counts:
        nodes.append(onnx.helper.make_node("Add", ["memory.steps", "one"], ["memory.steps.next"]))
        constants.append(onnx.helper.make_tensor("one", onnx.TensorProto.INT64, [1], [1]))
        inputs.append(tensor("memory.steps", onnx.TensorProto.INT64, ["batch", 1]))
        outputs.append(tensor("memory.steps.next", onnx.TensorProto.INT64, ["batch", 1]))
    graph = onnx.helper.make_graph(nodes, "sum", inputs, outputs, constants)
    model = onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 20)])
    if contract is not None:
        model.metadata_props.add(key=METADATA, value=contract)
    content = model.SerializeToString()
    path.write_bytes(content + _seal(content))
    return path


# whoever imports one of these gets an error, as where they are not installed
BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, *_):
        if name.split(".")[0] in {names}:
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Blocked())
"""
ALONE = """
from agents.deployment import load
policy = load("policy.onnx", names=["speed", "load"])
print(policy([0.5, 2.0]).tolist(), policy.batch([[1, 1], [2, 2]]).tolist(), policy.contract.action.names)
"""


def test_a_file_acts_without_torch_and_all_that(tmp_path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    onnx_file(tmp_path / "policy.onnx", PLAIN.to_json())
    program = BLOCKED.format(names=HEAVY) + f"sys.path.insert(0, {str(REPOSITORY)!r})" + ALONE
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("[2.5] [[2.0], [4.0]] ('torque',)\n", 0), done.stderr
    episode = [{"observation": {"observation": [0.5, 2.0]}, "reward": 0.0}]
    (tmp_path / "episode.json").write_text(json.dumps(episode))
    example = (REPOSITORY / "examples/consumers/act.py").read_text()
    arguments = [sys.executable, "-c", BLOCKED.format(names=(*HEAVY, "agents")) + example]
    done = subprocess.run([*arguments, "policy.onnx", "episode.json"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("[2.5]\n", 0), done.stderr


def test_a_file_that_is_none_is_refused_in_one_line(tmp_path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    whole = onnx_file(tmp_path / "whole.onnx", PLAIN.to_json()).read_bytes()
    load(tmp_path / "whole.onnx")
    cut, changed = tmp_path / "cut.onnx", tmp_path / "changed.onnx"
    for size in (0, 10, len(whole) // 2, len(whole) - 76, len(whole) - 1):
        cut.write_bytes(whole[:size])
        with pytest.raises(PolicyError, match="cut.onnx is damaged, truncated, or changed since .*"):
            load(cut)
    for place in range(0, len(whole), 97):
        changed.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(PolicyError, match="changed.onnx is damaged, truncated, or changed since .*"):
            load(changed)
    later = json.dumps({**json.loads(PLAIN.to_json()), "version": 2})
    with pytest.raises(PolicyError, match="is of version 2, this reads version 1: export the policy again, or .*"):
        load(onnx_file(tmp_path / "later.onnx", later))
    with pytest.raises(PolicyError, match="foreign.onnx is no policy of this project: it has another contract"):
        load(onnx_file(tmp_path / "foreign.onnx", None))
    with pytest.raises(PolicyError, match="other.onnx is damaged: its inputs are .*, and not those of its contract"):
        load(onnx_file(tmp_path / "other.onnx", PARTS.to_json()))
    with pytest.raises(PolicyError, match="no policy at nowhere.onnx; offline-agents export makes one"):
        load("nowhere.onnx")
    (tmp_path / "policy.txt").write_text("")
    with pytest.raises(PolicyError, match="ends neither in .onnx nor in .pt2"):
        load(tmp_path / "policy.txt")
    (tmp_path / "policy.pt2").write_text("no archive")
    with pytest.raises(PolicyError, match="policy.pt2 is damaged, truncated or no policy"):
        load(tmp_path / "policy.pt2")


@pytest.mark.parametrize("entry", ["policy/data/aotinductor/model/code.so", "policy/models/model.json"])
def test_a_file_that_can_run_code_is_opened_only_if_somebody_trusts_it(entry, tmp_path, monkeypatch) -> None:
    with zipfile.ZipFile(tmp_path / "policy.pt2", "w") as archive:
        archive.writestr(entry, "")
    opened = []
    for module in (aoti_format, pt2_format):
        monkeypatch.setattr(module, "open_file", lambda *_: opened.append(1) or (PLAIN, sums))
    with pytest.raises(PolicyError, match="policy.pt2 is a file of torch's, and can run any code .* trust_policy=true"):
        load(tmp_path / "policy.pt2")
    assert not opened
    assert load(tmp_path / "policy.pt2", trust=True).contract == PLAIN and opened


def test_without_onnxruntime_it_says_what_to_install(tmp_path, monkeypatch) -> None:
    (tmp_path / "policy.onnx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"policy.onnx needs a package: pip install 'offline-agents\[onnx\]'"):
        load(tmp_path / "policy.onnx")
