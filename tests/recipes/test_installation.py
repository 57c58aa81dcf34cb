"""The installed package: what a wheel holds, and that every way into a recipe is the same, wherever it is called."""

from __future__ import annotations

import importlib
import os
import re
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
    assert line.startswith("error: unknown setting 'gradient_step' (did you mean gradient_steps?); --help ")


def test_the_command_names_its_recipes(start) -> None:
    processes = [start("command", *arguments) for arguments in (["--help"], [], ["tain", "seed=0"])]
    (usage, _), (unasked, _), (_, err) = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 2, 2]
    assert usage == unasked and usage.startswith("offline-agents COMMAND [NAME=VALUE ...]\n")
    assert err.startswith("error: unknown command 'tain' (did you mean train?); choose from train, evaluate, ")


@pytest.mark.parametrize(("command", "recipe"), COMMANDS.items())
def test_every_word_of_the_command_is_a_function_of_its_recipe(command, recipe) -> None:
    module = importlib.import_module(f"recipes.{recipe}")
    assert callable(getattr(module, command, None) or getattr(module, recipe))  # import is no name


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


# every way into every recipe, in one process where what takes seconds to import cannot be had
HELP_OF_ALL = """
import runpy, sys
slow = {"torch", "torchrl", "tensordict", "mujoco", "minari", "wandb", "matplotlib", "gymnasium"}
sys.modules.update(dict.fromkeys(slow))
from recipes import __main__
folder, words = sys.argv[1], sys.argv[2:]
for way in ("command", "module", "script"):
    for word in words:
        recipe = __main__.COMMANDS[word]
        sys.argv = [f"{folder}/recipes/{recipe}.py", "--help"]
        try:
            if way == "command":
                sys.argv.insert(1, word)
                __main__.main()
            elif way == "module":
                runpy.run_module(f"recipes.{recipe}", run_name="__main__")
            else:
                runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as end:
            print("END", way, word, end.code, flush=True)
"""


def test_help_of_every_recipe_by_every_way_imports_nothing_slow(installed, environment, tmp_path) -> None:
    command = [sys.executable, "-c", HELP_OF_ALL, installed, *COMMANDS]
    variables = {**environment, "PYTHONPATH": str(installed), "MUJOCO_GL": "nonsense"}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = re.findall(r"(\S.*?)\nEND (\w+) (\w+) None\n", done.stdout, re.DOTALL)
    ways = ("command", "module", "script")
    assert [(way, word) for _, way, word in pages] == [(way, word) for way in ways for word in COMMANDS]
    for page, _, word in pages:
        assert f"    offline-agents {word} " in page and "\nSettings, as NAME=VALUE:\n" in page


def test_help_may_be_cut_off(start) -> None:
    with start("command", "train", "--help") as process:
        process.stdout.close()
        assert process.stderr.read() == ""


@pytest.mark.slow
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
