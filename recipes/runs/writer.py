"""The files and the dashboard of one run: rows, evaluations, checkpoints, plots."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, cast

from omegaconf import OmegaConf
from tensordict import TensorDictBase
from tqdm import tqdm

import agents
from agents import metrics
from agents.errors import ConfigError, one_line, printable
from recipes.reporting import terminal
from recipes.runs import artifacts, console, plots
from recipes.runs.cost import cost
from recipes.runs.divergence import DivergenceAlarm
from recipes.runs.lifecycle import claim
from recipes.runs.measurement import Measurement
from recipes.runs.metrics_log import CsvLog, read_csv, tell_of_lost_rows
from recipes.runs.process import Stopwatch
from recipes.runs.recovery import recovery
from recipes.runs.resume import exact_alone, lengthen
from recipes.runs.rewards import WeightCheck
from recipes.runs.saver import Saver
from recipes.runs.training import Training
from recipes.runs.versions import of_both, versions
from recipes.settings.command_line import invocation
from recipes.settings.overrides import pasted
from recipes.tracking import loggers


class RunWriter:
    """Whatever a run leaves; as a context, it ends the dashboard's run as failed when an exception comes through.

    Args:
        resuming: go on after the last checkpoint, which the agent then is at; else begin.
        random: an evaluation of the random policy, to compare with; None without an environment.
        speed: how updates are computed.
    """

    def __init__(
        self, run: Training, *, resuming: bool, random: agents.EvalResult | None, speed: Mapping[str, Any]
    ) -> None:
        claim(run.folder)
        self._began = time.monotonic()
        self._run, self._agent, self._folder, self._config = run, run.agent, run.folder, run.config
        self._algorithm, self._random = run.folder.info["algorithm"], random
        self._saver, self._weights = Saver(run), WeightCheck(run.agent.loss_module)
        self._divergence = DivergenceAlarm(run.config, run.dataset, run.reward_scale)
        self.measurement = Measurement(run)
        self._logged: tuple[int, set[str]] = -1, set()  # the last row of metrics.csv: its step and keys
        last_step = evaluated = self._saver.restore() if resuming else None
        if run.online is not None and not (resuming and run.folder.has_checkpoint):
            last_step = run.online.first_step
            evaluated = last_step - 1  # the switch's own is made first of all
        if last_step is not None and last_step > run.config.gradient_steps:
            made = f"the run in {run.folder.path} has made {last_step} updates already"
            raise ConfigError(f"{made}: gradient_steps={run.config.gradient_steps} would undo some; give more")
        if resuming and last_step is not None and last_step < run.config.gradient_steps:
            self._note_versions(last_step)
            lengthen(run.folder, run.config)
        if last_step and run.online is None:
            self._tell_of_lost_rows(last_step)
        self._metrics_log = CsvLog(run.folder.metrics_file, last_step=last_step)
        self._evaluations_log = CsvLog(run.folder.evaluations_file, last_step=evaluated)
        settings = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.structured(run.config)))
        settings |= {"versions": versions(), **speed}
        if run.online is not None:
            settings["online"] = run.online.settings
        settings |= {"algorithm_name": self._algorithm, "dataset_fingerprint": run.dataset.fingerprint}
        self._logger = loggers.make_logger(
            run.config.logger,
            run.folder.path,
            name=f"{self._algorithm}/{run.dataset.id}/seed{run.config.seed}",
            run_id=run.folder.info["wandb_id"],
            job_type="train" if run.online is None else "finetune",
            settings=settings,
            wandb=run.config.wandb,
        )
        if not resuming:  # else it is there already
            run.folder.add_info(wandb_url=loggers.address(self._logger))
            run.folder.add_info(random=None if random is None else metrics.evaluation(random))
            loggers.log_data(self._logger, run.dataset)
        self._returns_compare = run.dataset.compares(run.config.eval_env, run.config.max_episode_steps)
        own = None if run.estimation is None else run.estimation.own_return
        options = {"show_mean": self._returns_compare, "own_return": own}
        self._plots = plots.Plots(run.folder, self._algorithm, run.dataset, random, **options)

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            loggers.close(self._logger, exit_code=1)

    def _tell_of_lost_rows(self, last_step: int) -> None:
        metrics_file, evaluations_file = self._folder.metrics_file, self._folder.evaluations_file
        tell_of_lost_rows(metrics_file, range(self._config.log_every, last_step + 1, self._config.log_every))
        periods = [self._config.eval_every] if self._run.is_evaluated else []
        periods += [self._config.estimate_every] if self._config.estimate_every else []
        due = {step for period in periods for step in range(period, last_step, period)}
        tell_of_lost_rows(evaluations_file, sorted(due))  # that of the checkpoint itself is made again

    def _note_versions(self, last_step: int) -> None:
        """Of the rest of the run, where they are others; it may end elsewhere than it would have."""
        now = versions()
        before = self._folder.info.get("versions", {}) if last_step else now
        both = of_both(before, now)
        for name, version in both.items():
            if version != before.get(name):
                print(f"warning: the run goes on with another version of {name}: {version}", file=sys.stderr)
        self._folder.add_info(versions=both)

    def row(self, losses: TensorDictBase) -> dict[str, float]:
        """The losses of an update as numbers."""
        self._agent.check_finite(losses)
        row = metrics.training(losses, self._agent.learning_rates, reward_scale=self._run.reward_scale)
        return {**row, **self._divergence.position(row)}

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        self._metrics_log.write(step, scalars)
        self._logged = step, {*scalars}
        loggers.log_scalars(self._logger, scalars, step)
        self._weights.look(step, scalars)
        self._divergence.look(step, scalars)

    def evaluate(self, step: int, clock: Stopwatch) -> agents.EvalResult | None:
        """Measure the policy on held-out steps, in its environment and by the data, as far as that is due.

        It is noted everywhere.
        """
        with clock("evaluation"):
            validation = self.measurement.validation(step)
            result = self._roll_out(step) if self._run.evaluation_due(step) else None
            estimate = self.measurement.estimate(step)
            if self._run.estimation is not None and self._run.estimation.due(step):  # not at an end that is no look
                self._run.estimation.move(step)
        with clock("logging"):
            scalars = {} if result is None else metrics.evaluation(result)
            place = {}
            if result is not None and self._run.online is not None:
                place = self._run.online.place(result, step)
            self._evaluations_log.write(step, {**scalars, **validation, **estimate, **place})
            if result is not None:
                loggers.log_evaluation(self._logger, scalars, result, step)
            known = self._logged[1] if self._logged[0] == step else set()  # with the losses of this step
            if beside := {key: value for key, value in {**validation, **estimate}.items() if key not in known}:
                loggers.log_scalars(self._logger, beside, step)
            self._plots.draw(at_most_every=60.0)
            if result is not None and self._config.eval_videos:
                self._film(result, step)
        return result

    def _roll_out(self, step: int) -> agents.EvalResult | None:
        try:
            return self.measurement.evaluation(step)
        except agents.DataError:  # of the environment: the updates until here are worth a checkpoint
            self._saver.save()
            raise

    def catch_up(self, clock: Stopwatch) -> agents.EvalResult | None:
        """The evaluation at this step, if it is due and there is none: the environment has failed, or all begins."""
        step = self._agent.num_updates
        rows = read_csv(self._folder.evaluations_file)
        due = self._run.evaluation_due(step) or self._run.estimate_due(step)
        if not due or str(step) in [row["step"] for row in rows]:
            return None
        result = self.evaluate(step, clock)
        self._saver.save(self.measurement.merit(), anew=True)  # what follows estimates has moved
        return result

    def _film(self, result: agents.EvalResult, step: int) -> None:
        """A film that cannot be made, because of a full disk or a lost driver, does not end a training."""
        from recipes.runs import videos  # draws by matplotlib

        env = self._run.env
        assert env is not None  # which gave the result
        keep = self._config.keep_videos
        try:
            scale = self._run.reward_scale
            files = videos.make(
                self._folder.path, self._agent, env, result.returns, step=step, keep=keep, reward_scale=scale
            )
        except (agents.AgentsError, OSError) as error:
            print(f"warning: no videos of step {step}: {one_line(error)}", file=sys.stderr)
            return
        loggers.log_videos(self._logger, files, step)

    def save(self, losses: TensorDictBase | None) -> None:
        """Write a checkpoint; of the last update's losses a GPU has not yet said whether they are finite."""
        if losses is not None:
            self._agent.check_finite(losses)
        self._saver.save(self.measurement.merit())

    def _note_recovery(self) -> None:
        """Of a run that went online, what the switch cost and brought, for a person and for the dashboard."""
        outcome = None if self._run.online is None else recovery(read_csv(self._folder.evaluations_file))
        if outcome is not None:
            print(outcome.summary())
            self._folder.add_info(online=outcome.measures())
            loggers.log_scalars(self._logger, outcome.measures(), self._agent.num_updates)

    def _note_cost(self) -> None:
        self._folder.add_info(cost=cost(self._folder, self._agent, time.monotonic() - self._began))

    def tell_how_to_go_on(self, problem: str) -> None:
        """A line on standard error on why the run ends here, and how it goes on."""
        tqdm.write(f"{printable(problem)}; all until then is saved, go on with: {self._command()}", file=sys.stderr)

    def _command(self) -> str:
        return f"{invocation()} {pasted('resume', (self._run.both or self._folder).path)}"

    def stop(self, step: int, exit_code: int) -> None:
        """End early, and say how to go on; the dashboard shows how it ended."""
        self._note_cost()
        loggers.close(self._logger, exit_code=exit_code)
        info = self._folder.info
        how = "" if exact_alone(info) else f" compile={info['compile']}  (alone, with other rounding errors)"
        print(f"stopped after step {step}; go on with: {self._command()}{how}")

    def finish(self) -> None:
        """Sum up for a person and for the dashboard."""
        self._note_cost()
        self._plots.draw()
        if (result := self.measurement.last_evaluation()) is None:
            console.print_data(self._run.dataset)
        else:
            loggers.log_summary(self._logger, metrics.evaluation(result))
            policies = {self._algorithm: result, "random policy": self._random}
            rows = console.table(policies, self._run.dataset if self._returns_compare else None)
            terminal.show(terminal.table(rows))
        if (value := self._run.estimate(self._agent.num_updates)) is not None:
            print(f"estimate by the data alone: {value.shown}: {value.verdict}")
        self._note_recovery()
        if self._config.wandb.artifacts:
            name = f"{self._algorithm}-{self._run.dataset.id}-seed{self._config.seed}"
            artifacts.log(self._logger, self._folder, self._run.dataset.whole or self._run.dataset, name)
        hint = loggers.sync_hint(self._logger)
        loggers.close(self._logger)
        console.print_paths(self._folder, hint)
        if result is None:
            console.print_next(self._folder)
