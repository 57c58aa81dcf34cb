"""The runs of a comparison or a sweep: their settings and folders, which are finished, and on which data."""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf, open_dict

from agents.algorithms.registry import as_formerly, check_actions
from agents.checkpoint import load
from agents.data.opening import open_source
from agents.data.source import Source
from agents.data.split import check_split
from agents.data.store import is_here
from agents.errors import AgentsError, CheckpointError, ConfigError
from recipes.many.pool import Job
from recipes.runs.both_phases import has_ended_online
from recipes.runs.folder import RunFolder
from recipes.runs.metrics_log import read_csv
from recipes.runs.resume import FREE_ON_RESUME, read_settings
from recipes.runs.training import open_dataset
from recipes.settings import checks
from recipes.settings.composition import build, compose
from recipes.settings.many_runs import CompareConfig, ManyRunsConfig
from recipes.settings.overrides import quoted
from recipes.settings.schema import TrainConfig

# what a result does not depend on, or what only says which run it is and where
NOT_OF_THE_RESULT = (*FREE_ON_RESUME, "log_every", "run_dir", "overwrite", "seeds", "stack")


@dataclass(frozen=True)
class Run:
    """One run of a comparison or a sweep."""

    algorithm: str
    dataset: str
    seed: int
    job: Job
    config: TrainConfig

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.job.folder)


def plan(config: CompareConfig, overrides: Sequence[str]) -> list[Run]:
    """All runs, seed by seed: an interrupted comparison has whole rows."""
    overrides = on_cpu(overrides)
    pairs = itertools.product(config.algorithms, config.datasets)
    composed = {pair: compose_settings(*pair, overrides) for pair in pairs}
    return [
        make_run(cfg, *pair, seed, config=config, overrides=overrides)
        for seed in config.seeds
        for pair, cfg in composed.items()
    ]


def on_cpu(overrides: Sequence[str]) -> list[str]:
    """With a device, if they name none: one thread is enough for it, and processes on one GPU wait for each other."""
    named = any(override.startswith("device=") for override in overrides)
    return [*overrides] if named else ["device=cpu", *overrides]


def make_run(
    cfg: DictConfig,
    algorithm: str,
    dataset: str,
    seed: int,
    *,
    config: ManyRunsConfig,
    overrides: Sequence[str],
    name: str | None = None,
    alone: bool = True,
) -> Run:
    """A run of these settings, as :func:`compose_settings` gives them for the overrides; the board shows its name.

    ``alone``: no other run of the same plan has this algorithm, dataset and seed.
    """
    cfg.seed = seed
    own = [f"algorithm={algorithm}", f"dataset={quoted(dataset)}", f"seed={seed}", f"logger={config.logger}"]
    if cfg.online_steps is not None and getattr(OmegaConf.get_type(cfg, "algorithm"), "online", None) is None:
        cfg.online_steps = None  # what only clones is compared as it is
        own.append("online_steps=null")
    folder = place(Path(config.runs) / algorithm / dataset, seed, fingerprint(cfg), alone=alone)
    job = Job(name or f"{algorithm}/{dataset}/seed{seed}", folder, (*overrides, *own), cfg.gradient_steps)
    return Run(algorithm, dataset, seed, job, build(cfg, "train"))


def compose_settings(algorithm: str, dataset: str, overrides: Sequence[str]) -> DictConfig:
    """The settings of a run as ``recipes/train.py`` has them, checked: a ConfigError if one is wrong."""
    cfg = compose("train", [*overrides, f"algorithm={algorithm}", f"dataset={quoted(dataset)}"])
    with open_dict(cfg):
        del cfg["hydra"]
    cfg.run_dir = cfg.wandb.group = ""  # those would be of this recipe
    build(cfg, "train")
    return cfg


def fingerprint(cfg: DictConfig) -> str:
    """The same for two runs that give the same result on the same data."""
    settings = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    values = {name: value for name, value in settings.items() if name not in NOT_OF_THE_RESULT}
    for name in ("validation", "estimate_every"):  # settings that version 0.1 had not
        if not values[name]:
            del values[name]
    algorithm = cast(type, OmegaConf.get_type(cfg, "algorithm"))
    kind, values["algorithm"] = as_formerly(algorithm.__name__, values["algorithm"])
    return hashlib.sha256(json.dumps([kind, values], sort_keys=True).encode()).hexdigest()


def place(parent: Path, seed: int, wanted: str, *, alone: bool = True) -> Path:
    """The run's folder: the one of ``recipes/train.py``, unless a run with another fingerprint than wanted is there.

    ``alone``: while it is free, it may be taken.
    """
    usual = parent / f"seed{seed}"
    if alone and (not usual.exists() or not any(usual.iterdir())):
        return usual
    other = parent / f"seed{seed}-{wanted[:8]}"
    if not RunFolder(usual).holds_run:
        return other
    try:
        return usual if fingerprint(read_settings(RunFolder(usual))) == wanted else other
    except ConfigError as error:
        print(f"warning: {error}; the run of these settings is {other}", file=sys.stderr)
        return other


def is_finished(run: Run) -> bool:
    """Whether the last evaluation, if something evaluates it, and the last checkpoint are those after all steps."""
    return _has_all_updates(run) and has_ended_online(run.folder, run.config)


def _has_all_updates(run: Run) -> bool:
    folder, last_step = run.folder, run.job.gradient_steps
    last = [int(row["step"]) for row in read_csv(folder.evaluations_file)[-1:]]
    is_silent = not last and folder.holds_run and not folder.info.get("random")  # it has no environment
    if last != [last_step] and not is_silent:
        return False
    if not folder.has_checkpoint:
        return folder.had_checkpoint
    try:
        return load(folder.checkpoints.last).num_updates == last_step
    except CheckpointError:
        return False


def prepare(missing: Sequence[Run], config: ManyRunsConfig) -> dict[str, Source]:
    """Refuse folders and, where the runs are made here, data that do not fit, before any of the runs begins."""
    for folder in {run.folder.path.parent: None for run in missing}:
        checks.require_place("runs", folder)
    return open_data((run.config, run.algorithm) for run in missing) if config.executor == "local" else {}


def open_data(runs: Iterable[tuple[TrainConfig, str]]) -> dict[str, Source]:
    """The source of each dataset, before any run begins; what is not there yet is made or downloaded, once.

    An unknown or damaged dataset, or one whose actions do not fit the algorithm, is refused.

    Args:
        runs: the settings of each, and the word that chose its algorithm.
    """
    sources: dict[str, Source] = {}
    for config, algorithm in runs:
        if config.dataset not in sources:
            parts = config.observations
            sources[config.dataset] = open_source(
                config.dataset, include=parts.include, exclude=parts.exclude, progress=True
            )
        check_actions(config.algorithm, sources[config.dataset], algorithm)
        if config.validation:
            check_split(config.dataset, sources[config.dataset].num_episodes, config.validation)
    return sources


def changed_data(finished: Iterable[Run]) -> list[str]:
    """A line for each dataset that is not, today and on this machine, what finished runs were trained on."""
    trained_on = defaultdict[str, set[str]](set)
    configs: dict[str, TrainConfig] = {}
    for run in finished:
        config = replace(run.config, dataset=run.dataset)
        data = repr((config.dataset, config.observations, config.clip_actions, config.action_bounds))
        configs[data] = config
        trained_on[data].add(run.folder.info.get("dataset_fingerprint", "unknown"))
    lines = []
    for data, fingerprints in trained_on.items():
        dataset = configs[data].dataset
        try:
            here = is_here(dataset) and open_dataset(configs[data], torch.device("cpu"), storage="memmap")
        except (AgentsError, OSError):
            continue  # damaged since: the runs are what they are
        if here and fingerprints != {here.fingerprint}:
            way_out = "for runs on these, name another folder by runs=..."
            lines.append(f"{dataset} has other data here and now than finished runs were trained on: {way_out}")
    return lines
