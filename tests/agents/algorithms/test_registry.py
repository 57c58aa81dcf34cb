"""Algorithms that installed packages bring, and those that files of version 0.1 name."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

import agents
from agents.algorithms import registry

# what pip would unpack: modules, and beside them what says that they bring algorithms
MODULE = """
from dataclasses import dataclass
from agents.algorithms.bc import BCConfig

@dataclass
class CalmConfig(BCConfig):
    calm: float = 0.5  # how calm

@dataclass
class BCConfig(BCConfig):
    pass

class BareConfig(CalmConfig):
    build = None

class TightConfig(CalmConfig):
    def build(self, specs):
        raise AssertionError("it was called")

@dataclass
class TornConfig(CalmConfig):
    actions = "torn"
"""
LISTING = """
import agents, sys
print(*agents.ALGORITHMS)
print(agents.ALGORITHMS["calm"]())
from recipes.settings.command_line import help_text
assert "algorithm.calm=0.5" in help_text("train", "calm") and "torch" not in sys.modules
"""


def install(folder: Path, package: str, **entries: str) -> None:
    """A package of one module with these algorithms, as ``pip install`` leaves it, but for pip's own notes."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (folder / f"{package}.py").write_text(MODULE)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {value}\n" for name, value in entries.items()]
    (info / "entry_points.txt").write_text(f"[offline_agents.algorithms]\n{''.join(lines)}")


def list_algorithms(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(Path(agents.__file__).parents[1])))}
    return subprocess.run([sys.executable, "-c", LISTING], env=environment, capture_output=True, text=True)


def test_an_installed_package_brings_an_algorithm_and_no_other_brings_it_down(tmp_path) -> None:
    install(tmp_path, "good", calm="good:CalmConfig")
    broken = {
        "absent": "nowhere:CalmConfig", "lacking": "bad:Config", "iql": "bad:CalmConfig", "again": "bad:BCConfig",
        "bare": "bad:BareConfig", "tight": "bad:TightConfig", "torn": "bad:TornConfig",
        "number": "bad:__name__",
    }  # fmt: skip
    install(tmp_path, "bad", **broken)
    listed = list_algorithms(tmp_path)
    names, config = listed.stdout.splitlines()
    assert set(names.split()) == {*agents.ALGORITHMS, "calm"}
    assert config.startswith("CalmConfig(") and "calm=0.5" in config
    lines = dict(zip(broken, listed.stderr.splitlines(), strict=True))
    for name, value in broken.items():
        assert lines[name].startswith(f"warning: bad's algorithm {name!r} ({value}) is left out: "), lines[name]
    assert "No module named 'nowhere'" in lines["absent"] and "has no attribute 'Config'" in lines["lacking"]
    assert lines["iql"].endswith("its name must be new, got 'iql'")
    assert lines["again"].endswith("the name of its class must be new, got 'BCConfig'")
    assert lines["bare"].endswith("its class must have build(specs, *, device), got 'BareConfig'")
    assert lines["tight"].endswith("its class must have build(specs, *, device), got 'TightConfig'")


def test_a_module_that_exits_or_a_name_that_is_no_folder_is_left_out(tmp_path) -> None:
    install(tmp_path, "good", calm="good:CalmConfig")
    install(tmp_path, "bad", exits="bad:CalmConfig")
    (tmp_path / "bad.py").write_text("raise SystemExit(3)")
    install(tmp_path, "far", **{"../../far": "far:TornConfig"})
    listed = list_algorithms(tmp_path)
    assert listed.returncode == 0 and "calm" in listed.stdout.split()
    exits, far = sorted(listed.stderr.splitlines())
    assert exits.endswith("is left out: 3") and "its name must be a word, which names a folder" in far


@pytest.mark.slow
def test_a_package_that_is_imported_first_and_asks_for_the_registry_is_registered_all_the_same(tmp_path) -> None:
    install(tmp_path, "good", calm="good:CalmConfig")
    (tmp_path / "good.py").write_text("from agents import ALGORITHMS, load_policy\n" + MODULE)
    source = "import good; from agents.algorithms import registry; print(registry.config_of('CalmConfig').calm)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(Path(agents.__file__).parents[1])))}
    done = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0.5\n", "")


def test_a_preset_keeps_its_name_and_a_script_may_replace_what_has_one(tmp_path) -> None:
    install(tmp_path, "rival", bc_top="rival:CalmConfig")
    source = """
import agents
from recipes.settings import command_line
class MineConfig(agents.BCConfig): pass
agents.ALGORITHMS["iql"] = MineConfig
command_line.register()
print("bc_top" in agents.ALGORITHMS, agents.ALGORITHMS["iql"].__name__)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(Path(agents.__file__).parents[1])))}
    done = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True)
    assert done.stdout == "False MineConfig\n"
    assert done.stderr.endswith("'bc_top' is left out: its name must be none of a preset's, got 'bc_top'\n")


def test_a_class_of_the_users_goes_before_one_of_version_0_1_of_that_name(monkeypatch) -> None:
    class DQNConfig(agents.BCConfig):
        pass

    monkeypatch.setitem(agents.ALGORITHMS, "mine", DQNConfig)
    assert type(registry.config_of("DQNConfig")) is DQNConfig


def test_a_script_may_replace_and_add_what_it_likes(monkeypatch) -> None:
    monkeypatch.setitem(agents.ALGORITHMS, "iql", agents.BCConfig)
    assert agents.ALGORITHMS["iql"] is agents.BCConfig


@pytest.mark.parametrize(
    ("class_name", "config"),
    [
        ("DQNConfig", agents.DiscreteCQLConfig(alpha=None)),
        ("BCTopConfig", agents.BCConfig(best_episodes=0.1)),
        ("IQLConfig", agents.IQLConfig()),
        ("NoConfig", None),
    ],
)
def test_files_of_version_0_1_name_classes_that_are_presets_now(class_name, config) -> None:
    assert registry.config_of(class_name) == config


@pytest.mark.parametrize(
    ("config", "class_name", "lacking"),
    [
        (agents.DiscreteCQLConfig(alpha=None), "DQNConfig", {"alpha"}),
        (agents.DiscreteCQLConfig(alpha=0.0), "DiscreteCQLConfig", set()),
        (agents.BCConfig(), "BCConfig", {"best_episodes"}),
        (agents.BCConfig(best_episodes=0.2), "BCTopConfig", set()),
        (agents.IQLConfig(), "IQLConfig", set()),
        (agents.ReBRACConfig(), "ReBRACConfig", {"penalty_decay"}),
        (agents.ReBRACConfig(penalty_decay=agents.PenaltyDecayConfig("linear")), "ReBRACConfig", set()),
    ],
)
def test_run_folders_have_the_names_of_before(config, class_name, lacking) -> None:
    values = dataclasses.asdict(config)
    name, fields = registry.as_formerly(type(config).__name__, values)
    assert name == class_name and fields == {name: v for name, v in values.items() if name not in lacking}
