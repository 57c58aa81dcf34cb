"""Evaluate a checkpoint: scores per episode, a plot, and a video if asked for.

For example:

    python recipes/evaluate.py checkpoint=runs/iql/demo/pen/mixed-v0/seed0 num_episodes=100 video=true
    python recipes/evaluate.py checkpoint=runs/iql/demo/pen/mixed-v0/seed0/checkpoints/best.safetensors
"""

from __future__ import annotations

import csv
import dataclasses
import io
import uuid
from pathlib import Path

from gymnasium.envs.registration import EnvSpec
from omegaconf import DictConfig

import agents
import config as settings
import loggers
import report
from agents import metrics
from agents.checkpoint import Checkpoint, load, write_atomically
from run import RunFolder, default_num_envs


def evaluate(cfg: DictConfig) -> None:
    config = settings.build(cfg, "evaluate")
    path = Path(config.checkpoint)
    checkpoint = load(RunFolder(path).checkpoints.last if path.is_dir() else path)
    output = Path(config.output) if config.output else checkpoint.path.parent.parent / "evaluation"
    name = f"{checkpoint.extra['algorithm']} at step {checkpoint.num_updates}"

    policy = checkpoint.build_agent().policy
    with evaluation_env(config, checkpoint) as env:
        result = agents.evaluate(policy, env, config.num_episodes, seed=config.seed)
        random = agents.evaluate(agents.random_policy(env), env, config.num_episodes, seed=config.seed)
        files = {"scores": output / "episodes.csv", "plot": output / "returns.png"}
        write_atomically(files["scores"], episodes_csv(result, config.seed).encode())
        report.plot_episodes(files["plot"], {name: result, "random policy": random}, title=checkpoint.extra["dataset"])
        if config.video:
            files["video"] = agents.record_video(policy, env, output / "episode.mp4", seed=config.seed)

    print(report.table({name: result, "random policy": random}))
    for label, file in files.items():
        print(f"{label + ':':8}{file}")
    log(config, checkpoint, output, result, files.get("video"))


def evaluation_env(config: settings.EvaluateConfig, checkpoint: Checkpoint) -> agents.EvaluationEnv:
    """The environment that the settings name, else the one of training."""
    stored, reference = checkpoint.extra["eval_env"], checkpoint.extra["reference"]
    if config.eval_env is None and stored is None:
        raise agents.ConfigError(f"{checkpoint.path} names no environment; name one by eval_env=ID")
    return agents.EvaluationEnv(
        config.eval_env or EnvSpec.from_json(stored),
        num_envs=config.num_envs or default_num_envs(),
        reference=reference and agents.Reference(*reference),
    )


def episodes_csv(result: agents.EvalResult, seed: int) -> str:
    """A row per episode: its seed and all that is known of it."""
    columns = metrics.episodes(result)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["seed", *columns])
    writer.writerows([seed + i, *(values[i].item() for values in columns.values())] for i in range(len(result.returns)))
    return text.getvalue()


def log(
    config: settings.EvaluateConfig, checkpoint: Checkpoint, output: Path, result: agents.EvalResult, video: Path | None
) -> None:
    """The evaluation as a run of its own in W&B, where the settings ask for it."""
    logger = loggers.make_logger(
        config.logger,
        output,
        name=f"{checkpoint.extra['algorithm']}/{checkpoint.extra['dataset']}",
        run_id=uuid.uuid4().hex[:8],
        job_type="eval",
        settings={**dataclasses.asdict(config), **checkpoint.metadata["algorithm"], **checkpoint.extra},
        wandb=config.wandb,
    )
    loggers.log_evaluation(logger, metrics.evaluation(result), result, checkpoint.num_updates)
    loggers.log_video(logger, video, checkpoint.num_updates)
    hint = loggers.sync_hint(logger)
    loggers.close(logger)
    if hint:
        print(f"W&B: offline; upload by: {hint}")


def main() -> None:
    settings.main("evaluate", evaluate)


if __name__ == "__main__":
    main()
