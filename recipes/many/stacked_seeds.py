"""``seeds=[0,1,2] stack=true``: several runs in one process, their agents trained as one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import cast

import torch
from omegaconf import DictConfig
from tensordict import TensorDict, TensorDictBase
from tqdm import tqdm

import agents
from agents import metrics
from agents.training.generators import random_generator
from agents.training.stack import AgentStack
from recipes.runs import console
from recipes.runs.lifecycle import begin, open_run
from recipes.runs.process import Interrupt, Stopwatch, progress_bar
from recipes.runs.speed import speed_up, updates
from recipes.runs.training import Training, evaluation_env, load_data
from recipes.runs.writer import RunWriter


def train(cfgs: Sequence[DictConfig], device: torch.device) -> None:
    """New runs whose settings differ in the seed alone; each leaves what it would have left alone."""
    folders, configs, _ = zip(*map(open_run, cfgs))
    config = configs[0]
    dataset = load_data(config, device)
    env = evaluation_env(config, dataset)
    runs, generators = [], []
    for folder, own in zip(folders, configs):
        torch.manual_seed(own.seed)
        agent = own.algorithm.build(dataset.specs, device=device)
        generators.append(random_generator(device))  # which the run would go on with alone
        buffer = dataset.replay_buffer(own.batch_size, seed=own.seed, **agent.sampling)
        runs.append(Training(folder, own, dataset, env, agent, buffer, generators[-1]))
    stack = AgentStack([run.agent for run in runs], generators)
    random = None if env is None else agents.evaluate(agents.random_policy(env), env, config.num_eval_episodes)
    example = dataset.replay_buffer(config.batch_size, **runs[0].agent.sampling).sample()
    speed = speed_up(stack, stacked([example] * len(runs)), config, before={})

    writers = []
    with ExitStack() as starting:
        for cfg, run in zip(cfgs, runs):
            starting.enter_context(begin(run.folder, cfg, run.config, dataset, speed))
            writers.append(RunWriter(run, resuming=False, random=random, speed=speed))
    learn(stack, runs, writers)


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
                timing = {**metrics.timing(clock.read(), step - logged_step), **metrics.memory(stack.device)}
                with clock("logging"):
                    for writer, row in zip(writers, rows):
                        writer.log(step, {**row, **timing})
                logged_step = step

            finished = step == config.gradient_steps
            evaluating = runs[0].env is not None and (step % config.eval_every == 0 or finished)
            for run, writer in each if evaluating else ():
                result = writer.evaluate(step, clock)
                progress.set_postfix_str(console.score(result))
                tqdm.write(f"seed {run.config.seed}, step {step}: {console.headline(result)}")

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
    """What an update returned, ``[S]``, for each of the agents."""
    return TensorDict(dict(losses.items()), [number]).unbind(0)
