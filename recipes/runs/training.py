"""The parts of one run: its data, its environment, its agent and its batches."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from torch import Generator
from torchrl.data import TensorDictReplayBuffer

import agents
from agents.algorithms.registry import check_actions
from agents.errors import ConfigError, one_line
from agents.evaluation.offline.estimate import Estimate
from agents.evaluation.video import check_rendering
from recipes.runs.estimation import Estimation
from recipes.runs.folder import RunFolder
from recipes.runs.online import Online
from recipes.runs.process import default_num_envs
from recipes.settings.composition import algorithm_choice
from recipes.settings.finetuning import FinetuneConfig
from recipes.settings.schema import TrainConfig

NOWHERE = "{} names no environment to act in; name one by eval_env=ID"


@dataclass(frozen=True)
class Training:
    """One run, whose agent learns from the batches of a buffer over the dataset."""

    folder: RunFolder
    config: TrainConfig
    dataset: agents.OfflineDataset
    env: agents.EvaluationEnv | None  # None: nothing is evaluated
    agent: agents.Agent
    buffer: TensorDictReplayBuffer
    reward_scale: float = 1.0  # by which the rewards that the agent learns from are larger than the data's
    generator: Generator | None = None  # of the agent's random numbers; None: torch's default one of its device
    held_out: TensorDictBase | None = None  # steps that it does not learn from; None: it learns from all
    estimation: Estimation | None = None  # of the policy as it learns; None: none is made
    online: Online | None = None  # where it goes on learning in its environment; None: from the dataset alone
    both: RunFolder | None = None  # of the run of both phases, by which this one, the second, goes on; None: by its own

    @property
    def specs(self) -> agents.Specs:
        """Of the data, with the limits of what is done in the environment."""
        specs, limits = self.dataset.specs, None if self.env is None else self.env.action_limits
        return specs if limits is None else specs.limited(*limits)

    @property
    def is_evaluated(self) -> bool:
        """Whether there is something to say of the policy at evaluation points."""
        return self.env is not None or self.held_out is not None

    def evaluation_due(self, step: int) -> bool:
        """Whether it is evaluated after so many updates, as it stands."""
        if self.online is not None:
            return self.online.evaluation_due(step)
        due = step % self.config.eval_every == 0 or step == self.config.gradient_steps
        return self.is_evaluated and step > 0 and due

    def estimate_due(self, step: int) -> bool:
        """Whether its worth is estimated after so many updates."""
        return self.estimation is not None and (self.estimation.due(step) or step == self.config.gradient_steps)

    def estimate(self, step: int) -> Estimate | None:
        """Its worth, as it stands after so many updates; None where none is due."""
        return self.estimation.at(step) if self.estimation is not None and self.estimate_due(step) else None


def load_data(config: TrainConfig, device: torch.device) -> agents.OfflineDataset:
    """The dataset of a run; a ConfigError if the algorithm learns from actions of the other kind."""
    dataset = open_dataset(config, device)
    check_actions(config.algorithm, dataset.specs, None if config.resume else algorithm_choice())
    return dataset


def open_dataset(config: TrainConfig, device: torch.device, storage: str | None = None) -> agents.OfflineDataset:
    """The dataset that the settings describe, in another storage if one is given."""
    return agents.load_dataset(
        config.dataset,
        device=device,
        storage=storage or config.storage,
        include=config.observations.include,
        exclude=config.observations.exclude,
        clip_actions=config.clip_actions,
        action_bounds=config.action_bounds,
    )


def evaluation_env(config: TrainConfig, dataset: agents.OfflineDataset) -> agents.EvaluationEnv | None:
    """Where the policy is evaluated; None, with a warning, when neither dataset nor settings name an environment."""
    if config.eval_env is None and dataset.env_spec is None:
        if config.online_steps is not None:
            raise ConfigError(NOWHERE.format(dataset.id))
        what, other = "nothing is evaluated", ", or hold out episodes by validation=0.1"
        if config.validation:
            what, other = "no returns are measured", ""
        text = f"{dataset.id} names no environment, so {what}; name one by eval_env=ID{other}"
        print(f"warning: {text}", file=sys.stderr)
        return None
    num_envs = config.num_eval_envs or default_num_envs()
    limit, trust = config.max_episode_steps, config.trust_env
    env = dataset.make_env(num_envs, env_id=config.eval_env, max_episode_steps=limit, trust=trust)
    try:
        env.spec.to_json()
    except (TypeError, ValueError) as error:
        problem = f"checkpoints cannot hold how {env.spec.id!r} is made ({one_line(error)})"
        way_out = "register it with text and numbers alone: entry_point='module:Class'"
        raise ConfigError(f"{problem}; {way_out}") from error
    if config.eval_videos:
        check_rendering(env)
    return env


def acting_env(config: FinetuneConfig, settings: TrainConfig, dataset: agents.OfflineDataset) -> agents.EvaluationEnv:
    """Where a policy acts and is evaluated, inside the limits of its actions; a ConfigError where there is none."""
    if settings.eval_env is None and dataset.env_spec is None:
        raise ConfigError(NOWHERE.format(dataset.id))
    env = evaluation_env(settings, dataset)
    assert env is not None
    if dataset.env_spec is not None and env.spec.id != dataset.env_spec.id:
        others = f"the data are of {dataset.env_spec.id}, the policy acts in {env.spec.id}"
        print(f"warning: {others}: both are learned from as one", file=sys.stderr)
    low, high = config.action_limits or (None, None)
    if config.action_limits is not None or config.max_action_change is not None:
        env.limit(low=low, high=high, max_change=config.max_action_change)
    return env
