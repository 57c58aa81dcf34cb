"""The installed package: what a wheel holds, and that every way into a recipe is the same, wherever it is called."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from recipes.__main__ import COMMANDS
from tests.recipes.conftest import DATASET, QUICK, REPOSITORY

# of modules of this project, of today and of version 0.1, and what else a user may well have in a folder
NAMES = {path.stem for path in (REPOSITORY / "recipes").iterdir()} | {
    *("config", "run", "record", "report", "results", "settings", "pool", "plan", "board", "tables", "page", "utils"),
    *("command_line", "folder", "lifecycle", "torch_utils", "metrics", "data", "networks", "evaluation", "training"),
}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout."""
    pytest.importorskip("hatchling", reason="without a network the wheel is built with what is installed")
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--wheel-dir", folder)
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, REPOSITORY], check=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def installed(wheel: Path, environment: dict[str, str]) -> Path:
    """Folder of an installation of its own."""
    options = ("--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", "--target", wheel.parent / "target")
    subprocess.run([sys.executable, "-m", "pip", "install", *options, wheel], check=True)
    return wheel.parent / "target"


@pytest.fixture
def start(installed: Path, environment: dict[str, str], tmp_path: Path):
    """Starts a way into a recipe with the installed package, in a folder full of files that must not be imported."""
    for name in NAMES - {"__init__", "__main__", "__pycache__"}:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported by mistake')\n")

    def popen(way: str, *arguments: str) -> subprocess.Popen[str]:
        command = {
            "command": [installed / "bin" / "offline-agents", *arguments],
            "module": ["-m", *(f"recipes.{recipe}" for recipe in arguments[:1]), *arguments[1:]],
            "script": [*(installed / "recipes" / f"{recipe}.py" for recipe in arguments[:1]), *arguments[1:]],
        }[way]
        variables = {**environment, "PYTHONPATH": str(installed)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([sys.executable, *command], cwd=tmp_path, env=variables, text=True, **pipes)

    return popen


def test_a_wheel_holds_both_packages_with_their_files_and_the_command(wheel) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {*archive.namelist()}
        (entry_points,) = [name for name in names if name.endswith(".dist-info/entry_points.txt")]
        assert "offline-agents = recipes.__main__:main" in archive.read(entry_points).decode()
    here = {
        path.relative_to(REPOSITORY).as_posix()
        for top in ("agents", "recipes")
        for path in (REPOSITORY / top).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {name for name in names if ".dist-info/" not in name} == here
    assert {"agents/py.typed", "recipes/py.typed", "agents/data/policies/pen.safetensors"} < here
    assert {"recipes/conf/train.yaml", "recipes/conf/algorithm/iql.yaml", "recipes/sweeps/iql.yaml"} < here


def test_a_mistake_is_the_same_line_whichever_way_a_recipe_is_called(start) -> None:
    lines = set()
    for process in [start(way, "train", "gradient_step=3") for way in ("command", "module", "script")]:
        out, err = process.communicate()
        assert (process.returncode, out) == (2, "")
        lines.add(err)
    (line,) = lines
    assert line.startswith("error: unknown setting 'gradient_step' (did you mean gradient_steps?); valid are ")


def test_the_command_names_its_recipes(start) -> None:
    processes = [start("command", *arguments) for arguments in (["--help"], [], ["tain", "seed=0"])]
    (usage, _), (unasked, _), (_, err) = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 2, 2]
    assert usage == unasked and usage.startswith("offline-agents COMMAND [NAME=VALUE ...]\n")
    assert err.startswith("error: unknown command 'tain' (did you mean train?); choose from train, evaluate, ")


@pytest.mark.parametrize(("command", "recipe"), COMMANDS.items())
def test_every_word_of_the_command_is_a_function_of_its_recipe(command, recipe) -> None:
    assert callable(getattr(importlib.import_module(f"recipes.{recipe}"), command))


def test_a_recipe_that_is_run_by_its_path_hides_no_module_of_others(installed, environment, tmp_path) -> None:
    """``settings`` is a room of recipes/, and somebody's module that their algorithm needs."""
    (tmp_path / "settings.py").write_text("SPEED = 3.0\n")
    module = "from agents import BCConfig\nfrom settings import SPEED\nclass FastConfig(BCConfig): speed = SPEED\n"
    (tmp_path / "fast.py").write_text(module)
    (tmp_path / "fast-1.0.dist-info").mkdir()
    (tmp_path / "fast-1.0.dist-info/entry_points.txt").write_text(
        "[offline_agents.algorithms]\nfast = fast:FastConfig\n"
    )
    variables = {**environment, "PYTHONPATH": os.pathsep.join((str(installed), str(tmp_path)))}
    command = [sys.executable, installed / "recipes" / "train.py", "algorithm=fast", "--cfg", "job"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "best_episodes: null" in done.stdout


def test_help_loads_no_torch_and_may_be_cut_off(installed, environment) -> None:
    source = "import recipes.__main__ as command; command.main(); import sys; sys.exit('torch' in sys.modules)"
    variables = {**environment, "PYTHONPATH": str(installed)}
    for recipe in ("train", "inspect"):
        command = [sys.executable, "-c", source, recipe, "--help"]
        done = subprocess.run(command, env=variables, capture_output=True, text=True)
        assert done.returncode == 0 and "Settings:" in done.stdout
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


def test_runs_of_the_command_are_processes_that_import_nothing_of_the_users_folder(start, tmp_path) -> None:
    process = start("command", "train", *QUICK, "algorithm=bc", "algorithm.actor.hidden_sizes=[8]", "seeds=[0,1]")
    out, err = process.communicate()
    assert process.returncode == 0, out + err
    assert out.splitlines()[-2:] == ["seed 0: done", "seed 1: done"]
    for seed in (0, 1):
        assert (tmp_path / f"runs/bc/{DATASET}/seed{seed}/checkpoints/last.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["command", "module", "script"])
def test_a_comparison_is_the_same_whichever_way_it_is_called(way, start, installed, tmp_path) -> None:
    given = [setting for setting in QUICK if not setting.startswith(("dataset=", "num_eval_envs=", "logger="))]
    sizes = "algorithm.actor.hidden_sizes=[8]"
    process = start(way, "compare", *given, f"datasets={DATASET}", "algorithms=bc", "seeds=0,1", sizes)
    out, err = process.communicate()
    assert process.returncode == 0, out + err
    called = {
        "command": "Made by `offline-agents compare ",
        "module": "Made by `python -m recipes.compare ",
        "script": f"Made by `python {installed}/recipes/compare.py ",
    }
    assert called[way] in (tmp_path / "runs/comparison/results.md").read_text()
