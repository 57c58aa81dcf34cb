"""The rewards that a run learns from, and what is to be said of them, and later of the weights that come of them."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping

from torchrl.objectives import LossModule
from tqdm import tqdm

import agents
from agents.data.rewards import LearnerRewards
from recipes.settings.schema import TrainConfig

SETTLED = 2_000  # updates after which there are values to weigh by: target networks follow within some hundreds
ALIKE = 0.1  # coefficient of variation below which weights are as good as equal; 2 to 4 is usual of the defaults
CLIPPED = 0.97  # share of the weight of a batch: 0.75 to 0.9 is usual of the defaults on the built-in data


def learner_rewards(config: TrainConfig, dataset: agents.OfflineDataset) -> LearnerRewards | None:
    """What the settings make of the rewards, None: nothing; a line for what they cannot do.

    Raises:
        ConfigError: as :meth:`agents.OfflineDataset.learner_rewards`.
    """
    gamma, n_step = getattr(config.algorithm, "gamma", None), config.n_step
    if gamma is None:
        scaled = config.rewards != agents.RewardsConfig()
        if without_effect := [f"n_step={n_step}"] * (n_step > 1) + ["rewards.scale and rewards.shift"] * scaled:
            text = " and ".join(without_effect)
            print(f"warning: no effect of {text}: this algorithm learns no values", file=sys.stderr)
        n_step = 1
    longest = int(dataset.statistics.lengths.max())
    if n_step > longest:
        text = f"n_step={n_step} is longer than every episode of {dataset.id}, of {longest} steps at most"
        print(f"warning: {text}: each target is the rest of its episode", file=sys.stderr)
    if n_step == 1 and config.rewards == agents.RewardsConfig():
        rewards = None
    else:
        discount = 1.0 if gamma is None else gamma
        rewards = dataset.learner_rewards(config.rewards, n_step=n_step, gamma=discount)
    if gamma is not None and (text := _nothing_to_learn(config, dataset, 1.0 if rewards is None else rewards.scale)):
        print(f"warning: {text}", file=sys.stderr)
    return rewards


def _nothing_to_learn(config: TrainConfig, dataset: agents.OfflineDataset, scale: float) -> str | None:
    """A line where all actions are worth the same, with what one can do."""
    statistics = dataset.statistics
    reward = scale * statistics.reward_min + config.rewards.shift
    if statistics.reward_min < statistics.reward_max or (reward != 0.0 and statistics.terminations):
        return None
    says = f"every reward of {dataset.id} is {reward:g}"
    clone = "discrete_bc" if dataset.specs.discrete else "bc"
    if statistics.terminations:
        way_out = (
            "where episodes should end soon, rewards.shift=-1 makes each step cost; where late, rewards.shift=1 pays"
        )
    else:
        says += " and no episode terminates"
        way_out = "write the dataset with rewards that tell good from bad"
    return f"{says}, so that no action is worth more than another; {way_out}; algorithm={clone} clones without values"


class WeightCheck:
    """A line, once, on weights of a policy extraction that carry nothing or are nearly all clipped.

    Not in the first updates, where nothing is valued yet, and not for what is so in a single batch.
    """

    def __init__(self, loss: LossModule) -> None:
        self._loss = loss
        self._said = not getattr(loss, "temperature", None)  # a clone is meant to have equal weights
        self._before = False  # at the last look there was something to say

    def look(self, step: int, row: Mapping[str, float]) -> None:
        """Look at what an update has logged, the share of an effective sample in it and the rest of its keys."""
        if self._said or step < SETTLED or "train/effective_sample_size" not in row:
            return
        text = self._problem(row)
        if text and self._before:
            self._said = True
            tqdm.write(f"warning: {text}", file=sys.stderr)
        self._before = text is not None

    def _problem(self, row: Mapping[str, float]) -> str | None:
        temperature, clip = self._loss.temperature, getattr(self._loss, "advantage_clip", None)
        spread = math.sqrt(max(1.0 / row["train/effective_sample_size"] - 1.0, 0.0))
        if spread < ALIKE:
            return (
                f"the weights of the actor's loss are nearly all alike, with a standard deviation of "
                f"{100 * spread:.2g} %: with algorithm.temperature={temperature:g} this is behaviour cloning; "
                f"{self._way_out('larger')}"
            )
        if clip is not None and clip * row["train/clip_fraction"] > CLIPPED * row["train/weight"]:
            return (
                f"nearly all of the weight in the actor's loss is clipped at {clip:g}, on "
                f"{row['train/clip_fraction']:.0%} of the batch: how good these actions are does not count any more; "
                f"{self._way_out('smaller')}"
            )
        return None

    def _way_out(self, direction: str) -> str:
        temperature = f"a {direction} algorithm.temperature"
        if getattr(self._loss, "advantage_scale", None) is not None:
            return f"take {temperature}"
        return f"take algorithm.scale_advantage=true, a {direction} rewards.scale or {temperature}"
