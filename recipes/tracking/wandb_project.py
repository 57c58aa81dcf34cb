"""A W&B project: settings and last values of its runs, from the server or from files on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.errors import ConfigError
from recipes.tracking.panels import NUMBER

TRAIN, EVALUATE, COMPARE, SWEEP, INSPECT = "train", "eval", "comparison", "sweep", "inspect"  # job types
OWN = {  # a setting that only runs of this job type have
    TRAIN: "gradient_steps",
    EVALUATE: "num_episodes",
    COMPARE: "algorithms",
    SWEEP: "num_trials",
    INSPECT: "good_above",
}
# settings in which runs may differ without being other experiments
INCIDENTAL = ("seed", "versions", "wandb", "device", "dataset_fingerprint", "compile", "matmul_precision", "overwrite")


@dataclass(frozen=True)
class Run:
    """A run of one of the recipes."""

    settings: Mapping[str, Any]  # flat, by the names that are written on the command line
    summary: Mapping[str, Any]  # the last value of every key; of what is no number, a mapping that names its ``_type``

    @property
    def job(self) -> str | None:
        """Its job type; None: it is of no recipe of this project."""
        return next((job for job, setting in OWN.items() if setting in self.settings), None)


@dataclass(frozen=True)
class Project:
    """The runs of a project, oldest first; ``entity`` is None where no account says whose it is."""

    entity: str | None
    name: str
    runs: tuple[Run, ...]

    def of(self, job: str) -> list[Run]:
        return [run for run in self.runs if run.job == job]

    def where(self, **settings: Any) -> Project:
        """The same with those runs alone that have these settings."""
        runs = [run for run in self.runs if all(run.settings.get(name) == value for name, value in settings.items())]
        return Project(self.entity, self.name, tuple(runs))

    def keys(self, job: str) -> dict[str, str]:
        """The kind of everything that runs of a job type logged, by key."""
        return {
            key: value.get("_type", "unknown") if isinstance(value, Mapping) else NUMBER
            for run in self.of(job)
            for key, value in run.summary.items()
            if not key.startswith("_")
        }

    def values(self, setting: str, job: str = TRAIN) -> list[Any]:
        """The different values that a setting has, sorted as text."""
        values = {json.dumps(run.settings.get(setting)): run.settings.get(setting) for run in self.of(job)}
        return [values[text] for text in sorted(values)]

    @property
    def algorithms(self) -> list[str]:
        return self.values("algorithm_name")

    @property
    def datasets(self) -> list[str]:
        return self.values("dataset")

    def varied(self) -> list[str]:
        """Settings that differ between runs of an algorithm on a task, and that may explain their scores."""
        names = {name for run in self.of(TRAIN) for name in run.settings if name.split(".")[0] not in INCIDENTAL}
        alike = [self.where(algorithm_name=name, dataset=task) for name in self.algorithms for task in self.datasets]
        return sorted(name for name in names if any(len(project.values(name)) > 1 for project in alike))


def from_server(client: Any, entity: str | None, project: str) -> Project:
    """The project as W&B has it, of the account's own entity if none is named; ``client`` is ``wandb.Api``."""
    entity = entity or client.default_entity
    records = client.runs(f"{entity}/{project}", order="+created_at", per_page=200, lazy=False)
    runs = [Run(dict(run.config), dict(run.summary_metrics)) for run in records]
    return _of_recipes(Project(entity, project, tuple(runs)), f"the project {entity}/{project}")


def from_files(folder: Path, entity: str | None, project: str) -> Project:
    """The project as the W&B files below a folder have it; runs of other projects are left out."""
    files = sorted(folder.glob("**/wandb/*run-*/run-*.wandb"), key=lambda path: path.parent.name.split("-")[-2:])
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each is read by a process of its own
        records = {run["run_id"]: run for run in pool.map(_read, files) if run}  # of a resumed run, the last part
    runs = [Run(run["config"], run["summary"]) for run in records.values() if run["project"] == project]
    return _of_recipes(Project(entity, project, tuple(runs)), f"the W&B files of project {project} below {folder}")


def _read(path: Path) -> dict[str, Any] | None:
    """W&B's own account of an offline run; None if it cannot be read."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", str(path), "--summary", "--json"]
    process = subprocess.run(command, capture_output=True, text=True)
    try:
        return json.loads(process.stdout) if process.returncode == 0 else None
    except ValueError:
        return None


def _of_recipes(project: Project, where: str) -> Project:
    if not project.of(TRAIN):
        way_out = "train one with logger=wandb, or name another project"
        raise ConfigError(f"no run of recipes/train.py in {where}: {way_out}")
    return project
