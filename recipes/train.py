"""Train an offline RL agent on a Minari dataset, evaluate it, and log what happened.

For example:

    python recipes/train.py                                     IQL on the built-in pen dataset
    python recipes/train.py dataset=D4RL/pen/human-v2 algorithm=iql seed=0 gradient_steps=1000000
    python recipes/train.py algorithm=iql_corl algorithm.expectile=0.9 algorithm.actor.hidden_sizes=[512,512]
    python recipes/train.py -m dataset=demo/pen/mixed-v0,demo/hammer/mixed-v0 seed=0,1,2
    python recipes/train.py resume=runs/iql/demo/pen/mixed-v0/seed0
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

import agents
import config as settings
import loggers
import report
from agents import metrics
from agents.agent import check_finite
from run import (
    CsvLog,
    Interrupt,
    Saver,
    Stopwatch,
    begin,
    claim,
    default_num_envs,
    open_run,
    resolve_device,
    speed_up,
    versions,
)  # fmt: skip


def train(cfg: DictConfig) -> None:
    folder, config, resuming = open_run(cfg)
    device = resolve_device(config.device)
    dataset = agents.load_dataset(
        config.dataset, device=device, storage=config.storage, clip_actions=config.clip_actions
    )
    env = evaluation_env(config, dataset)
    random = env and agents.evaluate(agents.random_policy(env), env, config.num_eval_episodes)
    torch.manual_seed(config.seed)
    agent = config.algorithm.build(dataset.specs, device=device)
    buffer = dataset.replay_buffer(config.batch_size, seed=config.seed)

    speed = speed_up(agent, dataset, config, device=device, before=folder.info if resuming else {})

    with nullcontext() if resuming else begin(folder, cfg, config, dataset, speed):
        _lock = claim(folder)  # until this function ends
        algorithm = folder.info["algorithm"]
        saver = Saver(folder, config, dataset, env, agent, buffer)
        last_step = saver.restore() if resuming else 0
        metrics_log = CsvLog(folder.metrics_file, last_step=last_step)
        evaluations_log = CsvLog(folder.evaluations_file, last_step=last_step)
        logger = loggers.make_logger(
            config.logger,
            folder.path,
            name=f"{algorithm}/{dataset.id}/seed{config.seed}",
            run_id=folder.info["wandb_id"],
            job_type="train",
            settings={
                **describe(config),
                **speed,
                "algorithm_name": algorithm,
                "dataset_fingerprint": dataset.fingerprint,
            },
            wandb=config.wandb,
        )
    plot = report.ReturnsPlot(folder, algorithm, dataset, random)

    clock = Stopwatch("sample", "update", "logging", "evaluation", "checkpoint")
    result, logged_step = None, last_step
    interrupt = Interrupt()
    steps = range(last_step + 1, config.gradient_steps + 1)
    try:
        with interrupt, progress_bar(steps, config.gradient_steps) as progress:
            for step in steps:
                with clock("sample"):
                    batch = buffer.sample()
                with clock("update"):
                    losses = agent.update(batch)
                progress.update()

                if step % config.log_every == 0:
                    with clock("update"):  # where a GPU is waited for
                        check_finite(losses, step=step, batch=batch)
                        scalars = metrics.training(losses, agent.learning_rates)
                    scalars |= metrics.timing(clock.read(), step - logged_step)
                    with clock("logging"):
                        metrics_log.write(step, scalars)
                        loggers.log_scalars(logger, scalars, step)
                    logged_step = step

                finished = step == config.gradient_steps
                evaluated = env is not None and (step % config.eval_every == 0 or finished)
                if evaluated:
                    with clock("evaluation"):
                        result = agents.evaluate(agent.policy, env, config.num_eval_episodes)
                    with clock("logging"):
                        scalars = metrics.evaluation(result)
                        evaluations_log.write(step, scalars)
                        loggers.log_evaluation(logger, scalars, result, step)
                        plot.draw(at_most_every=60.0)
                    progress.set_postfix_str(report.score(result))
                    tqdm.write(f"step {step}: {report.headline(result)}")

                due = config.checkpoint_every or config.eval_every
                stopping = interrupt.signal is not None  # read once: what comes later waits for the next update
                if evaluated or finished or stopping or step % due == 0:
                    with clock("checkpoint"):
                        check_finite(losses, step=step, batch=batch)
                        saver.save(result.returns.mean().item() if evaluated else None)
                if stopping:
                    break
    except BaseException:
        loggers.close(logger, exit_code=1)
        raise
    plot.draw()
    if interrupt.signal:
        loggers.close(logger, exit_code=interrupt.exit_code)
        print(f"stopped after step {agent.num_updates}; go on with: python {sys.argv[0]} resume={folder.path}")
        sys.exit(interrupt.exit_code)

    if env is not None:
        result = result or agents.evaluate(agent.policy, env, config.num_eval_episodes)
        loggers.log_summary(logger, metrics.evaluation(result))
    print(report.table({algorithm: result, "random policy": random}, dataset))
    hint = loggers.sync_hint(logger)
    loggers.close(logger)
    report.print_paths(folder, hint)


def evaluation_env(config: settings.TrainConfig, dataset: agents.OfflineDataset) -> agents.EvaluationEnv | None:
    """Where the policy is evaluated; None, with a warning, when neither dataset nor settings name an environment."""
    if config.eval_env is None and dataset.env_spec is None:
        print(
            f"warning: {dataset.id} names no environment, so nothing is evaluated; name one by eval_env=ID",
            file=sys.stderr,
        )
        return None
    return dataset.make_env(config.num_eval_envs or default_num_envs(), env_id=config.eval_env)


def describe(config: settings.TrainConfig) -> dict[str, Any]:
    """The settings as plain values, and the versions that results depend on."""
    return {**OmegaConf.to_container(OmegaConf.structured(config), resolve=True), "versions": versions()}


def progress_bar(steps: range, total: int) -> tqdm:
    """Rate, time left and latest score; in a log file, where a bar cannot redraw itself, a line every half minute."""
    interval = 0.1 if sys.stderr.isatty() else 30.0
    return tqdm(total=total, initial=steps.start - 1, unit="update", dynamic_ncols=True, mininterval=interval)


def main() -> None:
    settings.main("train", train)


if __name__ == "__main__":
    main()
