"""A W&B project: settings and last values of its runs, from the server or from files on this machine."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from agents.cores import usable_cores
from agents.errors import ConfigError
from agents.files import flatten
from recipes.tracking.panels import NUMBER

TRAIN, TRIAL, EVALUATE, COMPARE, SWEEP, INSPECT = (
    "train",
    "trial",
    "eval",
    "comparison",
    "sweep",
    "inspect",
)  # job types
OWN = {  # a setting that only runs of this job type have, where older ones do not name their type
    TRAIN: "gradient_steps",
    EVALUATE: "num_episodes",
    COMPARE: "algorithms",
    SWEEP: "num_trials",
    INSPECT: "good_above",
}
# settings in which runs may differ without being other experiments
INCIDENTAL = (
    "seed", "seeds", "stack", "versions", "wandb", "job_type", "device", "dataset_fingerprint", "compile",
    "matmul_precision", "overwrite", "storage", "logger", "log_every", "checkpoint_every", "num_eval_envs",
    "eval_videos", "keep_videos", "trust_env", "divergence_alarm", "estimate_every",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A run of one of the recipes."""

    settings: Mapping[str, Any]  # flat, by the names that are written on the command line; in W&B they are nested
    summary: Mapping[str, Any]  # the last value of every key; of what is no number, a mapping that names its ``_type``

    @property
    def job(self) -> str | None:
        """Its job type; None: it is of no recipe of this project."""
        named = self.settings.get("job_type")
        return named if named else next((job for job, setting in OWN.items() if setting in self.settings), None)


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

    def varied(self, job: str = TRAIN) -> list[str]:
        """Settings that differ between runs of an algorithm on a task, and that may explain their scores."""
        names = {name for run in self.of(job) for name in run.settings if name.split(".")[0] not in INCIDENTAL}
        pairs = itertools.product(self.values("algorithm_name", job), self.values("dataset", job))
        alike = [self.where(algorithm_name=name, dataset=task) for name, task in pairs]
        return sorted(name for name in names if any(len(project.values(name, job)) > 1 for project in alike))

    def labels(self) -> list[tuple[str, Run]]:
        """The runs of training, each with its algorithm and whatever else tells the settings of it apart."""
        varied = {name: self.where(algorithm_name=name).varied() for name in self.algorithms}
        return [(_label(run, varied[run.settings["algorithm_name"]]), run) for run in self.of(TRAIN)]


def _label(run: Run, varied: Sequence[str]) -> str:
    values = [f"{name.removeprefix('algorithm.')}={run.settings.get(name)}" for name in varied]
    return run.settings["algorithm_name"] + (f" ({', '.join(values)})" if values else "")


def from_server(client: Any, entity: str | None, project: str) -> Project:
    """The project as W&B has it, of the account's own entity if none is named; ``client`` is ``wandb.Api``."""
    entity = entity or client.default_entity
    print(f"reading the runs of {entity}/{project} from W&B", file=sys.stderr, flush=True)
    records = client.runs(f"{entity}/{project}", order="+created_at", per_page=200, lazy=False)
    runs = [Run(flatten(run.config), dict(run.summary_metrics)) for run in records]
    return _of_recipes(Project(entity, project, tuple(runs)), f"the project {entity}/{project}")


def from_files(folder: Path, project: str) -> Project:
    """The project as the W&B files below a folder have it; runs of other projects are left out."""
    files = sorted(folder.glob("**/wandb/*run-*/run-*.wandb"), key=lambda path: path.parent.name.split("-")[-2:])
    print(f"reading {len(files)} W&B files below {folder}, a second or so for each", file=sys.stderr, flush=True)
    with ThreadPoolExecutor(usable_cores()) as pool:  # each is read by a process of its own
        contents = tqdm(pool.map(_read, files), total=len(files), unit="file", leave=False, disable=None)
        records = {run["run_id"]: run for run in contents if run}  # of a resumed run, the last part
    runs = [Run(flatten(run["config"]), run["summary"]) for run in records.values() if run["project"] == project]
    return _of_recipes(Project(None, project, tuple(runs)), f"the W&B files of project {project} below {folder}")


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
