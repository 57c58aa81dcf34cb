"""The trials of a sweep: settings that the search proposes, and a run per seed for each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.data.source import Source
from agents.environments.protocols import MINARI, PROTOCOLS
from agents.environments.scoring import ScoreProtocol
from agents.errors import ConfigError
from agents.evaluation.offline.settings import GAMMA
from recipes.many.executors import executor
from recipes.many.plan import Run, compose_settings, is_finished, make_run, on_cpu, prepare
from recipes.many.pool import Outcome, Outcomes, run_jobs
from recipes.many.search_space import Search, Settings, Sweep
from recipes.many.valuation import KEY, value_runs
from recipes.runs.metrics_log import read_csv
from recipes.settings.many_runs import SweepConfig
from recipes.settings.overrides import as_typed, quoted


@dataclass(frozen=True)
class Trial:
    """Settings that are tried, with a run per seed."""

    number: int
    settings: Settings  # in which trials differ
    algorithm: str
    dataset: str
    overrides: tuple[str, ...]  # of all its runs, as typed; without algorithm, dataset and seed
    runs: tuple[Run, ...]
    estimates: dict[Path, dict[str, Any]] = field(default_factory=dict)  # of its runs, where they are what is compared

    @property
    def finished(self) -> bool:
        return all(is_finished(run) for run in self.runs)

    def has(self, metric: str) -> bool:
        """Whether it can be compared: a finished one can, unless an estimate is missing, which has been said."""
        return self.finished and (metric != KEY or all(run.folder.path in self.estimates for run in self.runs))

    @property
    def is_refuted(self) -> bool:
        """Whether the estimate of a run means nothing."""
        return any(value["refutations"] for value in self.estimates.values())

    def last_rows(self) -> list[dict[str, str]]:
        """The last evaluation of each run, with its estimate."""
        rows = [[{}, *read_csv(run.folder.evaluations_file)][-1] for run in self.runs]
        values = [self.estimates.get(run.folder.path) for run in self.runs]
        return [row if value is None else {**row, KEY: repr(value["value"])} for row, value in zip(rows, values)]

    def scores(self, key: str) -> list[float]:
        """A column of the last evaluation of each run; a ConfigError if there is none."""
        rows = self.last_rows()
        for run, row in zip(self.runs, rows):
            if not row.get(key):
                known = ", ".join(name for name, value in row.items() if name != "step" and value)
                raise ConfigError(f"{run.folder.path} has no {key}; choose another metric, as metric=..., from {known}")
        return [float(row[key]) for row in rows]

    def mean(self, key: str) -> float:
        scores = self.scores(key)
        return sum(scores) / len(scores)


def plan_trial(number: int, point: Settings, sweep: Sweep, config: SweepConfig, overrides: Sequence[str]) -> Trial:
    """The runs of some settings; a ConfigError if one of them is wrong."""
    typed = by_name(overrides)
    typed |= {name: as_typed(value) for name, value in {**sweep.fixed, **point}.items()}
    algorithm, dataset = typed.pop("algorithm", "iql"), typed.pop("dataset")
    own = tuple(on_cpu([f"{name}={value}" for name, value in typed.items()]))
    cfg = compose_settings(algorithm, dataset, own)
    label = ", ".join(f"{short(name)}={shown(value)}" for name, value in point.items())
    if config.logger == "wandb" and "wandb.group" not in typed:
        own += (f"wandb.group={quoted(f'{sweep.name}: {label}'[:128])}",)
    if config.logger == "wandb" and "wandb.job_type" not in typed:
        own += ("wandb.job_type=trial",)  # a comparison of the same settings and seeds is another thing
    runs = []
    for seed in config.seeds:
        name = f"{number} {label}" + (f", seed={seed}" if len(config.seeds) > 1 else "")
        runs.append(make_run(cfg, algorithm, dataset, seed, config=config, overrides=own, name=name, alone=False))
    return Trial(number, point, algorithm, dataset, own, tuple(runs))


def run_trials(
    search: Search, sweep: Sweep, config: SweepConfig, overrides: Sequence[str]
) -> tuple[list[Trial], Outcomes]:
    """Run what the search proposes, as far as it is not finished already, and tell it the scores."""
    trials: list[Trial] = []
    outcomes: dict[str, Outcome] = {}
    with ExitStack() as stack:
        pool = None
        while points := search.next():
            batch = [plan_trial(len(trials) + i, point, sweep, config, overrides) for i, point in enumerate(points, 1)]
            trials += batch
            runs = [run for trial in batch for run in trial.runs]
            missing = [*{run.job.folder: run for run in runs if not is_finished(run)}.values()]  # trials may share one
            finished = f"{len(runs)} runs, of which {len(runs) - len(missing)} are finished already"
            progress = f"trials {batch[0].number}-{trials[-1].number}: {finished}"
            if not missing:
                print(progress, flush=True)
            else:
                start, workers = pool = pool or stack.enter_context(executor(config))
                check_metric(sweep.metric, prepare(missing, config), missing)
                print(progress, flush=True)  # after whatever refuses
                latest = run_jobs([run.job for run in missing], start=start, workers=workers)
                outcomes |= latest.jobs
                if latest.exit_code > 1:
                    return trials, latest
            if sweep.metric == KEY:
                estimate(batch, sweep, config)
            for trial in batch:
                search.tell(trial.settings, trial.mean(sweep.metric) if trial.has(sweep.metric) else None)
    return trials, Outcomes(outcomes, 0)


def estimate(trials: Sequence[Trial], sweep: Sweep, config: SweepConfig) -> None:
    """Note in finished trials what their runs are worth, all with one discount."""
    runs = {run.folder.path: run for trial in trials if trial.finished for run in trial.runs}  # trials may share one
    gamma = GAMMA if {"algorithm", "algorithm.gamma"} & {*sweep.varied} else None
    values = value_runs([*runs.values()], config.fqe, gamma=gamma) if runs else {}
    for trial in trials:
        trial.estimates.update(
            {run.folder.path: values[run.folder.path] for run in trial.runs if run.folder.path in values}
        )


def check_metric(metric: str, sources: Mapping[str, Source], runs: Sequence[Run]) -> None:
    """Refuse a metric, with a ConfigError, that evaluations of a run will not have, as far as its data are known."""
    for run in runs:
        if metric == KEY:
            continue
        if metric.startswith("validation/"):
            if not run.config.validation:
                raise ConfigError(f"metric={metric} is measured on held-out episodes: add validation=0.1, say")
            continue
        source = sources.get(run.dataset)
        if source is None or run.config.eval_env is not None:
            continue
        if source.env_spec is None:
            way_out = f"name one by eval_env=ID, or compare estimates by metric={KEY}"
            raise ConfigError(f"evaluations on {run.dataset} name no environment; {way_out}")
        steps = run.config.max_episode_steps
        missing = [protocol for protocol in PROTOCOLS if not is_scored(protocol, source, steps)]
        if metric in {f"eval/{name}" for protocol in missing for name in (protocol.score_key, protocol.return_key)}:
            raise ConfigError(f"evaluations on {run.dataset} have no {metric}; choose another, as metric=eval/return")


def is_scored(protocol: ScoreProtocol, source: Source, steps: int | None) -> bool:
    """Whether evaluations of so many steps have a protocol's score; None: of as many as the environment has."""
    scoring = source.scorings.get(protocol.name)
    if scoring is None or steps in (None, source.horizon):
        return scoring is not None
    return protocol.name != MINARI.name and steps >= scoring.horizon


def by_name(overrides: Sequence[str]) -> dict[str, str]:
    return {name: value for name, _, value in (override.partition("=") for override in overrides)}


def short(name: str) -> str:
    return name.removeprefix("algorithm.")


def shown(value: Any) -> str:
    """A value as a table has it."""
    return f"{value:.4g}" if isinstance(value, float) else as_typed(value)
