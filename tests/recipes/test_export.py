"""A run's policy as a file: it is proven, it is scored like the checkpoint, and what cannot be is refused in a line."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agents.deployment.formats import load
from recipes.export import _last_score
from recipes.runs.folder import RunFolder

RUN = "runs/iql/test/pendulum-v0/seed0"
# a parity that does not hold
WRONG = """
import dataclasses
from recipes import export
compare = export.compare
export.compare = lambda *arguments: dataclasses.replace(compare(*arguments), max_difference=0.25, holds=False)
"""


@pytest.fixture
def folder(usual: Path, tmp_path: Path) -> Path:
    shutil.copytree(usual, tmp_path / RUN)
    return tmp_path


@pytest.fixture
def export(run_recipe: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    def export(*overrides: str, **options: Any) -> Any:
        return run_recipe("export", f"checkpoint={RUN}", "num_envs=1", *overrides, cwd=folder, **options)

    return export


@pytest.mark.parametrize(
    "rows, score",
    [
        (["10,5.0,,", "20,7.0,,2.0", "30,,,3.0"], {"step": 20.0, "eval/return": 7.0}),
        (["10,,0.5,", "20,,nan,2.0"], None),
        (["10,,0.5,2.0"], {"step": 10.0, "validation/mse": 0.5}),
        ([], None),
    ],
)
def test_the_score_in_a_contract_is_of_an_evaluation_and_of_no_estimate(rows, score, tmp_path) -> None:
    for name in ("config.yaml", "run.json"):
        (tmp_path / name).touch()
    header = "step,eval/return,validation/mse,estimate/fqe"
    (tmp_path / "evaluations.csv").write_text("".join(f"{line}\n" for line in (header, *rows)))
    checkpoint: Any = SimpleNamespace(num_updates=30, extra={})
    assert _last_score(RunFolder(tmp_path), checkpoint) == score


@pytest.mark.slow
def test_a_policy_is_exported_proven_and_scored_like_the_checkpoint(export, run_recipe, folder) -> None:
    finished = export("num_episodes=3", "guard=true", "num_observations=20")
    assert finished.code == 0, finished.err
    assert re.search(r"^parity:   20 observations: largest difference \S+, mean \S+$", finished.out, re.MULTILINE)
    assert {"torch, as evaluated", "onnxruntime"} <= {line.split("  ")[0] for line in finished.out.splitlines()}
    contract = load(folder / RUN / "policy.onnx").contract
    assert json.loads((folder / RUN / "policy.json").read_text())["algorithm"] == contract.algorithm == "iql"
    assert contract.guard and contract.rate == 20.0  # of Pendulum, whose steps take 0.05 s
    assert contract.score is not None and contract.score["step"] == contract.step == 20

    scores = []
    for number, subject in enumerate((f"checkpoint={RUN}", f"policy={RUN}/policy.onnx")):
        finished = run_recipe("evaluate", subject, "num_episodes=3", "num_envs=1", f"output=out{number}", cwd=folder)
        assert finished.code == 0, finished.err
        assert "iql at step 20" in finished.out
        scores.append(np.genfromtxt(folder / f"out{number}/episodes.csv", delimiter=",", names=True)["return_"])
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-4)


@pytest.mark.slow
def test_smaller_weights_say_what_they_cost_and_lie_beside_the_others(export, folder) -> None:
    names = {"policy.float16.onnx": "precision=float16", "policy.int8.onnx": "precision=int8", "policy.onnx": ""}
    names |= {"policy.graph.pt2": "format=pt2"}
    for setting in names.values():
        finished = export("num_episodes=2", "num_observations=20", *([setting] if setting else []))
        assert finished.code == 0, finished.err
        cost = re.search(r"^(\w+) costs \S+ ± \S+ of a return$", finished.out, re.MULTILINE)
        assert (cost and cost[1]) == (setting.partition("=")[2] if "precision" in setting else None)
        assert ("% of an action's range" in finished.out) == ("precision" in setting)
    files = {path.name for path in (folder / RUN).glob("policy.*")}
    assert files == {*names, *(str(Path(name).with_suffix(".json")) for name in names)}


@pytest.mark.slow
def test_a_file_that_acts_otherwise_is_not_written(export, folder) -> None:
    (folder / RUN / "policy.onnx").write_text("of before")
    finished = export("num_episodes=null", before=WRONG)
    assert re.match(r"the file does not act as the policy does: .* largest difference 0.25, .*", finished.refusal())
    assert (folder / RUN / "policy.onnx").read_text() == "of before"
    assert not (folder / RUN / "policy.json").exists()


def test_what_cannot_be_exported_is_refused_in_one_line(export) -> None:
    assert export("output=policy.bin").refusal() == ("output must end in .onnx with format=onnx, got 'policy.bin'")
    assert export("format=tflite").refusal() == "unknown format 'tflite'; choose from onnx, pt2, aoti"
    assert export("precision=int4").refusal() == "unknown precision 'int4'; choose from float32, float16, int8"
    assert export("format=pt2", "precision=int8").refusal() == "precision must be float32 with format=pt2, got 'int8'"
    assert export("rate=-1").refusal() == "rate must be positive, got -1.0"
    finished = export("dataset=elsewhere")
    assert finished.refusal().startswith("unknown setting 'dataset'")
