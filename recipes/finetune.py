"""Go on learning where the policy acts: online, after offline.

For example:

    offline-agents finetune checkpoint=runs/iql/demo/pen/mixed-v1/seed0 online_steps=2000
    offline-agents finetune checkpoint=runs/iql/demo/pen/mixed-v1/seed0 offline_share=0.5 num_warm_up_steps=5000
    offline-agents finetune checkpoint=runs/rebrac/demo/pen/mixed-v1/seed0 num_envs=4 stop_below=200
    offline-agents finetune resume=runs/iql/demo/pen/mixed-v1/seed0/online

What is null is as in the checkpoint's run or, of what is collected and learned from it, as the method's authors have
it.
"""

from __future__ import annotations

from recipes.settings import command_line  # first: recipes says how torch's threads wait, before torch is loaded

if __name__ == "__main__":
    command_line.answer("finetune")  # help, and mistakes in settings, before all else is imported

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from typing import cast

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from tensordict import TensorDictBase
from tqdm import tqdm

import agents
from agents import metrics
from agents.algorithms.registry import check_actions
from agents.checkpoint import Checkpoint
from agents.errors import require
from agents.online.batches import MixedBatches, joined
from agents.online.experience import require_room
from agents.online.exploration import require_no_memory
from agents.training.transfer import take_over
from recipes.evaluate import max_action_change, read_checkpoint
from recipes.runs import console, validation
from recipes.runs.both_phases import next_phase, online_folder
from recipes.runs.folder import RunFolder
from recipes.runs.lifecycle import begin, claim, require_free, undo_overwrite
from recipes.runs.online import EXPERIENCE, Online
from recipes.runs.process import STAGES, Stopwatch, progress_bar, resolve_device
from recipes.runs.resume import lengthen, read_settings, refuse_module
from recipes.runs.rewards import learner_rewards
from recipes.runs.speed import speed_up
from recipes.runs.switch import (
    ALIKE,
    files_to_begin_with,
    note_length,
    resumed,
    run_of,
    settings_of_both,
    with_limits,
)
from recipes.runs.training import Training, acting_env, open_dataset
from recipes.runs.writer import RunWriter
from recipes.settings.composition import build
from recipes.settings.finetuning import FinetuneConfig
from recipes.settings.interrupt import Interrupt
from recipes.settings.schema import TrainConfig


def finetune(cfg: DictConfig) -> None:
    config: FinetuneConfig = build(cfg, "finetune")
    if config.resume is None:
        begin_online(config)
    else:
        folder = RunFolder(config.resume)
        undo_overwrite(folder)
        typed = {override.partition("=")[0].split(".")[0] for override in HydraConfig.get().overrides.task}
        go_online(*resumed(folder, config, typed), folder)


def go_on(run: RunFolder, offline: TrainConfig) -> None:
    """The second phase of a run of ``online_steps=``, begun or gone on with where it stopped."""
    claim(run)
    lengthen(run, offline)
    online, config = online_folder(run), next_phase(run, offline)
    undo_overwrite(online)
    if config.resume is None:
        begin_online(config, both=run)
    else:
        go_online(*resumed(online, config, {*ALIKE, "online_steps", "eval_env"}), online, both=run)


def begin_online(config: FinetuneConfig, *, both: RunFolder | None = None) -> None:
    """A run from the checkpoint that the settings name."""
    checkpoint = read_checkpoint(str(config.checkpoint))
    before = run_of(checkpoint)
    folder = RunFolder(config.run_dir) if config.run_dir else online_folder(before)
    elsewhere = not before.path.resolve().is_relative_to(folder.path.resolve())
    require(elsewhere, "run_dir", "be another folder than that of the run before", folder.path)
    require_free(folder, overwrite=config.overwrite)
    config = dataclasses.replace(config, run_dir=str(folder.path))
    config = with_limits(config, checkpoint.specs().limits, max_action_change(checkpoint))
    offline = cast(TrainConfig, OmegaConf.to_object(read_settings(before)))
    if config.eval_env is None:
        refuse_module(before, offline.eval_env)
    first_step = 0 if config.from_scratch else checkpoint.num_updates
    go_online(*settings_of_both(config, offline, first_step), checkpoint, folder, both=both)


def go_online(
    config: FinetuneConfig,
    settings: TrainConfig,
    checkpoint: Checkpoint,
    folder: RunFolder,
    *,
    both: RunFolder | None = None,
) -> None:
    """The run of these settings from a checkpoint on, or from where it stopped."""
    device, resuming = resolve_device(config.device), config.resume is not None
    whole = open_dataset(settings, device)
    check_actions(settings.algorithm, whole.specs, config.method)
    env = acting_env(config, settings, whole)
    dataset, _ = validation.split_data(settings, whole)
    rewards = learner_rewards(settings, dataset)
    random = agents.evaluate(agents.random_policy(env), env, settings.num_eval_episodes)
    torch.manual_seed(settings.seed)
    agent = settings.algorithm.build(dataset.specs, device=device)
    offline = checkpoint.build_agent(device=device)
    anew = [] if config.from_scratch else take_over(agent, offline, keep_moments=bool(config.keep_moments)).left
    if anew and not resuming:
        print(f"learned from the beginning: {', '.join(anew)}", file=sys.stderr)
    buffer = dataset.replay_buffer(None, seed=settings.seed, rewards=rewards, **agent.sampling)
    example = joined([dataset.replay_buffer(settings.batch_size, rewards=rewards, **agent.sampling).sample()])
    agent.check(example)
    require_no_memory(agent)
    require_room(folder.path / EXPERIENCE, dataset.layout, config.online_steps, name="online_steps")
    speed = speed_up(agent, example, settings, before=folder.info if resuming else {})

    online = Online(folder, config, example, first_step=agent.num_updates, seed=settings.seed)
    scale = rewards.scale if rewards else 1.0
    run = Training(folder, settings, dataset, env, agent, buffer, scale, online=online, both=both)
    beginning = contextlib.nullcontext()
    if not resuming:
        word, files = config.method or checkpoint.extra["algorithm"], files_to_begin_with(config, checkpoint)
        cfg = OmegaConf.structured(settings)
        beginning = begin(folder, cfg, settings, dataset, speed, algorithm=word, files=files)
    with beginning:
        writer = RunWriter(run, resuming=resuming, random=random, speed=speed)
    if resuming:
        note_length(folder, config)
    learn(run, online, writer, offline)


def learn(run: Training, online: Online, writer: RunWriter, offline: agents.Agent) -> None:
    """The steps in the environment that are left, the updates after each, and what is due then."""
    config, agent, clock = run.config, run.agent, Stopwatch(*STAGES, "collection")
    with (
        writer,
        Interrupt() as interrupt,
        progress_bar(online.env_step, online.config.online_steps, "step") as progress,
    ):
        collection, batches = online.start(run)
        with collection:
            # where a reset has failed, the updates of the step before are left to do
            losses = None if online.stopped else update(run, online, writer, batches, clock, None)
            result = writer.catch_up(clock)
            if result is not None and online.has_fallen(result):
                go_back(run, online, writer, offline)
                writer.save(losses)
            while not (online.finished or online.stopped):
                with clock("collection"), saving_on_failure(writer, losses):
                    collection.step()
                losses = update(run, online, writer, batches, clock, losses)
                progress.update(online.env_step - progress.n)

                evaluating = online.evaluation_due(agent.num_updates)
                if evaluating:
                    with saving_on_failure(writer, losses):
                        result = cast(agents.EvalResult, writer.evaluate(agent.num_updates, clock))
                    progress.set_postfix_str(console.score(result))
                    tqdm.write(f"environment step {online.env_step}: {console.headline(result)}")
                    if online.has_fallen(result):
                        go_back(run, online, writer, offline)
                stopping = interrupt.signal is not None  # read once: what comes later waits for the next step
                due = online.finished or online.crossed(config.checkpoint_every or config.eval_every)
                if evaluating or stopping or due:
                    with clock("checkpoint"):
                        writer.save(losses)
                if stopping:
                    break
    if interrupt.signal:
        writer.stop(agent.num_updates, interrupt.exit_code)
        sys.exit(interrupt.exit_code)
    writer.finish()


def update(
    run: Training,
    online: Online,
    writer: RunWriter,
    batches: MixedBatches,
    clock: Stopwatch,
    losses: TensorDictBase | None,
) -> TensorDictBase | None:
    """The updates that are due, and rows of metrics.csv; what the last of them returned, or one before."""
    agent, log_every = run.agent, run.config.log_every
    while agent.num_updates < online.updates_due and batches.can_draw:
        with clock("sample"):
            batch = batches.sample()
        with clock("update"):
            losses = agent.update(batch)
        if agent.num_updates % log_every == 0:
            timing = metrics.timing(clock.read(), agent.num_updates - online.logged_step)
            online.logged_step = agent.num_updates
            row = {**writer.row(losses), **online.measures(), **timing, **metrics.memory(agent.device)}
            with clock("logging"):
                writer.log(agent.num_updates, row)
    return losses


def go_back(run: Training, online: Online, writer: RunWriter, offline: agents.Agent) -> None:
    """Give the agent back what it had learned offline, and end the learning."""
    num_updates = run.agent.num_updates
    take_over(run.agent, offline, keep_moments=False)
    run.agent.rule.count(num_updates)
    online.stop()
    writer.measurement.forget()
    lost = f"fell more than stop_below={online.config.stop_below:g} below {online.first_return:.1f}"
    tqdm.write(f"stopped: the return {lost}; the run ends with the policy of the offline run", file=sys.stderr)


@contextlib.contextmanager
def saving_on_failure(writer: RunWriter, losses: TensorDictBase | None) -> Iterator[None]:
    """Around what environments do: if one of them fails, the run is saved and ends with exit code 1."""
    try:
        yield
    except agents.DataError as error:
        writer.save(losses)
        writer.tell_how_to_go_on(f"error: {error}")
        sys.exit(1)


def main() -> None:
    command_line.main("finetune", finetune)


if __name__ == "__main__":
    main()
