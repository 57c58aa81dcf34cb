"""The files of one run:

<run_dir>/config.yaml        resolved settings
          run.json           versions, dataset fingerprint and means, algorithm, W&B id, how updates are computed, cost
          metrics.csv        a row per log point: step, then the keys of the dashboard
          evaluations.csv    a row per evaluation
          returns.png        the evaluations as a curve, beside a random policy and the dataset
          estimates.png      the same of estimates by the data alone, with estimate_every
          training.png       the columns of metrics.csv as curves
          videos/            with eval_videos=true
          checkpoints/       last, previous and best, as safetensors
          output.log         what it printed, where several are made at the same time
          wandb/             with logger=wandb
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from filelock import FileLock

from agents.checkpoint import CheckpointFolder
from agents.errors import ConfigError, one_line
from agents.files import write_atomically
from recipes.runs.metrics_log import read_csv

# what run.json says, as far as something depends on its kind; a run of before may lack some
KINDS = {
    **dict.fromkeys(("algorithm", "algorithm_config", "wandb_id", "dataset_fingerprint", "compile"), str),
    "wandb_url": str | None,
    "versions": dict,
    **dict.fromkeys(("data", "random", "cost", "validation"), dict | None),
}
VALUES = {
    "versions": str,
    "data": int | float,
    "random": int | float,
    "cost": int | float | str | None,
    "validation": int | float,
}


class RunFolder:
    """The places of a run's files."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.yaml"
        self.info_file = self.path / "run.json"
        self.metrics_file = self.path / "metrics.csv"
        self.evaluations_file = self.path / "evaluations.csv"
        self.plot_file = self.path / "returns.png"
        self.estimates_plot_file = self.path / "estimates.png"
        self.training_plot_file = self.path / "training.png"
        self.checkpoints = CheckpointFolder(self.path / "checkpoints")
        self.lock: FileLock | None = None  # keeps other processes off it as long as this lives

    @property
    def holds_run(self) -> bool:
        """Whether a run was begun there; others may have a config.yaml too."""
        return self.config_file.exists() and self.info_file.exists()

    @property
    def has_checkpoint(self) -> bool:
        return self.checkpoints.last.exists() or self.checkpoints.previous.exists()

    @property
    def had_checkpoint(self) -> bool:
        """Whether there was one for certain: each is saved before the next evaluation."""
        rows = read_csv(self.evaluations_file)
        if rows and "phase" in rows[0]:  # of a run that went online, which begins with those of the run before
            return any(float(row["phase"] or 0.0) > 0.0 for row in rows)
        return len(rows) > 1

    @property
    def info(self) -> dict[str, Any]:
        """What ``run.json`` says.

        Raises:
            ConfigError: if that is not what a run writes; one line.
        """
        try:
            info = json.loads(self.info_file.read_text(encoding="utf-8"))
            _check_info(info)
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise damaged(self.info_file, error) from error
        return info

    def add_info(self, **values: Any) -> None:
        known = self.info if self.info_file.exists() else {}
        write_atomically(self.info_file, json.dumps({**known, **values}, indent=2).encode())


def damaged(file: Path, reason: Exception) -> ConfigError:
    """The error of a file of a run that cannot be read."""
    problem = f"{file} is damaged or of another version ({one_line(reason)})"
    return ConfigError(f"{problem}; mend it, or start a new run in another run_dir")


def _check_info(info: Any) -> None:
    """Raise a ValueError or AttributeError where JSON is not what a run writes."""
    for name, value in info.items():
        if not isinstance(value, KINDS.get(name, object)):
            raise ValueError(f"{name} is {value!r}")
        if name in VALUES:
            for key, each in (value or {}).items():
                if not isinstance(each, VALUES[name]):
                    raise ValueError(f"{name}.{key} is {each!r}")
