"""The settings of recipes that estimate from the data alone: what a policy is worth, and which to take."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from agents.errors import require, require_choice
from agents.evaluation.offline.settings import ESTIMATORS, FQEConfig, ModelConfig
from recipes.settings.checks import require_dataset_id, require_seed


@dataclass(kw_only=True)
class EstimationConfig:
    """Settings of the recipes that estimate without an environment, beside what they estimate."""

    gamma: float | None = None  # discount of the value, in [0, 1]; None: the one of training, of cloning 0.99
    seed: int = 0  # of which episodes are drawn again, and of the critics, >= 0
    fqe: FQEConfig = field(default_factory=FQEConfig)
    device: str = "auto"  # cpu, cuda, cuda:<n>, or auto: cuda where there is one

    def __post_init__(self) -> None:
        require(self.gamma is None or 0.0 <= self.gamma <= 1.0, "gamma", "lie in [0, 1]", self.gamma)
        require_seed("seed", self.seed)


@dataclass
class EstimateConfig(EstimationConfig):
    """Settings of ``recipes/estimate.py``."""

    checkpoint: str = MISSING  # run's folder (its last one), .safetensors file, or wandb:entity/project/name:alias
    dataset: str | None = None  # any Minari id; None: the data of training
    estimators: list[str] = field(default_factory=list)  # of fqe, wis, is, dr and model; []: all but that, if possible
    drawn: bool = False  # the distribution that the policy was trained as; else the policy as it is deployed
    held_out: bool | None = None  # only episodes that training held out by validation=; None: where there are any
    model: ModelConfig = field(default_factory=ModelConfig)
    output: str | None = field(default=None, kw_only=True)  # file of results; None: <run>/estimate.json

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.checkpoint), "checkpoint", "name a run's folder or a file", self.checkpoint)
        if self.dataset is not None:
            require_dataset_id("dataset", self.dataset)
        for name in self.estimators:
            require_choice("estimators", name, ESTIMATORS)


@dataclass
class SelectConfig(EstimationConfig):
    """Settings of ``recipes/select_policy.py``."""

    runs: str = "runs"  # folder of the runs to choose among, at any depth: of a comparison, a sweep, or one's own
    dataset: str | None = None  # any Minari id; None: the one that all of them were trained on
    held_out: bool | None = None  # only episodes that all of them held out by validation=; None: where there are any
    output: str | None = field(default=None, kw_only=True)  # file of results; None: <runs>/selection.json

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dataset is not None:
            require_dataset_id("dataset", self.dataset)
