"""The page on adding a loss does what it says, and a loss from outside trains through the same recipe."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recipes.conftest import QUICK, REPOSITORY

# TorchRL's DDPGLoss, which the project uses nowhere
OUTSIDER = """
from dataclasses import dataclass, field
from typing import ClassVar

from torchrl.objectives import DDPGLoss

import agents
from agents.networks import DeterministicActorConfig, QValueConfig, deterministic_policy, separate_critics
from agents.training import AdamConfig


@dataclass
class OutsiderConfig:
    actions: ClassVar[str] = "continuous"

    gamma: float = 0.9
    optimizer: AdamConfig = field(default_factory=AdamConfig)

    def build(self, specs, *, device="cpu"):
        actor = DeterministicActorConfig([8]).build(specs).to(device)
        (qvalue,) = separate_critics(QValueConfig([8]), specs, num_nets=1, normalize=False)
        loss = DDPGLoss(actor, qvalue.to(device), delay_actor=True, delay_value=True)
        loss.make_value_estimator(gamma=self.gamma)
        loss.set_keys(done="terminated")
        parameters = [p for p in loss.parameters() if p.requires_grad]
        optimizers = {"all": (parameters, self.optimizer)}
        return agents.Agent(loss, deterministic_policy(actor), optimizers=optimizers, target_tau=0.01)


agents.ALGORITHMS["outsider"] = OutsiderConfig
"""


@pytest.fixture
def copy_of_the_project(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("agents", "recipes", "tests"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=ignored)
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def run(folder: Path, *arguments: str) -> str:
    """What Python prints in a copy of the project."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow  # in a copy of the project, whose contract it then keeps
def test_the_pages_loss_is_an_algorithm_like_any_other(copy_of_the_project, read_csv) -> None:
    text = (REPOSITORY / "docs/add_a_loss.md").read_text()
    named = re.search(r"`(agents/algorithms/\w+\.py)`, whole", text)[1]
    whole, registry, _ = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (copy_of_the_project / named).write_text(whole)
    importing, entry = registry.splitlines(keepends=True)
    file = copy_of_the_project / re.search(r"in the registry, `(.*?)`", text)[1]
    lines = file.read_text().replace("from agents.errors", f"{importing}from agents.errors", 1)
    file.write_text(re.sub(r"(ALGORITHMS: .*\n)", rf"\1{entry}", lines))
    command = re.search(r"^offline-agents (train .*)$", text, re.MULTILINE)[1].split()

    small = [*QUICK, "compile=trace", "algorithm.actor.hidden_sizes=[8]"]
    printed = run(copy_of_the_project, "-m", "recipes", *command, *small)
    (folder,) = copy_of_the_project.glob("runs/*/test/*/seed0")
    assert f"policy:      {folder.relative_to(copy_of_the_project)}/checkpoints/last.safetensors" in printed
    assert {"train/loss_actor", "train/action_error"} <= read_csv(folder / "metrics.csv")[-1].keys()

    name = folder.parts[-4]
    concerned = ["tests/test_contract.py", "tests/test_architecture.py", "tests/recipes/settings/test_command_line.py"]
    chosen = f"({name} or architecture or preset or ilq) and not frameworks"  # in one file, settings load torch
    tests = run(copy_of_the_project, "-m", "pytest", *concerned, "-qk", chosen)
    assert re.search(r"^\d\d\d passed, \d+ deselected", tests, re.MULTILINE), tests


def test_a_torchrl_loss_from_outside_trains_through_the_recipe(run_recipe, read_csv, tmp_path) -> None:
    settings = (*QUICK, "compile=trace", "run_dir=run", "algorithm=outsider", "algorithm.gamma=0.5")
    (tmp_path / "outsider.py").write_text(OUTSIDER)
    importing = f"import sys; sys.path.append({str(tmp_path)!r}); import outsider"
    done = run_recipe("train", *settings, cwd=tmp_path, before=importing)
    assert done.code == 0, done.err
    last = read_csv(tmp_path / "run/metrics.csv")[-1]
    assert last["step"] == "20" and {"train/loss_actor", "train/loss_value", "train/lr_all"} <= last.keys()
    assert [row["step"] for row in read_csv(tmp_path / "run/evaluations.csv")] == ["10", "20"]
    assert "gamma: 0.5" in (tmp_path / "run/config.yaml").read_text()


@pytest.mark.slow
def test_seeds_of_a_loss_from_outside_are_processes_of_its_own_script(run_recipe, tmp_path) -> None:
    (tmp_path / "outsider.py").write_text(OUTSIDER)
    for name in ("config", "run", "report", "settings"):  # of the user's own
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported by mistake')\n")
    script, recipes = tmp_path / "mine.py", str(REPOSITORY / "recipes")
    script.write_text(f"import sys\nsys.path.append({recipes!r})\nimport outsider, train\ntrain.main()\n")
    settings = (*QUICK, "compile=off", "run_dir=runs/seed${seed}", "algorithm=outsider", "seeds=[3]")
    known = f"import sys; sys.path.append({str(tmp_path)!r}); import outsider; sys.argv[0] = {str(script)!r}"
    done = run_recipe("train", *settings, cwd=tmp_path, before=known)
    assert done.code == 0, done.out + done.err
    assert (tmp_path / "runs/seed3/checkpoints/last.safetensors").exists()
