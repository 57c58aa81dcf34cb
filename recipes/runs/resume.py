"""How a run goes on from where it stopped: the settings that it was saved with, and which of them may change."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from agents.algorithms.registry import config_of
from agents.errors import ConfigError
from agents.files import absent, flatten, write_atomically
from recipes.runs.folder import RunFolder, damaged
from recipes.settings.composition import algorithm_choice
from recipes.settings.overrides import as_typed, pasted
from recipes.settings.schema import TrainConfig

ONLINE = "online.yaml"  # of a run of offline-agents finetune, its settings
# settings that change where and how a run goes on; another kind of device ends bit-exactness, with a warning
FREE_ON_RESUME = (
    "resume", "device", "compile", "storage", "logger", "wandb", "num_eval_envs", "checkpoint_every", "eval_videos",
    "keep_videos", "trust_env", "divergence_alarm", "online_steps",
)  # fmt: skip

# of config.yaml, which every version wrote
SAID = ("algorithm", "dataset", "seed", "gradient_steps", "batch_size", "eval_every", "num_eval_episodes", "log_every")
NEEDED = ("algorithm", "algorithm_config", "wandb_id")  # of run.json


def resume(folder: RunFolder, cfg: DictConfig) -> TrainConfig:
    """The settings that the run in a folder goes on with: its own, and of those that are typed what may change.

    Raises:
        ConfigError: if it cannot go on, or not as the run that it is.
    """
    if not folder.holds_run:
        missing = [file.name for file in (folder.config_file, folder.info_file) if not file.exists()]
        raise ConfigError(f"no run to resume in {folder.path}: it has no {' and '.join(missing)}")
    if (folder.path / ONLINE).exists():
        way_out = f"offline-agents finetune {pasted('resume', folder.path)}"
        raise ConfigError(f"the run in {folder.path} goes on in an environment: {way_out}")
    refuse_loss(folder)
    saved = read_settings(folder)
    typed = [override.partition("=")[0].lstrip("+~") for override in HydraConfig.get().overrides.task]
    if {"run_dir", "overwrite"} & {*typed}:
        raise ConfigError(f"resume={folder.path} goes on in that folder; leave out run_dir and overwrite")
    free = [key for key in typed if key.split(".")[0] in FREE_ON_RESUME]
    if "gradient_steps" in typed:
        free += [key for key in typed if key == "gradient_steps" or key.endswith(".decay_steps")]
    if not exact_alone(info := folder.info) and "compile" not in typed:
        reason = "it was stacked with others and traced as a stack: alone it would go on with other rounding errors"
        way_out = f"if they may differ, add compile={info['compile']}"
        raise ConfigError(f"cannot resume {folder.path} exactly: {reason}; {way_out}")
    _refuse_differences(folder, saved, cfg, [key for key in typed if key not in free])
    saved.trust_env = False  # the folder may be somebody else's: only who types it gives this permission
    if "eval_env" not in typed:
        refuse_module(folder, saved.eval_env)
    _tell_of_defaults(folder, saved, typed)
    for key in free:
        OmegaConf.update(saved, key, OmegaConf.select(cfg, key))
    if "gradient_steps" in typed:
        _tell_of_rates(saved)
    return cast(TrainConfig, OmegaConf.to_object(saved))


def refuse_loss(folder: RunFolder) -> None:
    """Refuse a run whose checkpoints are lost; one that was killed before its first one begins anew."""
    if folder.had_checkpoint and not folder.has_checkpoint:
        way_out = "put its checkpoints/ back, or start a new run in another run_dir"
        raise ConfigError(f"{folder.path} has results and no checkpoint to go on from: {way_out}")


def refuse_module(folder: RunFolder, eval_env: str | None) -> None:
    """Refuse to import what only the settings of a run name, which may be somebody else's."""
    if ":" in (eval_env or ""):
        where = f"the run in {folder.path} is evaluated in {eval_env!r}, which has a module imported"
        raise ConfigError(f"{where}; if you trust it, add {pasted('eval_env', eval_env)}")


def _tell_of_defaults(folder: RunFolder, saved: DictConfig, typed: Sequence[str]) -> None:
    """A version that did not know a setting did as by default, but a line may also have been lost: none can say."""
    file = cast(
        dict[str, Any], OmegaConf.to_container(OmegaConf.create(folder.config_file.read_text(encoding="utf-8")))
    )
    names = absent(cast(dict[str, Any], OmegaConf.to_container(saved)), file)
    missing = [name for name in names if name not in typed and name.split(".")[0] not in FREE_ON_RESUME]
    values = ((name, OmegaConf.select(saved, name)) for name in missing)
    if said := [name if OmegaConf.is_config(value) else f"{name}={as_typed(value)}" for name, value in values]:
        print(f"warning: {folder.config_file} does not say, and so as usual: {', '.join(said)}", file=sys.stderr)


def exact_alone(info: Mapping[str, Any]) -> bool:
    """Whether a run goes on alone as it would have gone on where it was: a stack that is traced rounds otherwise."""
    return not info.get("stacked") or info.get("compile") == "off"


def _tell_of_rates(saved: DictConfig) -> None:
    """Schedules keep the length that they were begun with, unless another one is typed."""
    settings = cast(dict[str, Any], OmegaConf.to_container(saved.algorithm))
    for name, value in flatten(settings).items():
        if name.endswith("decay_steps") and value is not None and value < saved.gradient_steps:
            length = f"algorithm.{name} stays {value}, where the learning rate ends at 0"
            way_out = f"algorithm.{name}={saved.gradient_steps} has it follow the new length"
            print(f"warning: {length}; {way_out}", file=sys.stderr)


def lengthen(folder: RunFolder, config: TrainConfig) -> None:
    """Note other numbers of steps, and the schedules that go with them, in the settings of a run that is resumed."""
    saved = read_settings(folder)
    if (saved.gradient_steps, saved.online_steps) != (config.gradient_steps, config.online_steps):
        saved.gradient_steps, saved.online_steps = config.gradient_steps, config.online_steps
        saved.algorithm = config.algorithm
        write_atomically(folder.config_file, OmegaConf.to_yaml(saved).encode())


def read_settings(folder: RunFolder) -> DictConfig:
    """The settings of the run in a folder, with defaults for those that it lacks; a ConfigError if unreadable."""
    info = folder.info
    if missing := [name for name in NEEDED if name not in info]:
        raise damaged(folder.info_file, ValueError(f"it lacks {', '.join(missing)}"))
    defaults = config_of(info["algorithm_config"])
    if defaults is None:
        reason = f"its algorithm, {info['algorithm_config']}, is not registered; resume it by the script that made it"
        raise ConfigError(f"cannot resume {folder.path} here: {reason}")
    try:
        file = OmegaConf.create(folder.config_file.read_text(encoding="utf-8"))
        if "${" in json.dumps(OmegaConf.to_container(file)):  # what somebody else's file names is not looked up
            raise ValueError("it has a reference, ${...}, where a run saves the value")
        saved = OmegaConf.structured(TrainConfig)
        saved.algorithm = OmegaConf.structured(defaults)
        saved = cast(DictConfig, OmegaConf.merge(saved, file))
        if missing := OmegaConf.missing_keys(saved) or {*SAID} - {*file}:
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        OmegaConf.to_object(saved)  # checks the ranges
    except (OSError, TypeError, ValueError, RecursionError, YAMLError, OmegaConfBaseException) as error:
        raise damaged(folder.config_file, error) from error
    return saved


def _refuse_differences(folder: RunFolder, saved: DictConfig, cfg: DictConfig, keys: Sequence[str]) -> None:
    values = {key: (OmegaConf.select(saved, key), OmegaConf.select(cfg, key)) for key in keys}
    if "algorithm" in values:
        values["algorithm"] = folder.info["algorithm"], algorithm_choice()
    if different := [f"{key} is {there} there, {here} here" for key, (there, here) in values.items() if there != here]:
        way_out = "leave them out to resume it, or start a new run in another run_dir"
        raise ConfigError(f"the run in {folder.path} has other settings: {'; '.join(different)}; {way_out}")
