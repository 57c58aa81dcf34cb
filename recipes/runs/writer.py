"""What one run writes down while it learns: rows, evaluations, checkpoints, its plot and its dashboard."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from tensordict import TensorDictBase
from torch import Generator
from torchrl.data import TensorDictReplayBuffer

import agents
from agents import metrics
from agents.errors import one_line
from agents.training.agent import check_finite
from recipes.runs import artifacts, console, plots, videos
from recipes.runs.folder import RunFolder
from recipes.runs.lifecycle import claim
from recipes.runs.metrics_log import CsvLog
from recipes.runs.saver import Saver
from recipes.runs.versions import of_both, versions
from recipes.settings.schema import TrainConfig
from recipes.tracking import loggers


class Record:
    """The files and the dashboard of one run.

    Args:
        generator: what the agent's random numbers come from; None: torch's default one.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: TrainConfig,
        dataset: agents.OfflineDataset,
        env: agents.EvaluationEnv | None,
        agent: agents.Agent,
        buffer: TensorDictReplayBuffer,
        generator: Generator | None,
    ) -> None:
        self._lock = claim(folder)  # as long as this lives
        self._folder, self._config, self._dataset, self._env, self._agent = folder, config, dataset, env, agent
        self._algorithm = folder.info["algorithm"]
        self._saver = Saver(folder, config, dataset, env, agent, buffer, generator)
        self._returns_compare = not dataset.names_another_env(config.eval_env)  # of the data with evaluations
        self._result: agents.EvalResult | None = None  # of the last evaluation
        self.last_step = 0

    def open(self, resuming: bool, random: agents.EvalResult | None, described: Mapping[str, Any]) -> None:
        """Begin to write, or go on after the last checkpoint.

        Args:
            random: an evaluation of the random policy, to compare with; None without an environment.
            described: the settings for the dashboard.
        """
        self._random = random
        self.last_step = self._saver.restore() if resuming else 0
        last_step = self.last_step if resuming else None
        if resuming and last_step < self._config.gradient_steps:
            self._note_versions()
        self._metrics_log = CsvLog(self._folder.metrics_file, last_step=last_step)
        self._evaluations_log = CsvLog(self._folder.evaluations_file, last_step=last_step)
        fingerprint = {"algorithm_name": self._algorithm, "dataset_fingerprint": self._dataset.fingerprint}
        self._logger = loggers.make_logger(
            self._config.logger,
            self._folder.path,
            name=f"{self._algorithm}/{self._dataset.id}/seed{self._config.seed}",
            run_id=self._folder.info["wandb_id"],
            job_type="train",
            settings={**described, **fingerprint},
            wandb=self._config.wandb,
        )
        if not resuming:  # else it is there already
            loggers.log_data(self._logger, self._dataset)
        self._plots = plots.Plots(self._folder, self._algorithm, self._dataset, random, show_mean=self._returns_compare)

    def _note_versions(self) -> None:
        """Of the rest of the run, where they are others; it may end elsewhere than it would have."""
        before, now = self._folder.info.get("versions", {}), versions()
        both = of_both(before, now) if self.last_step else now
        for name, version in both.items() if self.last_step else ():
            if version != before.get(name):
                print(f"warning: the run goes on with another version of {name}: {version}", file=sys.stderr)
        self._folder.add_info(versions=both)

    def row(self, losses: TensorDictBase) -> dict[str, float]:
        """What an update returned, as numbers."""
        check_finite(losses, step=self._agent.num_updates)
        return metrics.training(losses, self._agent.learning_rates)

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        self._metrics_log.write(step, scalars)
        loggers.log_scalars(self._logger, scalars, step)

    def evaluate(self) -> agents.EvalResult:
        self._result = agents.evaluate(self._agent.policy, self._env, self._config.num_eval_episodes)
        return self._result

    def log_evaluation(self, step: int) -> None:
        scalars = metrics.evaluation(self._result)
        self._evaluations_log.write(step, scalars)
        loggers.log_evaluation(self._logger, scalars, self._result, step)
        self._plots.draw(at_most_every=60.0)
        if self._config.eval_videos:
            self._film(step)

    def _film(self, step: int) -> None:
        """A film that cannot be made, because of a full disk or a lost driver, does not end a training."""
        settings = {"step": step, "keep": self._config.keep_videos}
        try:
            made = videos.make(self._folder.path, self._agent, self._env, self._result.returns, **settings)
        except (agents.AgentsError, OSError) as error:
            print(f"warning: no videos of step {step}: {one_line(error)}", file=sys.stderr)
            return
        loggers.log_videos(self._logger, made, step)

    def save(self, losses: TensorDictBase, *, evaluated: bool) -> None:
        """Write a checkpoint.

        Args:
            losses: of the last update, of which a GPU has not yet said whether they are finite.
            evaluated: whether the last evaluation was of these parameters.
        """
        check_finite(losses, step=self._agent.num_updates)
        self._saver.save(self._result.returns.mean().item() if evaluated else None)

    def close(self, *, exit_code: int) -> None:
        """End early; the dashboard shows how."""
        loggers.close(self._logger, exit_code=exit_code)

    def finish(self) -> None:
        """Sum up for a person and for the dashboard."""
        self._plots.draw()
        if self._env is not None:
            loggers.log_summary(self._logger, metrics.evaluation(self._result or self.evaluate()))
        policies = {self._algorithm: self._result, "random policy": self._random}
        print(console.table(policies, self._dataset if self._returns_compare else None))
        if self._config.wandb.artifacts:
            name = f"{self._algorithm}-{self._dataset.id}-seed{self._config.seed}"
            artifacts.log(self._logger, self._folder, self._dataset, name)
        hint = loggers.sync_hint(self._logger)
        loggers.close(self._logger)
        console.print_paths(self._folder, hint)
