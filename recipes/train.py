"""Train an offline RL agent on a Minari dataset, evaluate it, and log what happened.

For example:

    offline-agents train                                     IQL on the built-in pen dataset
    offline-agents train dataset=D4RL/pen/human-v2 algorithm=iql seed=0 gradient_steps=1000000
    offline-agents train algorithm=iql_corl algorithm.expectile=0.9 algorithm.actor.hidden_sizes=[512,512]
    offline-agents train seeds=[0,1,2,3]                     a process per core; on a GPU all of them in one
    offline-agents train -m dataset=demo/pen/mixed-v0,demo/hammer/mixed-v0 seed=0,1,2
    offline-agents train resume=runs/iql/demo/pen/mixed-v0/seed0
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from tensordict import TensorDict, TensorDictBase
from torch import Generator
from tqdm import tqdm

import agents
from agents import metrics
from agents.algorithms.registry import check_actions
from agents.errors import one_line
from agents.evaluation.video import check_rendering
from agents.training.agent import Agent
from agents.training.cuda_graphs import GraphedUpdates
from agents.training.generators import random_generator
from agents.training.stack import AgentStack
from recipes.many import seeds
from recipes.runs import console
from recipes.runs.lifecycle import begin, open_run
from recipes.runs.process import Interrupt, Stopwatch, default_num_envs, resolve_device
from recipes.runs.speed import speed_up
from recipes.runs.versions import versions
from recipes.runs.writer import Record
from recipes.settings import command_line, schema

UPDATES_AT_ONCE = {"cpu": 1, "cuda": 100}  # between two looks at Ctrl-C and the progress bar


def train(cfg: DictConfig) -> None:
    device = resolve_device(cfg.device)
    if seeds.in_processes(cfg, device):
        seeds.train_in_processes(cfg)
        return

    cfgs = seeds.one_by_one(cfg)
    folders, configs, resuming = zip(*map(open_run, cfgs))
    config, resuming = configs[0], resuming[0]
    dataset = agents.load_dataset(
        config.dataset, device=device, storage=config.storage, clip_actions=config.clip_actions
    )
    env = evaluation_env(config, dataset)
    if env is not None and config.eval_videos:
        check_rendering(env)
    parts, generators = zip(*(build(each, dataset, device) for each in configs))
    random = env and agents.evaluate(agents.random_policy(env), env, config.num_eval_episodes)
    sampling = parts[0].sampling
    buffers = [dataset.replay_buffer(each.batch_size, seed=each.seed, **sampling) for each in configs]
    agent, sample = parts[0], buffers[0].sample
    example = dataset.replay_buffer(config.batch_size, **sampling).sample()
    if len(parts) > 1:
        agent, sample = AgentStack(parts, generators), lambda: torch.stack([buffer.sample() for buffer in buffers])
        example = torch.stack([example] * len(parts))
    speed = speed_up(agent, example, config, before=folders[0].info if resuming else {})

    records = []
    with ExitStack() as starting:
        for each, folder, one, part, buffer, generator in zip(cfgs, folders, configs, parts, buffers, generators):
            if not resuming:
                starting.enter_context(begin(folder, each, one, dataset, speed))
            record = Record(folder, one, dataset, env, part, buffer, generator if len(parts) > 1 else None)
            record.open(resuming, random, {**describe(one), **speed})
            records.append(record)

    clock = Stopwatch("sample", "update", "logging", "evaluation", "checkpoint")
    advance = updates(agent, clock.timed("sample", sample), [*generators, *(buffer._rng for buffer in buffers)])
    step = logged_step = records[0].last_step
    interrupt, stopping = Interrupt(), False
    try:
        with interrupt, progress_bar(step, config.gradient_steps) as progress:
            while step < config.gradient_steps and not stopping:
                stretch = next_stop(step, config, UPDATES_AT_ONCE[device.type]) - step
                with clock("update"):
                    losses = advance(stretch)
                step += stretch
                progress.update(stretch)

                if step % config.log_every == 0:
                    with clock("update"):  # where a GPU is waited for
                        rows = [record.row(own) for record, own in zip(records, split(losses, len(records)))]
                    timing = {**metrics.timing(clock.read(), step - logged_step), **metrics.memory(device)}
                    with clock("logging"):
                        for record, row in zip(records, rows):
                            record.log(step, {**row, **timing})
                    logged_step = step

                finished = step == config.gradient_steps
                evaluated = env is not None and (step % config.eval_every == 0 or finished)
                for record, one in zip(records, configs) if evaluated else ():
                    with clock("evaluation"):
                        result = record.evaluate()
                    with clock("logging"):
                        record.log_evaluation(step)
                    progress.set_postfix_str(console.score(result))
                    label = f"seed {one.seed}, step {step}" if len(records) > 1 else f"step {step}"
                    tqdm.write(f"{label}: {console.headline(result)}")

                due = config.checkpoint_every or config.eval_every
                stopping = interrupt.signal is not None  # read once: what comes later waits for the next update
                if evaluated or finished or stopping or step % due == 0:
                    with clock("checkpoint"):
                        for record, own in zip(records, split(losses, len(records))):
                            record.save(own, evaluated=evaluated)
    except BaseException:
        for record in records:
            record.close(exit_code=1)
        raise
    if interrupt.signal:
        for record in records:
            record.close(exit_code=interrupt.exit_code)
        for folder in folders:
            print(f"stopped after step {step}; go on with: python {sys.argv[0]} resume={folder.path}")
        sys.exit(interrupt.exit_code)
    for record in records:
        record.finish()


def build(
    config: schema.TrainConfig, dataset: agents.OfflineDataset, device: torch.device
) -> tuple[agents.Agent, Generator]:
    """A new agent, and the random numbers that its training goes on with."""
    check_actions(config.algorithm, dataset.specs)
    torch.manual_seed(config.seed)
    return config.algorithm.build(dataset.specs, device=device), random_generator(device)


def updates(
    agent: Agent, sample: Callable[[], TensorDictBase], generators: Sequence[Generator]
) -> Callable[[int], TensorDictBase]:
    """What makes a number of updates and returns the losses of the last one: on a GPU most of them as CUDA graphs."""
    if agent.device.type == "cuda":
        return GraphedUpdates(agent, sample, generators=generators)

    def advance(num_updates: int) -> TensorDictBase:
        for _ in range(num_updates):
            losses = agent.update(sample())
        return losses

    return advance


def next_stop(step: int, config: schema.TrainConfig, at_most: int) -> int:
    """The next step after which something is to be done, or looked at."""
    periods = (config.log_every, config.eval_every, config.checkpoint_every or config.eval_every)
    return min(step + at_most, config.gradient_steps, *(step - step % period + period for period in periods))


def split(losses: TensorDictBase, number: int) -> list[TensorDictBase]:
    """What an update returned, for each of the agents."""
    if number == 1:
        return [losses]
    return [TensorDict({name: value[i] for name, value in losses.items()}) for i in range(number)]


def evaluation_env(config: schema.TrainConfig, dataset: agents.OfflineDataset) -> agents.EvaluationEnv | None:
    """Where the policy is evaluated; None, with a warning, when neither dataset nor settings name an environment."""
    if config.eval_env is None and dataset.env_spec is None:
        print(
            f"warning: {dataset.id} names no environment, so nothing is evaluated; name one by eval_env=ID",
            file=sys.stderr,
        )
        return None
    num_envs = config.num_eval_envs or default_num_envs()
    env = dataset.make_env(num_envs, env_id=config.eval_env, trust=config.trust_env)
    try:
        env.spec.to_json()
    except (TypeError, ValueError) as error:
        raise agents.ConfigError(
            f"checkpoints cannot hold how {env.spec.id!r} is made ({one_line(error)}); register it with text and "
            "numbers alone: entry_point='module:Class'"
        ) from error
    return env


def describe(config: schema.TrainConfig) -> dict[str, Any]:
    """The settings as plain values, and the versions that results depend on."""
    return {**OmegaConf.to_container(OmegaConf.structured(config), resolve=True), "versions": versions()}


def progress_bar(last_step: int, total: int) -> tqdm:
    """Rate, time left and latest score; in a log file, where a bar cannot redraw itself, a line every half minute."""
    interval = 0.1 if sys.stderr.isatty() else 30.0
    return tqdm(total=total, initial=last_step, unit="update", dynamic_ncols=True, mininterval=interval)


def main() -> None:
    command_line.main("train", train)


if __name__ == "__main__":
    main()
