"""An algorithm of an installed package: compare, its worker processes, evaluate and resume know it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.recipes.conftest import DATASET, NO_PLOT, QUICK, REPOSITORY

GROUP = re.search(r'entry-points\."(.+)"', (REPOSITORY / "docs/add_a_loss.md").read_text())[1]
PACKAGE = """
from dataclasses import dataclass, field

from agents.algorithms.bc import BCConfig
from agents.networks import ActorConfig


@dataclass
class CalmConfig(BCConfig):
    actor: ActorConfig = field(default_factory=lambda: ActorConfig(hidden_sizes=[8]))
    calm: float = 0.5  # how calm
"""


@pytest.fixture
def site_packages(tmp_path: Path) -> Path:
    """A folder with what ``pip install calm`` would leave."""
    folder = tmp_path / "site-packages"
    info = folder / "calm-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "calm.py").write_text(PACKAGE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: calm\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\ncalm_bc = calm:CalmConfig\n")
    return folder


@pytest.mark.slow
def test_every_recipe_knows_the_algorithm_of_an_installed_package(site_packages, run_recipe, tmp_path) -> None:
    """Here recipes are forks of a process that began without the package; a comparison's runs begin with it."""
    path = os.pathsep.join((str(site_packages), str(REPOSITORY)))
    here = f"import sys; sys.path.append({str(site_packages)!r})\n"
    before = here + "from agents.algorithms import registry; registry.register_installed()\n" + NO_PLOT

    def run(recipe: str, *arguments: str) -> str:
        done = run_recipe(recipe, *arguments, cwd=tmp_path, before=before, PYTHONPATH=path)
        assert done.code == 0, done.out + done.err
        return done.out

    settings = [setting for setting in QUICK if not setting.startswith(("dataset=", "wandb."))]
    choice = ["algorithms=calm_bc", f"datasets={DATASET}", "seeds=[0]", "algorithm.calm=0.25"]
    assert "calm_bc" in run("compare", *choice, *settings, "num_resamples=10")
    folder = tmp_path / f"runs/calm_bc/{DATASET}/seed0"
    assert "calm: 0.25" in (folder / "config.yaml").read_text()
    assert "return" in run("evaluate", f"checkpoint={folder}", "num_episodes=2")
    (folder / "checkpoints/last.safetensors").unlink()
    assert "step 20: return" in run("train", f"resume={folder}")
