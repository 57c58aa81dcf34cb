"""The settings of recipes of many runs: a comparison, a sweep."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from agents.errors import require_choice, require_memory
from agents.evaluation.offline.settings import FQEConfig
from recipes.settings.checks import require_counts, require_dataset_id, require_different, require_seed, require_seeds
from recipes.settings.wandb_settings import WandbConfig

METHODS = ("grid", "random", "tpe")


@dataclass
class SlurmConfig:
    """Demands of ``executor=slurm`` on the scheduler, for each run."""

    partition: str | None = None  # None: the cluster's default
    minutes: int = 24 * 60  # after which a run is stopped, >= 1; the same call goes on with it
    memory_gb: int = 4  # >= 1

    def __post_init__(self) -> None:
        require_counts(self, "minutes", "memory_gb", prefix="slurm.")


@dataclass(kw_only=True)
class ManyRunsConfig:
    """Settings of a recipe of many runs, beside those that it hands on to ``recipes/train.py``."""

    executor: str = "local"  # where runs are made: local, ray or slurm
    workers: int | None = None  # runs at the same time, >= 1; None: one per core, with slurm all of them
    address: str | None = None  # of a Ray cluster, or auto: the one that this machine is in; None: this machine alone
    slurm: SlurmConfig = field(default_factory=SlurmConfig)
    fqe: FQEConfig = field(default_factory=FQEConfig)  # of estimates, where the data name no environment
    runs: str = "runs"  # folder of all runs: those that are finished there are not made again
    logger: str = "none"  # wandb: each run and, as a run of its own, what comes of them all; none
    wandb: WandbConfig

    def __post_init__(self) -> None:
        require_counts(self, "workers")
        require_choice("executor", self.executor, ("local", "ray", "slurm"))
        require_choice("logger", self.logger, ("wandb", "none"))


@dataclass
class CompareConfig(ManyRunsConfig):
    """Settings of ``recipes/compare.py``."""

    algorithms: list[str] = field(default_factory=lambda: ["iql", "bc"])  # as algorithm= of train.py, with commas
    datasets: list[str] = field(default_factory=lambda: ["demo/pen/mixed-v1"])  # Minari ids, with commas
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])  # with commas; each of them for each of the others
    baseline: str | None = None  # that the others are to improve on; None: bc if it is compared, else the first
    output: str = "runs/comparison"  # folder for tables and figures; what it holds of them is replaced
    num_resamples: int = 5_000  # of the bootstrap intervals, >= 1
    each_seed: bool = False  # a thin line per seed in the learning curves, in place of the band
    select: str | None = None  # fqe: which run that would take without an environment, and its regret; None: not asked
    wandb: WandbConfig = field(default_factory=lambda: WandbConfig(group="comparison"), kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_different("algorithms", self.algorithms)
        require_different("datasets", self.datasets)
        for dataset in self.datasets:
            require_dataset_id("datasets", dataset)
        require_seeds(self.seeds)
        require_counts(self, "num_resamples")
        require_memory(8 * self.num_resamples, "num_resamples", self.num_resamples)
        if self.baseline is not None:
            require_choice("baseline", self.baseline, self.algorithms)
        if self.select is not None:
            require_choice("select", self.select, ("fqe",))


@dataclass
class SweepConfig(ManyRunsConfig):
    """Settings of ``recipes/sweep.py``."""

    sweep: str = MISSING  # YAML file in W&B's format, or a name of those in recipes/sweeps, as iql
    method: str | None = None  # grid, random or tpe; None: the file's, with tpe for W&B's bayes
    num_trials: int | None = None  # at most, >= 1; None: the file's run_cap, else all of a grid, and 20 otherwise
    batch: int = 4  # trials that tpe proposes before it looks at their scores, >= 1
    search_seed: int = 0  # of what random and tpe propose, >= 0
    seeds: list[int] = field(default_factory=lambda: [0])  # of each trial's runs, with commas
    metric: str | None = None  # column of evaluations.csv, its last value, or estimate/fqe; None: the file's
    output: str | None = None  # folder for table and figure, which are replaced; None: <runs>/sweeps/<file>/<dataset>
    wandb: WandbConfig = field(default_factory=lambda: WandbConfig(group="sweep"), kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_counts(self, "num_trials", "batch")
        require_seed("search_seed", self.search_seed, limit=2**32)  # NumPy's
        require_seeds(self.seeds)
        if self.method is not None:
            require_choice("method", self.method, METHODS)
