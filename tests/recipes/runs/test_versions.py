"""The versions that results depend on: of packages, of this project with its commit, and where runs differ in them."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess

import pytest
import torch

from recipes.runs import versions


def test_versions_are_those_of_all_that_results_depend_on() -> None:
    found = versions.versions()
    assert torch.__version__.startswith(found["torch"])  # the CUDA build's metadata leave its label out
    assert {"python", "torchrl", "tensordict", "minari", "gymnasium-robotics", "mujoco", "numpy"} < found.keys()
    assert found["offline-agents"].startswith("0.1.0")


def test_the_commit_is_part_of_the_version_of_this_project(monkeypatch) -> None:
    monkeypatch.setattr(versions, "_commit", lambda root: "1a2b3c4.dirty")
    assert versions.versions()["offline-agents"] == "0.1.0+1a2b3c4.dirty"
    assert torch.__version__.startswith(versions.versions()["torch"])

    def not_installed(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(versions, "version_of", versions.version_of.__wrapped__)
    monkeypatch.setattr(versions.importlib.metadata, "version", not_installed)
    assert versions.versions()["offline-agents"] == "unknown+1a2b3c4.dirty"


def test_a_run_that_goes_on_names_the_versions_of_both_parts() -> None:
    first, second = {"torch": "1", "numpy": "3"}, {"torch": "2", "numpy": "3", "mujoco": "4"}
    both = versions.of_both(first, second)
    assert both == {"torch": "1, then 2", "numpy": "3", "mujoco": "unknown, then 4"}
    assert versions.of_both(both, second) == both
    assert versions.of_both(both, first)["torch"] == "1, then 2, then 1"
    differing = versions.differences([first, both])
    assert differing == {"torch": ["1", "1, then 2"], "mujoco": ["unknown", "unknown, then 4"]}


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_the_last_one_of_this_projects_code(tmp_path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(tmp_path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(name: str) -> str:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
        git("add", name)
        git("commit", "-m", name)
        versions._commit.cache_clear()
        return git("rev-parse", "HEAD")

    git("init")
    code = commit("agents/file.py")
    commit("README.md")
    assert code.startswith(found := versions._commit(tmp_path)) and len(found) >= 7
    (tmp_path / "README.md").write_text("another")
    versions._commit.cache_clear()
    assert versions._commit(tmp_path) == found
    inside = tmp_path / "site-packages"
    inside.mkdir()
    assert versions._commit(inside) is None  # of somebody else's repository
    versions._commit.cache_clear()
    (tmp_path / "agents" / "file.py").write_text("another")
    assert versions._commit(tmp_path) == f"{found}.dirty"
    shutil.rmtree(tmp_path / ".git")
    (tmp_path / ".git").mkdir()
    versions._commit.cache_clear()
    assert versions._commit(tmp_path) is None  # no repository after all


def test_differences_name_the_packages_and_their_versions() -> None:
    runs = [{"torch": "2.13.0", "numpy": "2.0"}, {"torch": "2.12.1", "numpy": "2.0"}, {"torch": "2.13.0", "wandb": "1"}]
    assert versions.differences(runs) == {
        "torch": ["2.12.1", "2.13.0"],
        "numpy": ["2.0", "unknown"],
        "wandb": ["1", "unknown"],
    }
    assert versions.differences(runs[:1]) == {}
