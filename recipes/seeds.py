"""``seeds=[0,1,2]``: several runs of the same settings, each as if alone."""

from __future__ import annotations

import torch
from omegaconf import DictConfig

from agents.errors import ConfigError


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
