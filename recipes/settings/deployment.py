"""The settings of what leaves the lab: an exported policy, and a server for one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from omegaconf import MISSING

from agents.deployment.formats import check_format
from agents.errors import require
from recipes.settings.checks import require_counts


@dataclass
class ExportConfig:
    """Settings of ``recipes/export.py``."""

    checkpoint: str = MISSING  # run's folder (its last one), .safetensors file, or wandb:entity/project/name:alias
    format: str = "onnx"  # onnx; or torch's own: pt2, a graph, or aoti, machine code
    precision: str = "float32"  # of the weights; float16 and int8, of onnx alone, cost what the export says
    output: str | None = None  # the file; None: policy.onnx, policy.graph.pt2 or policy.aoti.pt2 in the run's folder
    guard: bool = False  # have the file say, beside the action, how far an observation lies outside the data
    rate: float | None = None  # steps a second to be in the contract, > 0; None: the environment's, if it knows
    num_observations: int = 10_000  # of the dataset, on which the file is compared with the policy, >= 1
    num_episodes: int | None = 20  # that both are evaluated on, >= 1; None: none
    num_envs: int | None = None  # episodes simulated at once, >= 1, for speed alone; None: a core each, at most 4
    eval_env: str | None = None  # Gymnasium id to evaluate in; None: the one of training, if there was any
    max_episode_steps: int | None = None  # of its episodes, >= 1; None: its own limit, else that of training
    trust_env: bool = False  # call whatever the checkpoint names as environment, code that is not registered included

    def __post_init__(self) -> None:
        require(bool(self.checkpoint), "checkpoint", "name a run's folder or a file", self.checkpoint)
        check_format(self.format, self.precision)
        require_counts(self, "num_observations", "num_episodes", "num_envs", "max_episode_steps")
        require(self.rate is None or 0.0 < self.rate < math.inf, "rate", "be positive", self.rate)


@dataclass
class ServeConfig:
    """Settings of ``recipes/serve.py``."""

    checkpoint: str | None = MISSING  # run's folder (its last one), .safetensors, or wandb:entity/project/name:alias
    policy: str | None = None  # in the place of a checkpoint, a file that offline-agents export wrote
    trust_policy: bool = False  # open a policy of torch's (pt2, aoti), which can run any code; onnx cannot
    host: str = "127.0.0.1"  # address to serve at: this machine alone; 0.0.0.0 for all of its addresses
    port: int = 8000  # from 1 to 65535
    token: str | None = None  # that clients have to send; None: the environment's OFFLINE_AGENTS_TOKEN, if any
    max_message: int = 1_048_576  # bytes of a message, >= 1
    max_rate: float = 1000.0  # requests a second of one client, >= 1
    max_clients: int = 256  # connected by WebSocket at once, >= 1

    def __post_init__(self) -> None:
        for name in ("checkpoint", "policy", "token"):
            require(getattr(self, name) != "", name, "be no empty text", getattr(self, name))
        given = self.policy is not None or self.checkpoint is not None
        require(given, "checkpoint", "name a run's folder or a file", self.checkpoint)
        if self.policy is not None:
            require(self.checkpoint in (None, MISSING), "checkpoint", "be left out beside policy", self.checkpoint)
        require(1 <= self.port <= 65535, "port", "lie between 1 and 65535", self.port)
        require(1.0 <= self.max_rate < math.inf, "max_rate", "be at least 1, and finite", self.max_rate)
        require_counts(self, "max_message", "max_clients")
