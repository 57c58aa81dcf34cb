"""The settings of Weights & Biases, which several recipes have."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from agents.errors import require_choice
from recipes.settings.checks import require_counts


@dataclass
class WandbConfig:
    """Where a run appears in Weights & Biases."""

    project: str = "offline-agents"  # a project that does not exist yet is made
    entity: str | None = None  # user or team; None: the account's default
    mode: str = "auto"  # online, offline, or auto: online where an API key is found
    group: str = MISSING  # runs to be seen together; in training <algorithm>/<dataset>: seeds alone differ
    job_type: str | None = None  # what kind of run it is; None: of the command, as train; a sweep's runs are trials
    tags: list[str] = field(default_factory=list)  # beside dataset, algorithm and task, as [first,second]
    timeout: int = 20  # seconds to wait for an answer of the server, >= 1; without one the run is logged offline
    upload_timeout: int = 300  # seconds to wait at the end until everything is uploaded, >= 1; the rest stays here
    artifacts: bool = False  # log dataset (its description) and checkpoints (uploaded) as artifacts

    def __post_init__(self) -> None:
        require_counts(self, "timeout", "upload_timeout", prefix="wandb.")
        require_choice("wandb.mode", self.mode, ("auto", "online", "offline"))
