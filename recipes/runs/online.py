"""Where a run is that goes on in an environment: its experience, and what is due."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from tensordict import TensorDictBase
from torch import Generator

from agents import metrics
from agents.checkpoint import Checkpoint
from agents.errors import CheckpointError
from agents.evaluation.rollouts import EvalResult
from agents.online.batches import MixedBatches
from agents.online.collection import Collection
from agents.online.experience import Experience, RewardRule
from agents.online.exploration import Exploration
from recipes.runs.folder import RunFolder
from recipes.settings.finetuning import POOLED, FinetuneConfig, num_updates
from recipes.settings.overrides import PATHS
from recipes.settings.schema import TrainConfig

if TYPE_CHECKING:
    from recipes.runs.training import Training

EXPERIENCE = "experience.f32"
RECENT = 20  # collected episodes over which means are taken


class Online:
    """The experience of a run, and what of it is due.

    Args:
        config: with all settings filled in.
        example: a batch as updates are compiled for it.
        first_step: gradient steps of the run before.
    """

    def __init__(
        self, folder: RunFolder, config: FinetuneConfig, example: TensorDictBase, *, first_step: int, seed: int
    ) -> None:
        self.config, self.first_step = config, first_step
        self.generator = Generator().manual_seed(seed)  # of what is drawn from experience
        self.first_return: float | None = None  # of the policy at the switch
        self.stopped = False  # because the return fell
        self.logged_step = first_step  # updates until the last row of metrics.csv
        self._fades_over = config.online_steps  # as the run was begun with
        self._evaluated_at: int | None = None  # updates of the policy that was evaluated last
        self._file, self._example, self._seed = folder.path / EXPERIENCE, example, seed
        self._length, self._episodes = 0, None
        self._collection: Collection | None = None
        self._batches: MixedBatches | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Those that are no settings of a run that learns from data alone, and no places on this machine."""
        others = {*PATHS, *(field.name for field in fields(TrainConfig))} - {"online_steps"}
        return {name: value for name, value in asdict(self.config).items() if name not in others}

    @property
    def env_step(self) -> int:
        """Steps in the environment."""
        return self._length if self._collection is None else self._collection.env_step

    @property
    def finished(self) -> bool:
        return self.env_step >= self.config.online_steps

    @property
    def updates_due(self) -> int:
        """Gradient steps of the run until here, those before included."""
        return self.first_step + num_updates(self.config, self.env_step)

    def crossed(self, every: int) -> bool:
        """Whether one of every so many steps was in the last round of the environments."""
        return self.env_step // every > (self.env_step - self.config.num_envs) // every

    def start(self, run: Training) -> tuple[Collection, MixedBatches]:
        """Begin in the environments, or go back to where they were; the caller closes the collection."""
        assert run.env is not None
        config, agent = self.config, run.agent
        self.logged_step = agent.num_updates
        rule = RewardRule(run.reward_scale, run.config.rewards.shift, run.config.n_step, run.config.algorithm.gamma)
        self._experience = Experience(
            self._file,
            run.dataset.layout,
            capacity=config.online_steps,
            num_envs=config.num_envs,
            length=self._length,
            keys=agent.sampling["keys"],
            rewards=rule,
            whole_episodes=run.config.algorithm.online.whole_episodes,
        )
        act = Exploration(
            agent,
            run.specs,
            noise=config.noise,
            random_share=config.random_share or 0.0,
            num_random_steps=config.num_random_steps or 0,
            seed=self._seed,
        )
        share = None if config.offline_share == POOLED else float(config.offline_share)
        self._batches = MixedBatches(
            run.buffer,
            self._experience,
            like=self._example,
            share=share,
            final_share=config.final_offline_share,
            fades_over=self._fades_over,
            generator=self.generator,
        )
        self._collection = Collection(run.env, act, self._experience, episodes=self._episodes, seed=self._seed)
        return self._collection, self._batches

    def evaluation_due(self, num_updates: int) -> bool:
        """Whether the policy of so many updates is to be evaluated now: at the switch, and then if it has changed."""
        due = self.env_step == 0 or self.crossed(self.config.eval_every or 1) or self.finished
        changed = num_updates > self.first_step if self.env_step else True
        return due and changed and self._evaluated_at != num_updates

    def has_fallen(self, result: EvalResult) -> bool:
        """Whether a policy is so much worse than that at the switch that learning is to end."""
        margin, first = self.config.stop_below, self.first_return
        if margin is None or first is None:
            return False
        return not result.returns.mean().item() >= first - margin  # nor is what is no number good enough

    def stop(self) -> None:
        """Learn no further."""
        self.stopped = True

    def place(self, result: EvalResult, num_updates: int) -> dict[str, float]:
        """Take notice of a result; the columns of evaluations.csv that say where it belongs."""
        self._evaluated_at = num_updates
        if self.env_step == 0:
            self.first_return = result.returns.mean().item()
        return {"env_step": self.env_step, "phase": int(self.env_step > 0)}

    def measures(self) -> dict[str, float]:
        """``online/*`` of this moment."""
        assert self._batches is not None
        recent = self._experience.episodes[-RECENT:]
        return metrics.online(self.env_step, len(self._experience.episodes), recent, self._batches.share)

    def save(self) -> dict[str, Any]:
        """What a checkpoint says of it, once the disk has all rows."""
        if self._collection is None:
            episodes = self._episodes
        else:
            episodes = self._collection.episodes
            self._experience.flush()
        place = {"env_step": self.env_step, "episodes": episodes, "evaluated_at": self._evaluated_at}
        fall = {"first_return": self.first_return, "stopped": self.stopped}
        rules = {"fades_over": self._fades_over, "max_action_change": self.config.max_action_change}
        return {**place, **fall, **rules}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Inverse of :meth:`save`, before it is started; a CheckpointError if that is not there."""
        try:
            note = checkpoint.extra["online"]
            self._length, episodes, self.first_return = int(note["env_step"]), note["episodes"], note["first_return"]
            self.stopped, self._evaluated_at = bool(note["stopped"]), note["evaluated_at"]
            self._fades_over = int(note.get("fades_over", self._fades_over))
            self._episodes = None if episodes is None else [int(number) for number in episodes]
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{checkpoint.path} does not say where its run was in the environment") from error
