"""An exported policy with what an evaluation reads of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import agents
from agents.deployment.acting import FilePolicy, specs_of
from agents.deployment.contract import Contract
from agents.deployment.formats import load


@dataclass(frozen=True)
class PolicyFile:
    """What ``offline-agents export`` wrote."""

    path: Path
    policy: FilePolicy
    contract: Contract

    @classmethod
    def read(cls, name: str, *, trust: bool = False) -> PolicyFile:
        """A file; a PolicyError where it is none, or is to be trusted first."""
        file = load(name, trust=trust)
        return cls(Path(name), FilePolicy(file), file.contract)

    @property
    def num_updates(self) -> int:
        return self.contract.step

    @property
    def settings(self) -> dict[str, Any]:
        """Of the algorithm: the run has them, the file has not."""
        return {}

    @property
    def extra(self) -> dict[str, Any]:
        return {
            "algorithm": self.contract.algorithm,
            "dataset": str(self.contract.dataset.get("id", "unknown data")),
            "dataset_fingerprint": self.contract.dataset.get("fingerprint"),
            "eval_env": self.contract.environment,
            "reference": self.contract.reference,
        }

    def specs(self) -> agents.Specs:
        return specs_of(self.contract)
