"""The versions of packages, and the commit of this project: results depend on them besides the settings."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

PROJECT = "offline-agents"
CODE = ("agents", "recipes")  # a new README makes no other version
PACKAGES = (
    PROJECT, "torch", "torchrl", "tensordict", "minari", "gymnasium", "gymnasium-robotics", "mujoco", "numpy", "wandb",
    "hydra-core",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Of Python and of the packages that results depend on; this project's with its commit, as ``0.1.0+1a2b3c4``."""
    current = {"python": platform.python_version(), **{name: version_of(name) for name in PACKAGES}}
    if commit := _commit(Path(__file__).resolve().parents[2]):
        current[PROJECT] += f"+{commit}"
    return current


def differences(runs: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """The packages of which not all runs have the same version, with those that there are."""
    names = {name: None for run in runs for name in run}  # in their order
    versions_of = {name: sorted({run.get(name, "unknown") for run in runs}) for name in names}
    return {name: several for name, several in versions_of.items() if len(several) > 1}


def of_both(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """The versions of a run that goes on with others: ``2.12.0, then 2.13.0`` where they differ."""
    both = {**before, **now}
    for name, version in now.items():
        earlier = before.get(name, "unknown")
        both[name] = earlier if earlier.split(", then ")[-1] == version else f"{earlier}, then {version}"
    return both


@functools.cache  # each reads a file of many lines
def version_of(package: str, unknown: str = "unknown") -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # such as this project, from a folder that is on the path
        return unknown


@functools.cache
def _commit(root: Path) -> str | None:
    """The last commit of the code, with ``.dirty`` where that has changed since; None outside a checkout."""
    if not (root / ".git").exists():  # or git would find one of a folder above
        return None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments, "--", *CODE]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        commit, changes = git("log", "-1", "--format=%h", "--abbrev=7"), git("status", "--porcelain")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}.dirty" if changes else commit
