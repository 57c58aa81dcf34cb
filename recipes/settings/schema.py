"""The recipes' settings: every key is a field here or in an algorithm's own config; YAML holds what differs.

A config raises a ConfigError if a field is outside the range given in its comment; so do the checks in
``checks``, each of which names the setting.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from agents.algorithms.registry import ALGORITHMS
from agents.data.importers.settings import ColumnsConfig, MeaningConfig
from agents.data.settings import RewardsConfig
from agents.errors import require, require_choice, require_memory
from agents.training.settings import MATMUL_PRECISIONS, MODES
from recipes.settings.checks import (
    require_action_bounds,
    require_counts,
    require_dataset_id,
    require_seed,
    require_seeds,
)
from recipes.settings.deployment import ExportConfig, ServeConfig
from recipes.settings.estimation import EstimateConfig, SelectConfig
from recipes.settings.finetuning import FinetuneConfig
from recipes.settings.many_runs import CompareConfig, SweepConfig
from recipes.settings.wandb_settings import WandbConfig

CONF = Path(__file__).resolve().parents[1] / "conf"  # presets: what differs from the dataclasses


@dataclass
class ObservationsConfig:
    """Which parts of a dataset's observations are learned from, where they have parts; ``inspect`` names them."""

    include: list[str] = field(default_factory=list)  # as [observation,desired_goal]; []: all
    exclude: list[str] = field(default_factory=list)  # as [achieved_goal]

    def __post_init__(self) -> None:
        for name in ("include", "exclude"):
            values = getattr(self, name)
            require(
                all(isinstance(value, str) for value in values), f"observations.{name}", "be a list of names", values
            )


@dataclass
class TrainConfig:
    """Settings of ``recipes/train.py``."""

    # What is learned, and from what
    algorithm: Any = MISSING  # one of those listed below; its own settings are algorithm.<name>=<value>
    dataset: str = "demo/pen/mixed-v1"  # any Minari dataset id
    seed: int = 0  # of initialisation, batches and dropout, >= 0
    seeds: list[int] | None = None  # several, each with a folder of its own: a process per core, or stacked
    stack: bool | None = None  # the seeds in one process, each update one of all of them; null: on a GPU
    gradient_steps: int = 20_000  # updates in all, >= 1
    batch_size: int = 256  # transitions per update, or windows of them, >= 1; with algorithm=dt 64
    online_steps: int | None = None  # steps in the environment after these updates, as of finetune, >= 1; None: none
    validation: float = 0.0  # share of the episodes, in [0, 1), that is held out and measured on as validation/*
    # Evaluation, log and checkpoints
    eval_every: int = 2_500  # updates between evaluations, >= 1
    num_eval_episodes: int = 20  # episodes per evaluation, >= 1; always the same initial states
    num_eval_envs: int | None = None  # episodes simulated at once, >= 1, for speed alone; None: a core each, at most 4
    estimate_every: int | None = None  # updates between estimates by the data alone, estimate/*; None: none
    divergence_alarm: bool = True  # a line, once, where Q is beyond what the rewards allow or critics learn by heart
    log_every: int = 500  # updates between rows of metrics.csv and points of the dashboard, >= 1
    checkpoint_every: int | None = None  # updates between further checkpoints, >= 1; None: only those at evaluations
    # The machine
    device: str = "auto"  # cpu, cuda, cuda:<n>, or auto: cuda where there is one
    compile: str = "auto"  # of updates: off, trace, inductor, or auto: the last, unless another is clearly faster
    precision: str = "float32"  # of the products in the networks: float32 or bfloat16; parameters stay float32
    matmul_precision: str = "auto"  # torch's, of float32 products: highest, high, medium, or auto: as exact, and fast
    storage: str = "memory"  # memory: the dataset on the device; memmap: read from disk, for what does not fit
    # Data, environment and videos
    clip_actions: bool = False  # clip the data's actions to the bounds instead of refusing those outside
    observations: ObservationsConfig = field(default_factory=ObservationsConfig)
    action_bounds: Any = "declared"  # by the action space; data: the data's own smallest and largest; or [low,high]
    rewards: RewardsConfig = field(default_factory=RewardsConfig)
    n_step: int = 1  # rewards that a target of the critics sums before it bootstraps, >= 1
    eval_env: str | None = None  # Gymnasium id to evaluate in; None: what the dataset's metadata name
    max_episode_steps: int | None = None  # of its episodes, >= 1; None: its own limit, else the longest of the data
    trust_env: bool = False  # call whatever the metadata name as environment, code that is not registered included
    eval_videos: bool = False  # film the worst, the median and the best episode of each evaluation
    keep_videos: bool = False  # those of all evaluations; else of the last one
    # Folder and dashboard
    logger: str = "wandb"  # wandb, csv, tensorboard or none; metrics.csv and evaluations.csv are written in any case
    run_dir: str = MISSING  # runs/<algorithm>/<dataset>/seed<N> by default
    resume: str | None = None  # folder of a run to go on with; its own settings are used
    overwrite: bool = False  # delete the run that is in run_dir already
    wandb: WandbConfig = field(default_factory=WandbConfig)

    def __post_init__(self) -> None:
        require_dataset_id("dataset", self.dataset)
        require_counts(self, "gradient_steps", "batch_size", "eval_every", "num_eval_episodes", "log_every")
        require_counts(self, "num_eval_envs", "checkpoint_every", "n_step", "max_episode_steps", "online_steps")
        require_counts(self, "estimate_every")
        require_memory(8 * self.num_eval_episodes, "num_eval_episodes", self.num_eval_episodes)
        require_seed("seed", self.seed)
        require(0.0 <= self.validation < 1.0, "validation", "be a share of the episodes, in [0, 1)", self.validation)
        if self.seeds is not None:
            require_seeds(self.seeds)
        require_choice("storage", self.storage, ("memory", "memmap"))
        require_action_bounds(self.action_bounds)
        require_choice("compile", self.compile, MODES)
        require_choice("precision", self.precision, ("float32", "bfloat16"))
        require_choice("matmul_precision", self.matmul_precision, MATMUL_PRECISIONS)
        require_choice("logger", self.logger, ("wandb", "csv", "tensorboard", "none"))


@dataclass
class EvaluateConfig:
    """Settings of ``recipes/evaluate.py``."""

    checkpoint: str | None = MISSING  # run's folder (its last one), .safetensors, or wandb:entity/project/name:alias
    policy: str | None = None  # in the place of a checkpoint, a file that offline-agents export wrote
    trust_policy: bool = False  # open a policy of torch's (pt2, aoti), which can run any code; onnx cannot
    num_episodes: int = 100  # >= 1
    num_envs: int | None = None  # episodes simulated at once, >= 1, for speed alone; None: a core each, at most 4
    seed: int = 0  # of the first episode, >= 0; training evaluates on the seeds from 0 as well
    video: bool = False  # write one episode as mp4
    eval_videos: bool = False  # film the worst, the median and the best episode, with return, success, Q and V
    eval_env: str | None = None  # Gymnasium id to evaluate in; None: the one of training
    max_episode_steps: int | None = None  # of its episodes, >= 1; None: its own limit, else that of training
    trust_env: bool = False  # call whatever the checkpoint names as environment, code that is not registered included
    output: str | None = None  # folder of results; None: <run>/evaluation, of a file alone evaluation/<name>
    logger: str = "none"  # wandb or none
    wandb: WandbConfig = field(default_factory=lambda: WandbConfig(group="evaluation"))

    def __post_init__(self) -> None:
        for name in ("checkpoint", "policy"):
            require(getattr(self, name) != "", name, "name a run's folder or a file", getattr(self, name))
        given = self.policy is not None or self.checkpoint is not None
        require(given, "checkpoint", "name a run's folder or a file", self.checkpoint)
        if self.policy is not None:
            require(self.checkpoint in (None, MISSING), "checkpoint", "be left out beside policy", self.checkpoint)
            values = "be false with policy, whose file has neither Q nor V"
            require(not self.eval_videos, "eval_videos", values, self.eval_videos)
        require_counts(self, "num_episodes", "num_envs", "max_episode_steps")
        require_memory(8 * self.num_episodes, "num_episodes", self.num_episodes)
        require_seed("seed", self.seed)
        require_choice("logger", self.logger, ("wandb", "none"))


@dataclass
class InspectConfig:
    """Settings of ``recipes/inspect_dataset.py``."""

    dataset: str = "demo/pen/mixed-v1"  # any Minari dataset id
    observations: ObservationsConfig = field(default_factory=ObservationsConfig)
    good_above: float = 0.75  # a good episode's return, between the lowest reference and the best one, in (0, 1]
    json: bool = False  # print the card as JSON instead of text; --json is the same
    output: str | None = None  # folder for card and plots; None: runs/inspection/<dataset>
    logger: str = "none"  # wandb or none
    wandb: WandbConfig = field(default_factory=lambda: WandbConfig(group="inspection"))

    def __post_init__(self) -> None:
        require_dataset_id("dataset", self.dataset)
        require(0.0 < self.good_above <= 1.0, "good_above", "lie in (0, 1]", self.good_above)
        require_choice("logger", self.logger, ("wandb", "none"))


@dataclass
class ImportConfig(MeaningConfig):
    """Settings of ``recipes/import_data.py``."""

    source: str = MISSING  # log: a file, a folder of files, or a pattern, as 'logs/*.csv'
    dataset: str = MISSING  # id that the data get, as robot/arm-v0
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    dry_run: bool = False  # show what is understood, and write nothing
    overwrite: bool = False  # take the place of a dataset of this id

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.source), "source", "name a file, a folder or a pattern", self.source)
        require_dataset_id("dataset", self.dataset)


@dataclass
class DashboardConfig:
    """Settings of ``recipes/dashboard.py``."""

    project: str = "offline-agents"  # in W&B; one workspace and one report of all its runs
    entity: str | None = None  # user or team; None: the account's default
    runs: str = "runs"  # without an account: folder with the W&B files of offline runs
    output: str = "runs/dashboard"  # folder for the specification, and for what was saved under which name


INSTEAD = {"checkpoint": ("policy", "resume")}  # a setting that has to be given, and those that may be in its place
RECIPES: dict[str, type] = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "finetune": FinetuneConfig,
    "export": ExportConfig,
    "serve": ServeConfig,
    "compare": CompareConfig,
    "sweep": SweepConfig,
    "estimate": EstimateConfig,
    "select_policy": SelectConfig,
    "inspect_dataset": InspectConfig,
    "import_data": ImportConfig,
    "dashboard": DashboardConfig,
}
COMMANDS = {recipe.partition("_")[0]: recipe for recipe in RECIPES}


def preset_files() -> set[str]:
    """Presets of algorithms that are more than the defaults of their dataclass."""
    return {file.stem for file in CONF.glob("algorithm/*.yaml")}


def presets() -> set[str]:
    """The words that ``algorithm=`` takes."""
    return preset_files() | ALGORITHMS.keys()
