"""The recipes' settings as registered dataclasses, and Hydra's errors as one line.

Every key that a recipe accepts is a field here or in an algorithm's own config; YAML holds only what differs from the
default.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import functools
import inspect
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, OverrideParseException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from agents import compilation
from agents.algorithms import ALGORITHMS, tuned
from agents.errors import AgentsError, ConfigError, require, require_choice

LOGGERS = ("wandb", "csv", "tensorboard", "none")
STORAGES = ("memory", "memmap")
PRECISIONS = ("float32", "bfloat16")
CONF = os.path.join(os.path.dirname(os.path.abspath(__file__)), "conf")
EXECUTORS = ("local", "ray", "slurm")
SHOWN = ("job", "hydra", "all")  # by --cfg
METHODS = ("grid", "random", "tpe")
WANDB_MODES = ("auto", "online", "offline")
OPTIONS = ("-m", "--multirun", "--cfg", "--resolve", "--info", "-sc", "--shell-completion")  # Hydra's, where of use
NO_PLACE_TO_WRITE = (
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR,
    errno.ENAMETOOLONG,
)  # fmt: skip
PLAIN_WORDS = {  # of what OmegaConf says about a value
    r"Value '(.*)' of type '.*' could not be converted to Integer": r"'\1' is not a whole number",
    r"Value '(.*)' of type '.*' could not be converted to Float": r"'\1' is not a number",
    r"Value '(.*)' is not a valid bool.*": r"'\1' is neither true nor false",
    r"Invalid value assigned: .* is not a ListConfig, list or tuple\.": "a list is needed, as in [a,b]",
    r"Invalid type assigned: .* is not a subclass of .*": "this holds settings of its own, which are set one by one",
    r"field '.*' is not Optional": "null is not allowed",
    r"Missing mandatory value: .*": "a value has to be given",
}


@dataclass
class WandbConfig:
    """Where a run appears in Weights & Biases."""

    project: str = "offline-agents"  # a project that does not exist yet is made
    entity: str | None = None  # user or team; None: the account's default
    mode: str = "auto"  # online, offline, or auto: online where an API key is found
    group: str = MISSING  # runs that differ in the seed alone; <algorithm>/<dataset> by default
    tags: list[str] = field(default_factory=list)  # words to filter runs by, as [first,second]
    timeout: int = 20  # seconds to wait for an answer of the server, >= 1; without one the run is logged offline
    upload_timeout: int = 300  # seconds to wait at the end until everything is uploaded, >= 1; the rest stays here
    artifacts: bool = False  # log dataset (its description) and checkpoints (uploaded) as artifacts

    def __post_init__(self) -> None:
        for name in ("timeout", "upload_timeout"):
            require(getattr(self, name) >= 1, f"wandb.{name}", "be at least 1", getattr(self, name))
        require_choice("wandb.mode", self.mode, WANDB_MODES)


@dataclass
class TrainConfig:
    """Settings of ``recipes/train.py``.

    Raises:
        ConfigError: if a field is outside the range given in its comment.
    """

    algorithm: Any = MISSING  # one of those below, or a preset of theirs; its own settings as algorithm.<name>=<value>
    dataset: str = "demo/pen/mixed-v0"  # any Minari dataset id
    seed: int = 0  # of initialisation, batches and dropout, >= 0
    seeds: list[int] | None = None  # several, each as if run alone: a process per core, or stacked
    stack: bool | None = None  # the seeds in one process, each update one of all of them; null: on a GPU
    gradient_steps: int = 20_000  # updates in all, >= 1
    batch_size: int = 256  # transitions per update, or windows of them, >= 1; with algorithm=dt 64
    eval_every: int = 2_500  # updates between evaluations, >= 1
    num_eval_episodes: int = 20  # episodes per evaluation, >= 1; always the same initial states
    num_eval_envs: int | None = None  # episodes simulated at once, >= 1, for speed alone; None: a core each, at most 4
    log_every: int = 500  # updates between rows of metrics.csv and points of the dashboard, >= 1
    checkpoint_every: int | None = None  # updates between further checkpoints, >= 1; None: only those at evaluations
    device: str = "auto"  # cpu, cuda, cuda:<n>, or auto: cuda where there is one
    compile: str = "auto"  # of updates: off, trace, inductor, or auto: the last, unless another is clearly faster
    precision: str = "float32"  # of the products in the networks: float32 or bfloat16; parameters stay float32
    matmul_precision: str = "auto"  # torch's, of float32 products: highest, high, medium, or auto: as exact, and fast
    storage: str = "memory"  # memory: the dataset on the device; memmap: read from disk, for what does not fit
    clip_actions: bool = False  # clip the data's actions to the bounds instead of refusing those outside
    eval_env: str | None = None  # Gymnasium id to evaluate in; None: what the dataset's metadata name
    trust_env: bool = False  # call whatever the metadata name as environment, code that is not registered included
    eval_videos: bool = False  # film the worst, the median and the best episode of each evaluation
    keep_videos: bool = False  # those of all evaluations; else of the last one
    logger: str = "wandb"  # wandb, csv, tensorboard or none; metrics.csv and evaluations.csv are written in any case
    run_dir: str = MISSING  # runs/<algorithm>/<dataset>/seed<N> by default
    resume: str | None = None  # folder of a run to go on with; its own settings are used
    overwrite: bool = False  # delete the run that is in run_dir already
    wandb: WandbConfig = field(default_factory=WandbConfig)

    def __post_init__(self) -> None:
        counts = ("gradient_steps", "batch_size", "eval_every", "num_eval_episodes", "log_every")
        for name in (*counts, "num_eval_envs", "checkpoint_every"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, "be at least 1", value)
        require_seed("seed", self.seed)
        require_choice("storage", self.storage, STORAGES)
        require_choice("compile", self.compile, compilation.MODES)
        require_choice("precision", self.precision, PRECISIONS)
        require_choice("matmul_precision", self.matmul_precision, compilation.MATMUL_PRECISIONS)
        require_choice("logger", self.logger, LOGGERS)


@dataclass
class EvaluateConfig:
    """Settings of ``recipes/evaluate.py``.

    Raises:
        ConfigError: if a field is outside the range given in its comment.
    """

    checkpoint: str = MISSING  # run's folder (its last one), .safetensors file, or wandb:entity/project/name:alias
    num_episodes: int = 100  # >= 1
    num_envs: int | None = None  # episodes simulated at once, >= 1, for speed alone; None: a core each, at most 4
    seed: int = 0  # of the first episode, >= 0; training evaluates on the seeds from 0 as well
    video: bool = False  # write one episode as mp4
    eval_videos: bool = False  # film the worst, the median and the best episode, with return, success, Q and V
    eval_env: str | None = None  # Gymnasium id to evaluate in; None: the one of training
    trust_env: bool = False  # call whatever the checkpoint names as environment, code that is not registered included
    output: str | None = None  # folder for scores, plot and video; None: <run>/evaluation
    logger: str = "none"  # wandb or none
    wandb: WandbConfig = field(default_factory=WandbConfig)

    def __post_init__(self) -> None:
        for name in ("num_episodes", "num_envs"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, "be at least 1", value)
        require_seed("seed", self.seed)
        require_choice("logger", self.logger, ("wandb", "none"))


@dataclass
class SlurmConfig:
    """What ``executor=slurm`` asks the scheduler for, for each run."""

    partition: str | None = None  # None: the cluster's default
    minutes: int = 24 * 60  # after which a run is stopped, >= 1; the same call goes on with it
    memory_gb: int = 4  # >= 1

    def __post_init__(self) -> None:
        for name in ("minutes", "memory_gb"):
            require(getattr(self, name) >= 1, f"slurm.{name}", "be at least 1", getattr(self, name))


@dataclass
class CompareConfig:
    """Settings of ``recipes/compare.py``, beside those that it hands on to ``recipes/train.py``.

    Raises:
        ConfigError: if a field is outside the range given in its comment.
    """

    algorithms: list[str] = field(default_factory=lambda: ["iql", "bc"])  # as algorithm= of train.py, with commas
    datasets: list[str] = field(default_factory=lambda: ["demo/pen/mixed-v0"])  # Minari ids, with commas
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])  # with commas; each of them for each of the others
    baseline: str | None = None  # that the others are to improve on; None: bc if it is compared, else the first
    executor: str = "local"  # where runs are made: local, ray or slurm
    workers: int | None = None  # runs at the same time, >= 1; None: one per core, with slurm all of them
    address: str | None = None  # of a Ray cluster, or auto: the one that this machine is in; None: this machine alone
    slurm: SlurmConfig = field(default_factory=SlurmConfig)
    runs: str = "runs"  # folder of all runs: those that are finished there are not made again
    output: str = "runs/comparison"  # folder for tables and figures; what it holds of them is replaced
    num_resamples: int = 5_000  # of the bootstrap intervals, >= 1
    logger: str = "none"  # wandb: each run and, as a run of its own, the comparison; none
    wandb: WandbConfig = field(default_factory=WandbConfig)

    def __post_init__(self) -> None:
        for name in ("algorithms", "datasets"):
            require_different(name, getattr(self, name))
        require_seeds(self.seeds)
        for name in ("workers", "num_resamples"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, "be at least 1", value)
        if self.baseline is not None:
            require_choice("baseline", self.baseline, self.algorithms)
        require_choice("executor", self.executor, EXECUTORS)
        require_choice("logger", self.logger, ("wandb", "none"))


@dataclass
class SweepConfig:
    """Settings of ``recipes/sweep.py``, beside those that it hands on to ``recipes/train.py``.

    Raises:
        ConfigError: if a field is outside the range given in its comment.
    """

    sweep: str = MISSING  # YAML file in W&B's format, as recipes/sweeps/iql.yaml
    method: str | None = None  # grid, random or tpe; None: the file's, with tpe for W&B's bayes
    num_trials: int | None = None  # at most, >= 1; None: the file's run_cap, else all of a grid, and 20 otherwise
    batch: int = 4  # trials that tpe proposes before it looks at their scores, >= 1
    search_seed: int = 0  # of what random and tpe propose, >= 0
    seeds: list[int] = field(default_factory=lambda: [0])  # of each trial's runs, with commas
    metric: str | None = None  # column of evaluations.csv; None: the file's; its last value is compared
    executor: str = "local"  # where runs are made: local, ray or slurm
    workers: int | None = None  # runs at the same time, >= 1; None: one per core, with slurm all of them
    address: str | None = None  # of a Ray cluster, or auto: the one that this machine is in; None: this machine alone
    slurm: SlurmConfig = field(default_factory=SlurmConfig)
    runs: str = "runs"  # folder of all runs: those that are finished there are not made again
    output: str | None = None  # folder for table and figure, which are replaced; None: <runs>/sweeps/<file>/<dataset>
    logger: str = "none"  # wandb: each run and, as a run of its own, the table; none
    wandb: WandbConfig = field(default_factory=WandbConfig)

    def __post_init__(self) -> None:
        for name in ("num_trials", "batch", "workers"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, "be at least 1", value)
        require_seed("search_seed", self.search_seed, limit=2**32)  # NumPy's
        require_seeds(self.seeds)
        if self.method is not None:
            require_choice("method", self.method, METHODS)
        require_choice("executor", self.executor, EXECUTORS)
        require_choice("logger", self.logger, ("wandb", "none"))


@dataclass
class InspectConfig:
    """Settings of ``recipes/inspect_dataset.py``.

    Raises:
        ConfigError: if a field is outside the range given in its comment.
    """

    dataset: str = "demo/pen/mixed-v0"  # any Minari dataset id
    good_above: float = 0.75  # a good episode's return, between the lowest reference and the best one, in (0, 1]
    json: bool = False  # print the card as JSON instead of text; --json is the same
    output: str | None = None  # folder for card and plots; None: runs/inspection/<dataset>
    logger: str = "none"  # wandb or none
    wandb: WandbConfig = field(default_factory=WandbConfig)

    def __post_init__(self) -> None:
        require(0.0 < self.good_above <= 1.0, "good_above", "lie in (0, 1]", self.good_above)
        require_choice("logger", self.logger, ("wandb", "none"))


@dataclass
class DashboardConfig:
    """Settings of ``recipes/dashboard.py``."""

    project: str = "offline-agents"  # in W&B; one workspace and one report of all its runs
    entity: str | None = None  # user or team; None: the account's default
    runs: str = "runs"  # without an account: folder with the W&B files of offline runs
    output: str = "runs/dashboard"  # folder for the specification, and for what was saved under which name


def require_different(name: str, values: Sequence[Any]) -> None:
    """Refuse an empty list, or one that names something twice.

    Raises:
        ConfigError: naming the setting.
    """
    require(len(values) > 0 and len({*values}) == len(values), name, "be different ones, at least one", values)


def require_seeds(values: Sequence[int]) -> None:
    """Refuse seeds that are not different ones, or not seeds.

    Raises:
        ConfigError: naming the setting.
    """
    require_different("seeds", values)
    for value in values:
        require_seed("seeds", value)


def require_seed(name: str, value: int, limit: int = 2**63) -> None:
    """Refuse what a generator of random numbers does not take: torch's, unless the limit is another.

    Raises:
        ConfigError: naming the setting.
    """
    require(0 <= value < limit, name, f"be at least 0 and below 2^{limit.bit_length() - 1}", value)


def require_place(name: str, folder: str | os.PathLike[str]) -> None:
    """Refuse a folder that cannot be made or written, before the work whose results it is to hold.

    Raises:
        ConfigError: naming the setting.
    """
    path = Path(folder).absolute()
    there = next(filter(os.path.exists, (path, *path.parents)), path)
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        problem = f"cannot write to {folder}: {there} is no folder that may be written"
        raise ConfigError(f"{problem}; name another place by {name}=...")


RECIPES = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "compare": CompareConfig,
    "sweep": SweepConfig,
    "inspect_dataset": InspectConfig,
    "dashboard": DashboardConfig,
}
# settings of train.py that these two do not hand on: they have one of their own, or choose the value
OF_SWEEP = ("seed", "seeds", "stack", "run_dir", "resume", "overwrite", "logger", "wandb")
KEPT = {"compare": ("algorithm", "dataset", *OF_SWEEP), "sweep": OF_SWEEP}


def register() -> None:
    """Make the dataclasses the schema of the YAML files, so that Hydra knows every key and its type."""
    for name, config in RECIPES.items():
        _store(f"{name}_schema", config)
    files = _files()
    for name, config in ALGORITHMS.items():
        _store(name, config, group="algorithm/schema")
        if name not in files:  # its defaults are the preset: so is an algorithm from outside
            _store(name, config, group="algorithm")
    OmegaConf.register_new_resolver(
        "tuned", lambda algorithm, dataset, name: tuned(algorithm, dataset)[name], replace=True
    )


@functools.cache  # a class takes milliseconds
def _store(name: str, config: type, *, group: str | None = None) -> None:
    ConfigStore.instance().store(group=group, name=name, node=config)


def main(recipe: str, run: Callable[[DictConfig], None]) -> None:
    """Run a recipe under Hydra; a mistake of the user's ends in one line and exit code 2."""
    register()
    if {"--help", "-h"} & set(sys.argv[1:]):
        if hasattr(signal, "SIGPIPE"):
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as in --help | head
        print(help_text(recipe, sys.modules[run.__module__].__doc__ or ""))
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing several lines and exiting with 1
    errors = (HydraException, OmegaConfBaseException, AgentsError)
    started = False

    def guarded(cfg: DictConfig) -> None:
        nonlocal started
        started = True
        try:
            run(cfg)
        except errors as error:  # here and not only below: Hydra would print a line of its own first
            sys.exit(_refuse(explain(error, recipe)))
        except OSError as error:
            if error.errno not in NO_PLACE_TO_WRITE:
                raise
            where = f" ({error.filename})" if error.filename else ""
            way_out = "make room, mend its rights or name another place"
            sys.exit(_refuse(f"{error.strerror}{where}; {way_out}; what was saved is whole"))

    try:
        for argument, following in zip(sys.argv[1:], [*sys.argv[2:], ""]):
            _check_argument(argument, recipe)
            if argument == "--cfg" and following not in SHOWN:
                raise ConfigError(f"--cfg shows {', '.join(SHOWN)}: write --cfg job for the settings of a run")
        sys.argv[1:] = sorted(sys.argv[1:], key=lambda argument: "=" in argument)  # Hydra wants options before settings
        with contextlib.ExitStack() as scratch:  # of a sweep's settings Hydra writes a copy that no one needs
            folder = tempfile.TemporaryDirectory
            OmegaConf.register_new_resolver("scratch", lambda: scratch.enter_context(folder()), replace=True)
            hydra.main(version_base="1.3", config_path=CONF, config_name=recipe)(guarded)()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if started:
            raise
        sys.exit(_refuse(explain(error, recipe)))  # Hydra finds mistakes with every type of exception


def explain(error: BaseException, recipe: str) -> str:
    """One line for the user: what is wrong, and the valid names where a name was unknown."""
    text = " ".join(str(error).split())
    if isinstance(error, AgentsError):
        return text
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r}: write name=value, lists as [1,2], special characters in quotes"
    if unknown := re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct", text):
        return _unknown_key(unknown[1] or unknown[2], recipe)
    if missing := re.search(r"Could not find 'algorithm/(?:schema/)?([^']*)'|Config group override must be", text):
        name, options = missing[1] or "", sorted(_presets())
        return f"unknown algorithm {name!r}{_closest(name, options)}; choose from {', '.join(options)}"
    if ambiguous := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return f"{ambiguous[1]} has several values: add -m to run one after the other"
    while isinstance(error.__cause__, (OmegaConfBaseException, AgentsError)):
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    key = next((line.removeprefix("full_key: ") for line in lines if line.startswith("full_key: ")), "")
    reason = re.sub(r"^.*raised while resolving interpolation: ", "", lines[0])
    for pattern, replacement in PLAIN_WORDS.items():
        reason = re.sub(pattern, replacement, reason)
    return f"{key}: {reason}; --help lists all settings" if key else f"{reason}; --help lists all settings"


def build(cfg: DictConfig, recipe: str) -> Any:
    """The recipe's config dataclass, checked: first the run's settings, from which the algorithm's may be derived."""
    RECIPES[recipe](**{name: cfg[name] for name in cfg if name != "algorithm"})
    return OmegaConf.to_object(cfg)


def help_text(recipe: str, doc: str) -> str:
    """What ``--help`` prints: the recipe's docstring, then every setting with its default and the comment beside it."""
    parts = [doc.strip(), "\nSettings:", *_settings(RECIPES[recipe]())]
    if recipe == "train":
        for name, config in ALGORITHMS.items():
            parts += [f"\nSettings of algorithm={name}:", *_settings(config(), "algorithm.")]
    return "\n".join(parts)


def _settings(config: Any, prefix: str = "") -> Iterator[str]:
    comments = {}
    for cls in reversed(type(config).__mro__[:-1]):
        comments |= dict(re.findall(r"^    (\w+): [^#\n]*  # (.+)$", inspect.getsource(cls), re.MULTILINE))
    for entry in fields(config):
        value = getattr(config, entry.name)
        if is_dataclass(value):
            yield from _settings(value, f"{prefix}{entry.name}.")
            continue
        default = "" if value == MISSING else f"={_as_typed(value)}"
        comment = comments.get(entry.name, "").replace("None", "null")
        yield f"  {prefix}{entry.name}{default}".ljust(46) + f"  {comment}".rstrip()


def _as_typed(value: Any) -> str:
    """A value as it is written on the command line."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)


def key_names(config: Any, prefix: str = "") -> Iterator[str]:
    """Every key of a config, nested ones with dots."""
    for entry in fields(config):
        yield prefix + entry.name
        value = getattr(config, entry.name)
        if is_dataclass(value):
            yield from key_names(value, f"{prefix}{entry.name}.")


def handed_on(key: str, recipe: str) -> bool:
    """Whether ``recipes/compare.py`` or ``recipes/sweep.py`` gives a setting to each run."""
    known = {name for name in key_names(TrainConfig()) if name.split(".")[0] not in KEPT[recipe]}
    return key in known or key.startswith("algorithm.")


def split(arguments: Sequence[str], recipe: str) -> tuple[list[str], list[str]]:
    """What was typed, into settings of this recipe and those that are handed on to every run; W&B's are both.

    Lists of the recipe's own may be written with commas alone.
    """
    lists = {name for name, value in vars(RECIPES[recipe]()).items() if isinstance(value, list)}
    own, others = [], []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key in lists and value[:1] not in ("", "["):
            argument = f"{key}=[{value}]"
        if handed_on(key, recipe):
            others.append(argument)
        else:
            own.append(argument)
        if key.startswith("wandb."):
            others.append(argument)
    return own, others


def _unknown_key(key: str, recipe: str) -> str:
    names = [*key_names(RECIPES[recipe]())]
    if recipe in KEPT:
        names += [name for name in key_names(TrainConfig()) if handed_on(name, recipe)]
    if recipe == "train" and key.startswith("algorithm."):
        owners = {name: [*key_names(config(), "algorithm.")] for name, config in ALGORITHMS.items()}
        if others := [name for name, keys in owners.items() if key in keys]:
            return (
                f"{key!r} is a setting of {', '.join(others)}, not of the algorithm chosen; --help lists those of each"
            )
        names = sorted({name for keys in owners.values() for name in keys})
        return f"unknown setting {key!r}{_closest(key, names)}; --help lists those of each algorithm"
    return f"unknown setting {key!r}{_closest(key, names)}; valid are {', '.join(names)}"


def _check_argument(argument: str, recipe: str) -> None:
    """Refuse what Hydra would accept without an effect, or refuse with a page of text."""
    key, equals, value = argument.lstrip("+~-").partition("=")
    if argument[:1] in ("+", "~") and not key.startswith("hydra"):
        known = key in key_names(RECIPES[recipe]()) or key.startswith("algorithm.")
        way_out = f"write {key}={value or '<value>'}" if known else _unknown_key(key, recipe)
        raise ConfigError(f"{argument}: settings can be changed, not added or removed; {way_out}")
    if argument.startswith("-") and argument not in OPTIONS:
        raise ConfigError(
            f"unknown option {argument!r}; settings are written without dashes; options: {', '.join(OPTIONS)}"
        )


def _presets() -> set[str]:
    return _files() | ALGORITHMS.keys()


def _files() -> set[str]:
    return {name.removesuffix(".yaml") for name in os.listdir(os.path.join(CONF, "algorithm"))}


def _closest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2
