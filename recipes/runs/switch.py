"""The switch from data to the environment: the settings that a run goes on with, of itself and of its method."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor
from yaml import YAMLError

from agents.algorithms.registry import ALGORITHMS
from agents.checkpoint import Checkpoint, load
from agents.errors import ConfigError, require
from agents.files import write_atomically
from agents.training.transfer import with_networks_of
from recipes.runs.folder import RunFolder, damaged
from recipes.runs.metrics_log import csv_text, read_csv
from recipes.runs.resume import ONLINE, read_settings, refuse_loss
from recipes.settings.finetuning import POOLED, FinetuneConfig, num_updates
from recipes.settings.overrides import pasted
from recipes.settings.schema import TrainConfig

OFFLINE = "checkpoints/offline.safetensors"  # of the policy that it began with
# settings that are the offline run's where they are null, and those that are the method's
OF_RUN = ("seed", "batch_size", "eval_every", "num_eval_episodes", "log_every", "eval_env", "max_episode_steps")
OF_METHOD = ("num_random_steps", "num_warm_up_steps", "noise", "random_share", "updates_per_step", "keep_moments")
ALIKE = ("device", "compile", "logger", "wandb", "num_eval_envs", "checkpoint_every", "trust_env")
FREE_ON_RESUME = (*ALIKE, "resume", "online_steps", "eval_env")  # the last only as it is


def run_of(checkpoint: Checkpoint) -> RunFolder:
    """The run that a checkpoint is of; a ConfigError where the file is alone."""
    run = RunFolder(checkpoint.path.parent.parent)
    if not run.holds_run:
        raise ConfigError(
            f"{checkpoint.path} lies in no run's folder, which would say what it learned from and how; name that folder"
        )
    return run


def files_to_begin_with(config: FinetuneConfig, checkpoint: Checkpoint) -> dict[str, bytes]:
    """What a run has besides the files of every run: settings, the policy that it begins with, and the rows until then.

    The evaluation at the switch itself is made anew.
    """
    run, step = RunFolder(checkpoint.path.parent.parent), checkpoint.num_updates
    if config.from_scratch:
        step = 0
    evaluations = [{**row, "env_step": "0", "phase": "0"} for row in read_csv(run.evaluations_file, step - 1)]
    files = {
        ONLINE: OmegaConf.to_yaml(OmegaConf.structured(config)).encode(),
        OFFLINE: checkpoint.path.read_bytes(),
    }
    for file, rows in ((run.evaluations_file, evaluations), (run.metrics_file, read_csv(run.metrics_file, step))):
        files[file.name] = csv_text([*rows[0]] if rows else [], rows).encode()
    return files


def with_limits(
    config: FinetuneConfig, bounds: tuple[Tensor, Tensor] | None, max_change: float | None
) -> FinetuneConfig:
    """Settings by which a policy that learned inside limits stays inside them where no others are typed."""
    pair = None if bounds is None else [bound.tolist() for bound in bounds]
    limits = {"action_limits": pair, "max_action_change": max_change}
    values = {name: value for name, value in limits.items() if getattr(config, name) is None}
    return dataclasses.replace(config, **values)


def note_length(folder: RunFolder, config: FinetuneConfig) -> None:
    """Note the number of steps of a run that is resumed, which may be another one, among its settings."""
    saved, _ = read_both(folder)
    if saved.online_steps != config.online_steps:
        longer = dataclasses.replace(saved, online_steps=config.online_steps)
        write_atomically(folder.path / ONLINE, OmegaConf.to_yaml(OmegaConf.structured(longer)).encode())


def settings_of_both(
    config: FinetuneConfig, offline: TrainConfig, first_step: int
) -> tuple[FinetuneConfig, TrainConfig]:
    """Settings with nothing left open, and those that make an offline run of as many updates of them.

    Args:
        offline: of the run before.
        first_step: updates until the switch.

    Raises:
        ConfigError: the algorithm is unknown or cannot go on, or nothing would be learned.
    """
    algorithm, kind = offline.algorithm, type(offline.algorithm)
    if config.method is not None:
        kind = ALGORITHMS[config.method]
    if getattr(kind, "online", None) is None:
        name, able = kind.__name__.removesuffix("Config"), _able()
        raise ConfigError(f"{name} learns nothing from what it does itself; choose from {', '.join(able)}")
    if kind is not type(algorithm):
        algorithm = kind() if config.from_scratch else with_networks_of(kind(), algorithm)
    config = _filled(config, offline, algorithm, first_step)
    learned = num_updates(config, config.online_steps)
    if learned == 0:
        idle = f"num_warm_up_steps={config.num_warm_up_steps} and num_random_steps={config.num_random_steps}"
        raise ConfigError(f"online_steps={config.online_steps} leaves no update after {idle}; take more steps")
    algorithm = algorithm.going_online(learned, config.updates_per_step)
    of_run = {name: getattr(config, name) for name in (*OF_RUN, *ALIKE)}
    settings = dataclasses.replace(
        offline,
        **of_run,
        algorithm=algorithm,
        gradient_steps=first_step + learned,
        validation=offline.validation,
        estimate_every=None,
        seeds=None,
        eval_videos=False,
        run_dir=config.run_dir,
        resume=None,
        overwrite=config.overwrite,
        online_steps=None,
    )
    return config, settings


def _able() -> list[str]:
    """The algorithms that can go on online."""
    return [name for name, kind in ALGORITHMS.items() if getattr(kind, "online", None) is not None]


def _filled(config: FinetuneConfig, offline: TrainConfig, algorithm: Any, first_step: int) -> FinetuneConfig:
    online = algorithm.online
    open_ones = {name: getattr(offline, name) for name in OF_RUN} | {name: getattr(online, name) for name in OF_METHOD}
    if first_step:
        open_ones["num_random_steps"] = 0  # those are for an agent that knows nothing
    share = POOLED if online.offline_share is None else online.offline_share
    open_ones |= {"offline_share": share, "checkpoint_every": None}
    values = {name: value for name, value in open_ones.items() if getattr(config, name) is None}
    return dataclasses.replace(config, **values)


def read_both(folder: RunFolder) -> tuple[FinetuneConfig, TrainConfig]:
    """The settings of a run that went online; a ConfigError where they cannot be read."""
    path = folder.path / ONLINE
    if not path.exists():
        raise ConfigError(f"{folder.path} holds no run of offline-agents finetune: it has no {ONLINE}")
    settings = cast(TrainConfig, OmegaConf.to_object(read_settings(folder)))
    try:
        file = OmegaConf.create(path.read_text(encoding="utf-8"))
        if "${" in json.dumps(OmegaConf.to_container(file)):  # what somebody else's file names is not looked up
            raise ValueError("it has a reference, ${...}, where a run saves the value")
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(FinetuneConfig), file))
    except (OSError, TypeError, ValueError, RecursionError, YAMLError, OmegaConfBaseException) as error:
        raise damaged(path, error) from error
    return cast(FinetuneConfig, config), settings


def _refuse_stopped(folder: RunFolder, saved: FinetuneConfig) -> None:
    """Refuse further steps of a run that has given the offline policy back."""
    last = folder.checkpoints.last
    if last.exists() and load(last).extra.get("online", {}).get("stopped"):
        why = f"its return fell more than stop_below={saved.stop_below:g} below that of the offline policy"
        raise ConfigError(f"the run in {folder.path} has ended, as {why}; begin another one in another run_dir")


def resumed(
    folder: RunFolder, config: FinetuneConfig, typed: Collection[str]
) -> tuple[FinetuneConfig, TrainConfig, Checkpoint]:
    """The settings that a run goes on with, its own and of those that are typed what may change, and where it began.

    With more steps than it was begun with, what fades over them keeps its length.

    Args:
        typed: names of settings.

    Raises:
        ConfigError: another setting is typed, or there is no such run.
    """
    saved, settings = read_both(folder)
    refuse_loss(folder)
    if others := sorted({*typed} - {*FREE_ON_RESUME}):
        raise ConfigError(
            f"resume={folder.path} goes on with its own settings; leave out {', '.join(others)}, or start a new run"
        )
    checkpoint, steps = load(folder.path / OFFLINE), saved.online_steps
    if "online_steps" in typed:
        at_least = f"be at least {steps}, as the run was begun with"
        require(config.online_steps >= steps, "online_steps", at_least, config.online_steps)
        if config.online_steps > steps:
            _refuse_stopped(folder, saved)
        saved = dataclasses.replace(saved, online_steps=config.online_steps)
    first_step = 0 if saved.from_scratch else checkpoint.num_updates
    settings.gradient_steps = first_step + num_updates(saved, saved.online_steps)
    same_env = config.eval_env == settings.eval_env
    if ("eval_env" in typed and not same_env) or (":" in (settings.eval_env or "") and not same_env):
        where = f"the run in {folder.path} acts in {settings.eval_env!r}"
        raise ConfigError(
            f"{where}, and goes on nowhere else; if you trust it, add {pasted('eval_env', settings.eval_env)}"
        )
    free = {name: getattr(config, name) for name in ALIKE if name in typed} | {"resume": config.resume}
    free.setdefault("trust_env", False)  # the folder may be somebody else's
    of_run = {name: value for name, value in free.items() if name != "resume"}
    return dataclasses.replace(saved, **free), dataclasses.replace(settings, **of_run), checkpoint
