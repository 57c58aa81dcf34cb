"""Train an offline RL agent on a Minari dataset, evaluate it, and log what happened.

For example:

    offline-agents train                                     IQL on the built-in pen dataset
    offline-agents train dataset=D4RL/pen/human-v2 algorithm=iql_corl algorithm.expectile=0.9 gradient_steps=1000000
    offline-agents train seeds=[0,1,2,3]                     a process per core; on a GPU all of them in one
    offline-agents train resume=runs/iql/demo/pen/mixed-v1/seed0
"""

from __future__ import annotations

from recipes.settings import command_line  # first: recipes says how torch's threads wait, before torch is loaded

if __name__ == "__main__":
    command_line.answer("train")  # help, and mistakes in settings, before all else is imported

import contextlib
import sys

import torch
from omegaconf import DictConfig
from tqdm import tqdm

import agents
from agents import metrics
from recipes.many import seeds
from recipes.runs import console, estimation, validation
from recipes.runs.both_phases import check_next_phase, has_switched
from recipes.runs.folder import RunFolder
from recipes.runs.lifecycle import begin, open_run
from recipes.runs.process import Stopwatch, progress_bar, resolve_device
from recipes.runs.rewards import learner_rewards
from recipes.runs.speed import speed_up, updates
from recipes.runs.training import Training, evaluation_env, load_data
from recipes.runs.writer import RunWriter
from recipes.settings.interrupt import Interrupt
from recipes.settings.schema import TrainConfig


def train(cfg: DictConfig) -> None:
    """The run of these settings; of ``seeds=[...]``, a run each."""
    device, cfgs = resolve_device(cfg.device), seeds.one_by_one(cfg)
    if seeds.in_processes(cfg, device):
        seeds.train_in_processes(cfgs)
        return
    runs = seeds.train_stacked(cfgs, device) if len(cfgs) > 1 else [train_one(cfgs[0], device)]
    for folder, config in runs:
        if config.online_steps is not None:
            from recipes.finetune import go_on  # with all that evaluations are drawn by: others need not wait for it

            go_on(folder, config)


def train_one(cfg: DictConfig, device: torch.device) -> tuple[RunFolder, TrainConfig]:
    """The updates from data; the run's folder and settings."""
    folder, config, resuming = open_run(cfg)
    if resuming and has_switched(folder, config):
        return folder, config
    whole = load_data(config, device)
    dataset, held_out = validation.split_data(config, whole)
    rewards = learner_rewards(config, dataset)
    env = evaluation_env(config, whole)
    torch.manual_seed(config.seed)
    agent = config.algorithm.build(dataset.specs, device=device)
    buffer = dataset.replay_buffer(config.batch_size, seed=config.seed, rewards=rewards, **agent.sampling)
    random = None if env is None else agents.evaluate(agents.random_policy(env), env, config.num_eval_episodes)
    example = dataset.replay_buffer(config.batch_size, rewards=rewards, **agent.sampling).sample()
    agent.check(example)
    check_next_phase(folder, config, agent)
    estimates = estimation.begin(config, agent, estimation.read(config, dataset if held_out is None else held_out))
    speed = speed_up(agent, example, config, before=folder.info if resuming else {})

    held_out_steps = validation.draw(config, held_out, agent.sampling, rewards)
    scale = rewards.scale if rewards else 1.0
    run = Training(folder, config, dataset, env, agent, buffer, scale, held_out=held_out_steps, estimation=estimates)
    with contextlib.nullcontext() if resuming else begin(folder, cfg, config, dataset, speed):
        writer = RunWriter(run, resuming=resuming, random=random, speed=speed)
    learn(run, writer)
    return folder, config


def learn(run: Training, writer: RunWriter) -> None:
    """The updates that are left, and what is due after them."""
    config, agent, clock = run.config, run.agent, Stopwatch()
    step = logged_step = agent.num_updates
    with writer, Interrupt() as interrupt, progress_bar(step, config.gradient_steps) as progress:
        writer.catch_up(clock)
        for step, losses in updates(agent, run.buffer.sample, config, clock, generators=[run.buffer._rng]):
            progress.update(step - progress.n)
            if step % config.log_every == 0:
                with clock("update"):  # where a GPU is waited for
                    row = writer.row(losses)
                with clock("evaluation"):
                    row |= writer.measurement.at_log_point(step)
                timing = {**metrics.timing(clock.read(), step - logged_step), **metrics.memory(agent.device)}
                with clock("logging"):
                    writer.log(step, {**row, **timing})
                logged_step = step

            finished = step == config.gradient_steps
            evaluating = run.evaluation_due(step) or run.estimate_due(step)
            if evaluating:
                result = writer.evaluate(step, clock)
                if result is not None:
                    progress.set_postfix_str(console.score(result))
                tqdm.write(f"step {step}: {writer.measurement.headline(step, result)}")

            stopping = interrupt.signal is not None  # read once: what comes later waits for the next update
            if evaluating or finished or stopping or step % (config.checkpoint_every or config.eval_every) == 0:
                with clock("checkpoint"):
                    writer.save(losses)
            if stopping:
                break
    if interrupt.signal:
        writer.stop(step, interrupt.exit_code)
        sys.exit(interrupt.exit_code)
    writer.finish()


def main() -> None:
    command_line.main("train", train)


if __name__ == "__main__":
    main()
