"""A run's held-out episodes: which they are, when it looks at them, and what it logs of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tensordict import TensorDictBase

import agents
from agents import metrics
from agents.checkpoint import Checkpoint
from agents.data.rewards import LearnerRewards
from agents.evaluation.held_out import HeldOut, held_out_steps
from agents.training.sampling import Sampling
from recipes.settings.schema import TrainConfig

BATCHES = 4  # as many steps as so many batches have: enough to be steady, at most 2 % of a run's time
FEWEST = 256  # steps, where batches are small
SEED = 0  # of the split: every run on the data holds out the same episodes
EVERY = {"cpu": 500, "cuda": 2_500}  # updates between looks beside those at evaluations, by what updates take


def split_data(
    config: TrainConfig, dataset: agents.OfflineDataset
) -> tuple[agents.OfflineDataset, agents.OfflineDataset | None]:
    """What a run is trained on and, if anything is, what is held out."""
    return dataset.split(config.validation, SEED) if config.validation else (dataset, None)


def note_split(config: TrainConfig) -> dict[str, dict[str, float]]:
    """What ``run.json`` and checkpoints say of it: the arguments of :meth:`~agents.OfflineDataset.split`."""
    return {"validation": {"share": config.validation, "seed": SEED}} if config.validation else {}


def split_again(
    checkpoint: Checkpoint, dataset: agents.OfflineDataset
) -> tuple[agents.OfflineDataset, agents.OfflineDataset | None]:
    """The episodes that a checkpoint's policy was trained on and, if there were any, those held out from it.

    Raises:
        CheckpointError: it does not say which.
    """
    note = checkpoint.extra.get("validation")
    if note is None:
        return dataset, None
    try:
        return dataset.split(float(note["share"]), int(note["seed"]))
    except (TypeError, KeyError, ValueError) as error:
        raise agents.CheckpointError(
            f"{checkpoint.path} does not say which episodes were held out: {note!r}"
        ) from error


def episodes_to_ask(
    checkpoints: Sequence[Checkpoint], dataset: agents.OfflineDataset, held_out: bool | None
) -> agents.OfflineDataset:
    """Those of a dataset that estimates of some policies come from.

    Args:
        held_out: those that all of them have held out in training; None: these where there are two, else all; False:
            all.

    Raises:
        ConfigError: there are none that all have held out.
    """
    notes = [checkpoint.extra.get("validation") for checkpoint in checkpoints]
    trained_on = {checkpoint.extra["dataset_fingerprint"] for checkpoint in checkpoints}
    if held_out is not False and trained_on == {dataset.fingerprint} and all(note == notes[0] for note in notes):
        _, unseen = split_again(checkpoints[0], dataset)
        if unseen is not None and (held_out or len(unseen.statistics.lengths) > 1):
            return unseen
    if held_out:
        who = f"these {len(checkpoints)} policies have not all" if len(checkpoints) > 1 else "the policy has not"
        raise agents.ConfigError(
            f"{who} held out the same episodes of {dataset.id}: train with validation=0.2, or leave out held_out=true"
        )
    return dataset


def has_learned_from(checkpoint: Checkpoint, asked: agents.OfflineDataset) -> bool:
    """Whether what :func:`episodes_to_ask` gives has episodes that a policy was trained on."""
    return asked.whole is None and checkpoint.extra["dataset_fingerprint"] == asked.fingerprint


def draw(
    config: TrainConfig, held_out: agents.OfflineDataset | None, sampling: Sampling, rewards: LearnerRewards | None
) -> TensorDictBase | None:
    """The held-out steps that a run looks at; ``rewards`` are those that it learns from."""
    if held_out is None:
        return None
    if rewards is not None:
        gamma = getattr(config.algorithm, "gamma", None)
        n_step, discount = (1, 1.0) if gamma is None else (config.n_step, gamma)
        own = replace(config.rewards, scale=rewards.scale)  # that of what is trained on
        rewards = held_out.learner_rewards(own, n_step=n_step, gamma=discount)
    return held_out_steps(held_out, sampling, max(BATCHES * config.batch_size, FEWEST), rewards=rewards)


class Validation:
    """``validation/*`` of a run: of each step that is looked at once."""

    def __init__(self, agent: agents.Agent, specs: agents.Specs, batch: TensorDictBase, *, log_every: int) -> None:
        self._held_out = HeldOut(agent, specs, batch)
        self._every, self._log_every = EVERY[agent.device.type], log_every
        self._latest: tuple[int, dict[str, float]] = -1, {}

    def at(self, step: int) -> dict[str, float]:
        """Of the agent as it is, after so many updates."""
        if self._latest[0] != step:
            self._latest = step, metrics.validation(self._held_out.measure())
        return self._latest[1]

    def due(self, step: int) -> bool:
        """Whether a log point is the first one of so many updates."""
        return step // self._every > (step - self._log_every) // self._every
