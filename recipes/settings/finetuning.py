"""The settings of ``recipes/finetune.py``: how a trained policy goes on learning where it acts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from agents.algorithms.registry import ALGORITHMS
from agents.errors import require, require_choice
from agents.training.settings import MODES
from recipes.settings.checks import require_counts, require_seed
from recipes.settings.wandb_settings import WandbConfig

POOLED = "pooled"


@dataclass
class FinetuneConfig:
    """Settings of ``recipes/finetune.py``; what is null is as in the run of the checkpoint, or as the method's authors
    have it.
    """

    checkpoint: str | None = MISSING  # run's folder (its last one), or a .safetensors file in it
    online_steps: int = 20_000  # steps in the environment, of all its instances together, >= 1
    method: str | None = None  # another algorithm to go on with, which takes over the networks; null: the checkpoint's
    from_scratch: bool = False  # take the checkpoint's settings and data, and nothing of what it has learned
    seed: int | None = None  # of episodes, exploration and batches, >= 0
    # What is collected
    num_envs: int = 1  # instances of the environment that act at the same time, >= 1
    num_random_steps: int | None = None  # uniformly random steps at the start, without updates, >= 0
    num_warm_up_steps: int | None = None  # steps of the policy as it is, without updates, >= 0
    noise: float | None = None  # standard deviation around the policy's action, in half ranges, >= 0
    random_share: float | None = None  # of actions that are indices, the uniformly random ones, in [0, 1]
    # What is learned from it
    updates_per_step: float | None = None  # gradient steps for each step in the environment, > 0
    offline_share: Any = None  # of each batch, from the data, in [0, 1]; pooled: as if all steps were in one buffer
    final_offline_share: float | None = None  # the same at the end, reached in a straight line; null: the same
    batch_size: int | None = None  # transitions per update, >= 1
    keep_moments: bool | None = None  # keep the optimizer's moments, else begin them anew
    # Safety
    action_limits: Any = None  # [low,high], numbers or a list for each: bounds narrower than the environment's
    max_action_change: float | None = None  # from one step to the next, as a share of the range, in (0, 1]
    stop_below: float | None = None  # how far an evaluation's return may fall below the first: then that policy is back
    # Evaluation, log and checkpoints
    eval_every: int | None = None  # steps in the environment between evaluations, >= 1
    num_eval_episodes: int | None = None  # episodes per evaluation, >= 1
    num_eval_envs: int | None = None  # episodes simulated at once, >= 1, for speed alone; null: a core each, at most 4
    log_every: int | None = None  # updates between rows of metrics.csv, >= 1
    checkpoint_every: int | None = None  # steps in the environment between checkpoints; null: those at evaluations
    # Machine and environment
    device: str = "auto"  # cpu, cuda, cuda:<n>, or auto: cuda where there is one
    compile: str = "auto"  # of updates: off, trace, inductor, or auto
    eval_env: str | None = None  # Gymnasium id to act and to evaluate in
    max_episode_steps: int | None = None  # of its episodes, >= 1
    trust_env: bool = False  # call whatever the data name as environment, code that is not registered included
    # Folder and dashboard
    logger: str = "wandb"  # wandb, csv, tensorboard or none
    run_dir: str | None = None  # null: online in the folder of the checkpoint's run
    resume: str | None = None  # folder of such a run to go on with, bit for bit; its own settings are used
    overwrite: bool = False  # delete the run that is in run_dir already
    wandb: WandbConfig = field(default_factory=lambda: WandbConfig(group="finetuning"))

    def __post_init__(self) -> None:
        given = self.resume is not None or self.checkpoint not in (None, "")
        require(given, "checkpoint", "name a run's folder or a file in one", self.checkpoint)
        require_counts(self, "online_steps", "num_envs", "batch_size", "eval_every", "num_eval_episodes")
        require_counts(self, "num_eval_envs", "log_every", "checkpoint_every", "max_episode_steps")
        if self.method is not None:
            require_choice("method", self.method, ALGORITHMS)
        for name in ("num_random_steps", "num_warm_up_steps", "noise"):
            value = getattr(self, name)
            require(value is None or 0 <= value < math.inf, name, "be at least 0", value)
        for name in ("random_share", "final_offline_share"):
            require_share(name, getattr(self, name))
        if self.offline_share != POOLED:
            numbers = self.offline_share is None or isinstance(self.offline_share, (int, float))
            require(numbers, "offline_share", "be a share in [0, 1] or pooled", self.offline_share)
            require_share("offline_share", self.offline_share)
        ratio = self.updates_per_step
        require(ratio is None or 0.0 < ratio < math.inf, "updates_per_step", "be positive", ratio)
        change = self.max_action_change
        require(change is None or 0.0 < change <= 1.0, "max_action_change", "lie in (0, 1]", change)
        margin = self.stop_below
        require(margin is None or 0.0 <= margin < math.inf, "stop_below", "be at least 0, and finite", margin)
        fresh = self.from_scratch and self.stop_below is not None
        require(
            not fresh, "stop_below", "be left out with from_scratch, which has no policy to go back to", self.stop_below
        )
        limits = self.action_limits
        pair = isinstance(limits, Sequence) and not isinstance(limits, str) and len(limits) == 2
        require(limits is None or pair, "action_limits", "be [low,high]", limits)
        if self.seed is not None:
            require_seed("seed", self.seed)
        require_choice("compile", self.compile, MODES)
        require_choice("logger", self.logger, ("wandb", "csv", "tensorboard", "none"))


def require_share(name: str, value: float | None) -> None:
    """Refuse what is no part of a whole."""
    require(value is None or 0.0 <= value <= 1.0, name, "lie in [0, 1]", value)


def num_updates(config: FinetuneConfig, env_step: int) -> int:
    """Updates that are due after so many steps in the environment, of settings with nothing left open."""
    assert config.updates_per_step is not None
    idle = (config.num_random_steps or 0) + (config.num_warm_up_steps or 0)
    return max(0, math.floor((min(env_step, config.online_steps) - idle) * config.updates_per_step))
