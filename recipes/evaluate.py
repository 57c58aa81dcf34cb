"""Evaluate a checkpoint or an exported policy: scores per episode, a plot, and a video if asked for.

For example:

    offline-agents evaluate checkpoint=runs/iql/demo/pen/mixed-v1/seed0 num_episodes=100 video=true
    offline-agents evaluate checkpoint=runs/iql/demo/pen/mixed-v1/seed0/checkpoints/best.safetensors
    offline-agents evaluate checkpoint=wandb:my-team/offline-agents/iql-demo-pen-mixed-v1-seed0-90f1cc4b:best
    offline-agents evaluate policy=runs/iql/demo/pen/mixed-v1/seed0/policy.onnx
"""

from __future__ import annotations

from recipes.settings import command_line  # first: recipes says how torch's threads wait, before torch is loaded

if __name__ == "__main__":
    command_line.answer("evaluate")  # help, and mistakes in settings, before all else is imported

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path

from gymnasium.envs.registration import EnvSpec
from omegaconf import DictConfig
from torchrl.record.loggers import Logger

import agents
from agents import metrics
from agents.checkpoint import Checkpoint, load
from agents.environments.spec import find_spec, read_spec, spec_from_file
from agents.evaluation.video import check_rendering
from agents.files import write_atomically
from recipes.reporting import terminal
from recipes.reporting.tables import to_csv
from recipes.runs import artifacts, console, figures, videos
from recipes.runs.folder import RunFolder
from recipes.runs.policy_file import PolicyFile
from recipes.runs.process import default_num_envs
from recipes.runs.versions import versions
from recipes.settings.checks import require_place
from recipes.settings.composition import build
from recipes.settings.deployment import ExportConfig
from recipes.settings.overrides import pasted
from recipes.settings.schema import EvaluateConfig
from recipes.tracking import loggers

DOWNLOADS = Path("runs/wandb")  # of checkpoints from W&B


def evaluate(cfg: DictConfig) -> None:
    config: EvaluateConfig = build(cfg, "evaluate")
    if config.policy:
        checkpoint = PolicyFile.read(config.policy, trust=config.trust_policy)
    else:
        checkpoint = read_checkpoint(str(config.checkpoint))
    output = Path(config.output or default_output(checkpoint.path))
    require_place("output", output)

    if isinstance(checkpoint, PolicyFile):
        agent, policy = None, checkpoint.policy
    else:
        agent = checkpoint.build_agent()
        policy = agent.policy
    with evaluation_env(config, checkpoint) as env:
        if config.video or config.eval_videos:
            check_rendering(env)
        result = agents.evaluate(policy, env, config.num_episodes, seed=config.seed)
        random = agents.evaluate(agents.random_policy(env), env, config.num_episodes, seed=config.seed)
        plot = {f"{checkpoint.extra['algorithm']} at step {checkpoint.num_updates}": result, "random policy": random}
        terminal.show(terminal.table(console.table(plot)))
        write_atomically(output / "episodes.csv", episodes_csv(result, config.seed).encode())
        figures.plot_episodes(output / "returns.png", plot, title=str(checkpoint.extra["dataset"]))
        print(f"scores: {output / 'episodes.csv'}\nplot:   {output / 'returns.png'}")
        films = {}
        try:
            if config.video:
                films["video"] = agents.record_video(policy, env, output / "episode.mp4", seed=config.seed)
            if agent and config.eval_videos:
                scale = checkpoint.extra.get("reward_scale", 1.0)
                films |= videos.make(
                    output,
                    agent,
                    env,
                    result.returns,
                    step=checkpoint.num_updates,
                    seed=config.seed,
                    reward_scale=scale,
                )
        finally:  # the scores of an evaluation are worth a run, with a film or without
            for path in films.values():
                print(f"video:  {path}")
            log(config, checkpoint, output, result, films)


def read_checkpoint(name: str) -> Checkpoint:
    """The checkpoint in a file or artifact, or the last one of a run's folder; only such as recipes/train.py writes."""
    path = artifacts.fetch(name, DOWNLOADS) if name.startswith(artifacts.PREFIX) else Path(name)
    checkpoints = RunFolder(path).checkpoints
    try:
        checkpoint = load(checkpoints.last if path.is_dir() else path)
    except agents.CheckpointError as error:
        if not (path.is_dir() and checkpoints.previous.exists()):
            raise
        raise agents.CheckpointError(
            f"{error}; the one before is {pasted('checkpoint', checkpoints.previous)}"
        ) from error
    if missing := {"algorithm", "dataset", "dataset_fingerprint", "eval_env", "reference"} - checkpoint.extra.keys():
        raise agents.CheckpointError(
            f"{checkpoint.path} was not written by recipes/train.py: it lacks {', '.join(sorted(missing))}; evaluate "
            "it from Python by agents.evaluate(agents.load_policy(path), env)"
        )
    for name in ("algorithm", "dataset", "dataset_fingerprint"):
        if not isinstance(value := checkpoint.extra[name], str):
            raise agents.CheckpointError(f"{checkpoint.path} is damaged: its {name} is {value!r}")
    reference = checkpoint.extra["reference"]
    if reference is not None and not (isinstance(reference, list) and [*map(type, reference)] == [float, float]):
        raise agents.CheckpointError(f"{checkpoint.path} has reference returns that are not two numbers: {reference!r}")
    scale = checkpoint.extra.get("reward_scale", 1.0)  # which files of before have not
    if not (isinstance(scale, float) and scale > 0.0):
        raise agents.CheckpointError(f"{checkpoint.path} has a scale of rewards that is none: {scale!r}")
    return checkpoint


def default_output(checkpoint: Path) -> Path:
    """In the folder of the run or of the download; below the current one for a file of the user's own."""
    folder = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    if RunFolder(folder).holds_run or folder.is_relative_to(DOWNLOADS):
        return folder / "evaluation"
    return Path("evaluation", checkpoint.stem)


def evaluation_env(config: EvaluateConfig | ExportConfig, checkpoint: Checkpoint | PolicyFile) -> agents.EvaluationEnv:
    """The environment that the settings name, else the one of training."""
    stored, reference = checkpoint.extra["eval_env"], checkpoint.extra["reference"]
    owner = f"the policy in {checkpoint.path}"
    if config.eval_env is not None:
        spec = find_spec(config.eval_env)
    elif stored is None:
        raise agents.ConfigError(f"{checkpoint.path} names no environment; name one by eval_env=ID")
    else:
        spec = spec_from_file(stored, str(checkpoint.path), trust=config.trust_env)
    trained = None if stored is None else trained_in(stored)
    limit = config.max_episode_steps or spec.max_episode_steps or (trained and trained.max_episode_steps)
    if stored is not None and (trained is None or (spec.id, limit) != (trained.id, trained.max_episode_steps)):
        reference = None  # its returns are on another scale
    spec = dataclasses.replace(spec, max_episode_steps=limit)
    reference = agents.Reference(*reference) if reference else None
    num_envs = config.num_envs or default_num_envs()
    specs, change = checkpoint.specs(), max_action_change(checkpoint)
    env = specs.environment(spec, num_envs=num_envs, reference=reference, owner=owner)
    if specs.limits is not None:  # under which it learned online
        low, high = specs.limits
        env.limit(low=low.numpy(), high=high.numpy(), max_change=change)
    return env


def max_action_change(checkpoint: Checkpoint | PolicyFile) -> float | None:
    """The largest change of an action, as a share of its range, under which the policy learned online."""
    return checkpoint.extra.get("online", {}).get("max_action_change")


def tell_of_change(checkpoint: Checkpoint, what: str) -> None:
    """A line where a policy learned under a largest change of its actions, which ``what`` it leaves by cannot keep."""
    if change := max_action_change(checkpoint):
        limit = f"max_action_change={change:g} held where the policy learned"
        print(f"note: {limit}, and {what} does not know it: let the controller see to it", file=sys.stderr)


def trained_in(stored: object) -> EnvSpec | None:
    """The environment in a checkpoint; None where that cannot be read."""
    try:
        return read_spec(stored)
    except ValueError:
        return None


def episodes_csv(result: agents.EvalResult, seed: int) -> str:
    """A row per episode: its seed and all that is known of it."""
    columns = {name: values.tolist() for name, values in metrics.episodes(result).items()}
    return to_csv([["seed", *columns], *([seed + i, *row] for i, row in enumerate(zip(*columns.values())))])


def log(
    config: EvaluateConfig,
    checkpoint: Checkpoint | PolicyFile,
    output: Path,
    result: agents.EvalResult,
    films: Mapping[str, Path],
) -> None:
    def log_results(logger: Logger | None) -> None:
        loggers.log_evaluation(logger, metrics.evaluation(result), result, checkpoint.num_updates)
        loggers.log_videos(logger, films, checkpoint.num_updates)

    algorithm, dataset = checkpoint.extra["algorithm"], checkpoint.extra["dataset"]
    hint = loggers.log_once(
        config,
        output,
        log_results,
        name=f"{algorithm}/{dataset}",
        job_type="eval",
        algorithm=checkpoint.settings,
        algorithm_name=algorithm,
        dataset=dataset,
        dataset_fingerprint=checkpoint.extra["dataset_fingerprint"],
        step=checkpoint.num_updates,
        versions=versions(),
    )
    if hint:
        print(f"W&B: offline; upload by: {hint}")


def main() -> None:
    command_line.main("evaluate", evaluate)


if __name__ == "__main__":
    main()
