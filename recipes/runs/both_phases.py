"""A run of ``online_steps=``: updates from data, and then, in a folder inside of its own, steps in its environment."""

from __future__ import annotations

import dataclasses

from agents.checkpoint import load
from agents.errors import CheckpointError, ConfigError, require
from agents.online.exploration import require_no_memory
from agents.training.agent import Agent
from recipes.runs.folder import RunFolder
from recipes.runs.switch import ALIKE, OFFLINE, read_both, settings_of_both
from recipes.settings.finetuning import FinetuneConfig
from recipes.settings.overrides import pasted
from recipes.settings.schema import TrainConfig

# settings of the second phase that may differ from what the first would give it
FREE = (*ALIKE, "checkpoint", "resume", "run_dir", "overwrite", "online_steps")


def online_folder(run: RunFolder) -> RunFolder:
    """Where a run goes on in its environment unless told otherwise."""
    return RunFolder(run.path / "online")


def check_next_phase(run: RunFolder, config: TrainConfig, agent: Agent) -> None:
    """Refuse ``online_steps=`` of a run that could not go online after its updates, by a ConfigError."""
    if config.online_steps is not None:
        settings_of_both(_beginning(run, config), config, config.gradient_steps)
        require_no_memory(agent)


def next_phase(run: RunFolder, config: TrainConfig) -> FinetuneConfig:
    """The settings with which a run goes on in its environment, or has gone on."""
    beginning, online = _beginning(run, config), online_folder(run)
    if not online.holds_run:
        return beginning
    _refuse_other_settings(run, config)
    return dataclasses.replace(beginning, checkpoint=None, resume=str(online.path))


def has_switched(run: RunFolder, config: TrainConfig) -> bool:
    """Whether a run has made all updates before; a ConfigError if it is to make another number of these."""
    online = online_folder(run)
    if config.online_steps is None or not online.holds_run:
        return False
    made, wanted = load(online.path / OFFLINE).num_updates, config.gradient_steps
    require(wanted == made, "gradient_steps", f"stay {made}, after which it went online", wanted)
    return True


def has_ended_online(run: RunFolder, config: TrainConfig) -> bool:
    """Whether a run has made all steps in its environment and the evaluation after them, if it has to make any."""
    if config.online_steps is None:
        return True
    try:
        last = load(online_folder(run).checkpoints.last)
        _refuse_other_settings(run, config)
    except (CheckpointError, ConfigError):
        return False
    note = last.extra["online"]
    is_evaluated = note["evaluated_at"] == last.num_updates  # not where the environment failed in it
    return is_evaluated and (note["stopped"] or note["env_step"] == config.online_steps)


def _beginning(run: RunFolder, config: TrainConfig) -> FinetuneConfig:
    shared = {name: getattr(config, name) for name in (*ALIKE, "eval_env", "online_steps")}
    return FinetuneConfig(checkpoint=str(run.path), **shared)


def _refuse_other_settings(run: RunFolder, config: TrainConfig) -> None:
    """Refuse what another command has begun in that place in another way, by a ConfigError."""
    online = online_folder(run)
    there, _ = read_both(online)
    here, _ = settings_of_both(_beginning(run, config), config, config.gradient_steps)
    names = [each.name for each in dataclasses.fields(FinetuneConfig) if each.name not in FREE]
    pairs = {name: (getattr(there, name), getattr(here, name)) for name in names}
    if others := [f"{name} is {value} there, {own} here" for name, (value, own) in pairs.items() if value != own]:
        way_out = f"offline-agents finetune {pasted('resume', online.path)} goes on with it"
        raise ConfigError(f"the run in {online.path} has other settings: {'; '.join(others)}; {way_out}")
