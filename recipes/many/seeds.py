"""``seeds=[0,1,2]``: several runs of the same settings, each as if alone."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from agents.errors import ConfigError
from recipes.many.plan import open_data
from recipes.many.pool import Job, run_jobs
from recipes.runs.lifecycle import open_run
from recipes.settings.command_line import invocation, user_script

OWN = ("seed", "seeds", "stack", "run_dir", "overwrite")  # settings that each run has in its own way


def in_processes(cfg: DictConfig, device: torch.device) -> bool:
    """Whether the seeds run in a process each, rather than stacked in this one."""
    stacked = device.type == "cuda" if cfg.stack is None else cfg.stack
    return cfg.seeds is not None and not stacked


def one_by_one(cfg: DictConfig) -> list[DictConfig]:
    """The settings of each seed's run.

    Raises:
        ConfigError: if the runs would share a folder, or an old one should be resumed.
    """
    if cfg.seeds is None:
        return [cfg]
    if cfg.resume is not None:
        raise ConfigError("resume=... goes on with one run; leave out seeds")
    each = []
    for seed in cfg.seeds:
        own = cfg.copy()
        own.seed, own.seeds, own.stack = seed, None, None
        each.append(own)
    if len({own.run_dir for own in each}) < len(each) or not each:
        raise ConfigError(
            f"seeds={list(cfg.seeds)} need a run_dir each: name different seeds, and put the seed into run_dir, as in "
            "'run_dir=runs/mine/seed${seed}'"
        )
    return each


def train(cfgs: Sequence[DictConfig]) -> None:
    """A run per seed in a single-threaded process of its own, one per core at a time.

    Raises:
        ConfigError: before anything is begun, what any of the runs alone would refuse.
    """
    open_data([open_run(cfg)[1] for cfg in cfgs])
    typed = [override for override in HydraConfig.get().overrides.task if re.split("[.=]", override)[0] not in OWN]
    jobs = [
        Job(
            name=f"seed {cfg.seed}",
            folder=Path(cfg.run_dir),
            overrides=(*typed, f"seed={cfg.seed}"),
            gradient_steps=cfg.gradient_steps,
            start_over=cfg.overwrite,
            script=user_script(),
        )
        for cfg in cfgs
    ]
    outcomes = run_jobs(jobs)
    for job in jobs:
        outcome = outcomes.jobs[job.name]
        print(f"{job.name}: {outcome.state}{': ' + outcome.reason if outcome.reason else ''}")
        if outcome.state == "stopped":
            print(f"  go on with: {invocation()} resume={job.folder}")
    if outcomes.exit_code:
        sys.exit(outcomes.exit_code)
