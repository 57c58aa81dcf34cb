"""The versions that results depend on: of packages, of this project with its commit, and where runs differ in them."""

from __future__ import annotations

import shutil
import subprocess

import torch

import versions


def test_versions_are_those_of_all_that_results_depend_on() -> None:
    found = versions.versions()
    assert found["torch"] == torch.__version__
    assert {"python", "torchrl", "tensordict", "minari", "gymnasium-robotics", "mujoco", "numpy"} < found.keys()
    assert found["offline-agents"].startswith("0.1.0")


def test_the_commit_is_that_of_this_project_alone(tmp_path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(tmp_path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-m", "first")
    git("tag", "-a", "-m", "a tag", "v9")
    commit = git("rev-parse", "HEAD")
    assert commit.startswith(found := versions._commit(tmp_path)) and len(found) >= 7
    inside = tmp_path / "site-packages"
    inside.mkdir()
    assert versions._commit(inside) is None  # of somebody else's repository
    versions._commit.cache_clear()
    (tmp_path / "file").write_text("two")
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
