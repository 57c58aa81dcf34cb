"""``seeds=[0,1,2]``: several runs of the same settings, each as if alone, in a process each or stacked in one."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from tensordict import TensorDict, TensorDictBase
from tqdm import tqdm

import agents
from agents import metrics
from agents.errors import ConfigError
from agents.training.generators import random_generator
from agents.training.stack import AgentStack
from recipes.many.plan import open_data
from recipes.many.pool import Job, run_jobs
from recipes.runs import console, estimation, validation
from recipes.runs.both_phases import check_next_phase
from recipes.runs.folder import RunFolder
from recipes.runs.lifecycle import begin, open_run
from recipes.runs.process import Stopwatch, progress_bar
from recipes.runs.rewards import learner_rewards
from recipes.runs.speed import speed_up, updates
from recipes.runs.training import Training, evaluation_env, load_data
from recipes.runs.writer import RunWriter
from recipes.settings.command_line import invocation, user_script
from recipes.settings.composition import algorithm_choice
from recipes.settings.interrupt import Interrupt
from recipes.settings.overrides import pasted
from recipes.settings.schema import TrainConfig

OWN = ("seed", "seeds", "stack", "run_dir", "overwrite")  # settings that each run has in its own way


def in_processes(cfg: DictConfig, device: torch.device) -> bool:
    """Whether the seeds run in a process each, rather than stacked in this one."""
    in_one = device.type == "cuda" if cfg.stack is None else cfg.stack
    return cfg.seeds is not None and not in_one


def one_by_one(cfg: DictConfig) -> list[DictConfig]:
    """The settings of each seed's run; a ConfigError if they share a folder, or an old one should be resumed."""
    if cfg.seeds is None:
        return [cfg]
    if cfg.resume is not None:
        raise ConfigError("resume=... goes on with one run; leave out seeds")
    own = ({"seed": seed, "seeds": None, "stack": None} for seed in cfg.seeds)
    cfgs = [cast(DictConfig, OmegaConf.merge(cfg, values)) for values in own]
    if len({each.run_dir for each in cfgs}) < len(cfgs):
        way_out = "name different seeds, and put the seed into run_dir, as in 'run_dir=runs/mine/seed${seed}'"
        raise ConfigError(f"seeds={list(cfg.seeds)} need a run_dir each: {way_out}")
    return cfgs


def train_in_processes(cfgs: Sequence[DictConfig]) -> None:
    """A run per seed in a single-threaded process of its own, one per core at a time."""
    # refuses, before anything is begun, what any of them would refuse
    open_data([(open_run(cfg)[1], algorithm_choice()) for cfg in cfgs])
    typed = [override.removeprefix("++") for override in HydraConfig.get().overrides.task]  # see overrides.forced
    handed_on = [override for override in typed if re.split("[.=]", override)[0] not in OWN]
    jobs = [
        Job(
            name=f"seed {cfg.seed}",
            folder=Path(cfg.run_dir),
            overrides=(*handed_on, f"seed={cfg.seed}"),
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
            print(f"  go on with: {invocation()} {pasted('resume', job.folder)}")
    if outcomes.exit_code:
        sys.exit(outcomes.exit_code)


def train_stacked(cfgs: Sequence[DictConfig], device: torch.device) -> list[tuple[RunFolder, TrainConfig]]:
    """New runs whose settings differ in the seed alone; each leaves what it would have left alone.

    Returns:
        Folder and settings of each.
    """
    folders, configs, _ = zip(*map(open_run, cfgs))
    config = configs[0]
    whole = load_data(config, device)
    dataset, held_out = validation.split_data(config, whole)
    rewards = learner_rewards(config, dataset)
    env = evaluation_env(config, whole)
    steps = estimation.read(config, dataset if held_out is None else held_out)
    runs, generators = [], []
    for folder, own in zip(folders, configs):
        torch.manual_seed(own.seed)
        agent = own.algorithm.build(dataset.specs, device=device)
        generators.append(random_generator(device))  # which the run would go on with alone
        buffer = dataset.replay_buffer(own.batch_size, seed=own.seed, rewards=rewards, **agent.sampling)
        scale = rewards.scale if rewards else 1.0
        held_out_steps = validation.draw(own, held_out, agent.sampling, rewards)
        estimates = estimation.begin(own, agent, steps)
        parts = (folder, own, dataset, env, agent, buffer, scale, generators[-1], held_out_steps, estimates)
        runs.append(Training(*parts))
    stack = AgentStack([run.agent for run in runs], generators)
    random = None if env is None else agents.evaluate(agents.random_policy(env), env, config.num_eval_episodes)
    example = dataset.replay_buffer(config.batch_size, rewards=rewards, **runs[0].agent.sampling).sample()
    runs[0].agent.check(example)
    check_next_phase(folders[0], config, runs[0].agent)
    speed: dict[str, Any] = speed_up(stack, stacked([example] * len(runs)), config, before={})
    speed |= {"stacked": len(runs)}

    writers = []
    with ExitStack() as starting:
        for cfg, run in zip(cfgs, runs):
            starting.enter_context(begin(run.folder, cfg, run.config, dataset, speed))
            writers.append(RunWriter(run, resuming=False, random=random, speed=speed))
    learn(stack, runs, writers)
    return [*zip(folders, configs)]


def learn(stack: AgentStack, runs: Sequence[Training], writers: Sequence[RunWriter]) -> None:
    """All updates, and what is due after them for each of the runs."""
    config, clock, each = runs[0].config, Stopwatch(), list(zip(runs, writers))
    generators = [*stack.generators, *(run.buffer._rng for run in runs)]
    step = logged_step = 0
    with ExitStack() as closing, Interrupt() as interrupt, progress_bar(step, config.gradient_steps) as progress:
        for writer in writers:
            closing.enter_context(writer)
        sample = lambda: stacked([run.buffer.sample() for run in runs])  # noqa: E731
        for step, losses in updates(stack, sample, config, clock, generators=generators):
            progress.update(step - progress.n)
            if step % config.log_every == 0:
                with clock("update"):  # where a GPU is waited for
                    rows = [writer.row(own) for writer, own in zip(writers, split(losses, len(runs)))]
                with clock("evaluation"):
                    rows = [row | writer.measurement.at_log_point(step) for writer, row in zip(writers, rows)]
                timing = {**metrics.timing(clock.read(), step - logged_step), **metrics.memory(stack.device)}
                with clock("logging"):
                    for writer, row in zip(writers, rows):
                        writer.log(step, {**row, **timing})
                logged_step = step

            finished = step == config.gradient_steps
            evaluating = runs[0].evaluation_due(step) or runs[0].estimate_due(step)
            for run, writer in each if evaluating else ():
                result = writer.evaluate(step, clock)
                if result is not None:
                    progress.set_postfix_str(console.score(result))
                tqdm.write(f"seed {run.config.seed}, step {step}: {writer.measurement.headline(step, result)}")

            stopping = interrupt.signal is not None  # read once: what comes later waits for the next update
            if evaluating or finished or stopping or step % (config.checkpoint_every or config.eval_every) == 0:
                with clock("checkpoint"):
                    for writer, own in zip(writers, split(losses, len(runs))):
                        writer.save(own)
            if stopping:
                break
    for writer in writers:
        writer.stop(step, interrupt.exit_code) if interrupt.signal else writer.finish()
    if interrupt.signal:
        sys.exit(interrupt.exit_code)


def stacked(batches: Sequence[TensorDictBase]) -> TensorDictBase:
    return cast(TensorDictBase, TensorDict.stack(batches))  # S batches [B] -> [S, B]


def split(losses: TensorDictBase, number: int) -> Sequence[TensorDictBase]:
    """The losses of an update, ``[S]``, for each of the agents."""
    return TensorDict(dict(losses.items()), [number]).unbind(0)
