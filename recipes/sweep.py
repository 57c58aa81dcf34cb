"""Try the settings of a W&B sweep file on this machine, without a server: grid, random or TPE, then one table.

For example:

    offline-agents sweep sweep=recipes/sweeps/iql.yaml dataset=demo/pen/mixed-v0
    offline-agents sweep sweep=recipes/sweeps/iql.yaml method=tpe num_trials=20 seeds=0,1 gradient_steps=5000
    offline-agents sweep sweep=recipes/sweeps/rebrac.yaml executor=slurm slurm.partition=cpu

Any other setting of recipes/train.py is handed on to every run, in place of the file's. Interrupt it and call it again:
it goes on, and does not make again what is finished.
"""

from __future__ import annotations

import contextlib
import json
import math
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from agents.data.source import Source
from agents.errors import ConfigError, require_choice
from agents.evaluation import statistics
from agents.metrics import EVALUATION_KEYS
from recipes.many import provenance
from recipes.many.executors import executor
from recipes.many.plan import Run, changed_data, compose_settings, is_finished, make_run, on_cpu, prepare
from recipes.many.pool import Outcome, Outcomes, run_jobs
from recipes.many.search_space import Search, Settings, Sweep, extremes, make_search, read_sweep
from recipes.reporting import figures, html_report, tables
from recipes.reporting.results import D4RL, MINARI, RETURN
from recipes.runs import console
from recipes.runs.metrics_log import read_csv
from recipes.settings import command_line, schema
from recipes.settings.overrides import KEPT, as_typed, quoted
from recipes.settings.schema import SweepConfig

NUM_FRESH = 3  # seeds on which the best trial is to be made again


@dataclass(frozen=True)
class Trial:
    """Settings that are tried, with a run per seed.

    Attributes:
        settings: those in which trials differ.
        overrides: of all its runs, as typed; without algorithm, dataset and seed.
    """

    number: int
    settings: Settings
    algorithm: str
    dataset: str
    overrides: tuple[str, ...]
    runs: tuple[Run, ...]

    @property
    def finished(self) -> bool:
        return all(is_finished(run) for run in self.runs)

    def scores(self, key: str) -> list[float]:
        """What the last evaluation of each run has in a column.

        Raises:
            ConfigError: if there is no such column.
        """
        rows = [read_csv(run.folder.evaluations_file)[-1] for run in self.runs]
        for run, row in zip(self.runs, rows):
            if not row.get(key):
                known = ", ".join(name for name, value in row.items() if name != "step" and value)
                raise ConfigError(f"{run.folder.path} has no {key}; choose another metric, as metric=..., from {known}")
        return [float(row[key]) for row in rows]


def sweep(cfg: DictConfig, overrides: Sequence[str]) -> None:
    config: SweepConfig = command_line.build(cfg, "sweep")
    given = {name: value for name, _, value in (override.partition("=") for override in overrides)}
    asked = read_sweep(config.sweep)
    asked = replace(asked, method=config.method or asked.method, metric=config.metric or asked.metric).without(given)
    require_choice("metric", asked.metric, EVALUATION_KEYS)
    if not asked.varied:
        raise ConfigError(f"{config.sweep} has no setting with several values beside those that were given")
    if own := [name for name in asked.parameters if name.split(".")[0] in KEPT["sweep"]]:
        raise ConfigError(
            f"{config.sweep} sets {', '.join(own)}, which is chosen here; take it out: seeds are seeds=0,1"
        )
    if "dataset" not in {**asked.parameters, **given}:
        raise ConfigError(f"{config.sweep} names no dataset; name one by dataset=ID")
    place = Path(config.runs, "sweeps", asked.name, str({**asked.fixed, **given}.get("dataset", "")))
    config = replace(config, output=config.output or str(place))
    schema.require_place("output", config.output)
    for point in extremes(asked):
        plan_trial(0, point, asked, config, overrides)  # raises where a setting is wrong, before anything is run
    search = make_search(asked, num_trials=config.num_trials, batch=config.batch, seed=config.search_seed)
    if asked.stops_early:
        print("early_terminate is for W&B's agent: here every trial is trained to its end")

    trials, outcomes = make_trials(search, asked, config, overrides)
    if outcomes.exit_code > 1:
        print("stopped; the same command goes on")
        sys.exit(outcomes.exit_code)
    lost = provenance.failures([run for trial in trials for run in trial.runs], outcomes)
    finished = ranking([trial for trial in trials if trial.finished], asked)
    warnings = [*changed_data([run for trial in finished for run in trial.runs]), *lost]
    if finished:
        publish(finished, warnings, asked, config, overrides)
    for line in warnings:
        print(f"warning: {line}", file=sys.stderr)
    sys.exit(int(bool(lost)))


def check_metric(metric: str, sources: Mapping[str, Source], runs: Sequence[Run]) -> None:
    """Refuse a metric that evaluations of a run will not have, as far as its data are known here.

    Raises:
        ConfigError: naming the data and a way out.
    """
    for run in runs:
        source = sources.get(run.dataset)
        if source is None or run.config.eval_env is not None:
            continue
        if source.env_spec is None:
            raise ConfigError(f"evaluations on {run.dataset} name no environment; name one by eval_env=ID")
        of_task, of_reference = metric.startswith("eval/d4rl"), metric == "eval/minari_score"
        if (of_task and source.task is None) or (of_reference and source.reference is None):
            raise ConfigError(f"evaluations on {run.dataset} have no {metric}; choose another, as metric=eval/return")


def make_trials(
    search: Search, asked: Sweep, config: SweepConfig, overrides: Sequence[str]
) -> tuple[list[Trial], Outcomes]:
    """Make what the search proposes, as far as it is not finished already, and tell it the scores."""
    trials: list[Trial] = []
    outcomes: dict[str, Outcome] = {}
    with contextlib.ExitStack() as stack:
        at_work = None
        while batch := search.next():
            new = [
                plan_trial(number, point, asked, config, overrides)
                for number, point in enumerate(batch, start=len(trials) + 1)
            ]
            trials += new
            runs = [run for trial in new for run in trial.runs]
            missing = {run.job.folder: run for run in runs if not is_finished(run)}  # two trials may share a run
            print(f"trials {new[0].number}-{trials[-1].number}: {len(runs)} runs, ", end="")
            print(f"of which {len(runs) - len(missing)} are finished already", flush=True)
            if missing:
                start, workers = at_work = at_work or stack.enter_context(executor(config))
                check_metric(asked.metric, prepare([*missing.values()], config), [*missing.values()])
                made = run_jobs([run.job for run in missing.values()], start=start, workers=workers)
                outcomes |= made.jobs
                if made.exit_code > 1:
                    return trials, made
            for trial in new:
                search.tell(trial.settings, mean(trial, asked.metric) if trial.finished else None)
    return trials, Outcomes(outcomes, 0)


def plan_trial(number: int, point: Settings, asked: Sweep, config: SweepConfig, overrides: Sequence[str]) -> Trial:
    """The runs of some settings.

    Raises:
        ConfigError: if a setting is wrong.
    """
    typed = {name: value for name, _, value in (override.partition("=") for override in overrides)}
    typed |= {name: as_typed(value) for name, value in {**asked.fixed, **point}.items()}
    algorithm, dataset = typed.pop("algorithm", "iql"), typed.pop("dataset")
    own = tuple(on_cpu([f"{name}={value}" for name, value in typed.items()]))
    cfg = compose_settings(algorithm, dataset, own)
    label = ", ".join(f"{short(name)}={shown(value)}" for name, value in point.items())
    if config.logger == "wandb" and "wandb.group" not in typed:
        own += (f"wandb.group={quoted(f'{asked.name}: {label}'[:128])}",)
    runs = tuple(
        make_run(
            cfg,
            algorithm,
            dataset,
            seed,
            config=config,
            overrides=own,
            name=f"{number} {label}" + (f", seed={seed}" if len(config.seeds) > 1 else ""),
            alone=False,
        )
        for seed in config.seeds
    )
    return Trial(number, point, algorithm, dataset, own, runs)


def mean(trial: Trial, key: str) -> float:
    scores = trial.scores(key)
    return sum(scores) / len(scores)


def ranking(trials: Sequence[Trial], asked: Sweep) -> list[Trial]:
    """The best trial first."""
    return sorted(trials, key=lambda trial: mean(trial, asked.metric), reverse=asked.maximize)


def columns(trials: Sequence[Trial], asked: Sweep) -> dict[str, str]:
    """Title and column of evaluations.csv of all scores that are shown, the one that is compared first."""
    known = {protocol.key: protocol.title for protocol in (D4RL, MINARI, RETURN)}
    keys = dict.fromkeys((asked.metric, *known))
    rows = [read_csv(run.folder.evaluations_file)[-1] for trial in trials for run in trial.runs]
    return {known.get(key, key): key for key in keys if all(row.get(key) for row in rows)}


def table(trials: Sequence[Trial], asked: Sweep) -> list[list[str]]:
    """A row per trial: its settings, then mean and standard error over seeds of the last evaluations."""
    titles = columns(trials, asked)
    rows = [["trial", *map(short, asked.varied), *titles]]
    for trial in trials:
        values = [shown(trial.settings[name]) for name in asked.varied]
        rows.append([str(trial.number), *values, *(spread(trial.scores(key)) for key in titles.values())])
    return rows


def numbers(trials: Sequence[Trial], asked: Sweep) -> list[tuple[Any, ...]]:
    """The same with a row per run, as plain numbers."""
    titles = columns(trials, asked)
    rows: list[tuple[Any, ...]] = [("trial", *asked.varied, "seed", *titles.values(), "folder")]
    for trial in trials:
        scores = [*zip(*(trial.scores(key) for key in titles.values()))]
        values = [trial.settings[name] for name in asked.varied]
        for run, own in zip(trial.runs, scores):
            rows.append((trial.number, *values, run.seed, *own, str(run.folder.path)))
    return rows


def spread(scores: Sequence[float]) -> str:
    error = statistics.standard_error(scores)
    value = tables.number(sum(scores) / len(scores))
    return value if math.isnan(error) else f"{value} ± {tables.number(error)}"


def warning(trials: Sequence[Trial], config: SweepConfig) -> Iterator[str]:
    """Why the best score is not to be reported, and how to come to one that is."""
    best = trials[0]
    num_episodes = compose_settings(best.algorithm, best.dataset, best.overrides).num_eval_episodes
    text = (
        f"The best of {len(trials)} trials on the same {num_episodes} episodes is optimistic: some of its lead is luck."
    )
    yield f"{text} Report it on seeds that no trial has seen:"
    fresh = range(max(config.seeds) + 1, max(config.seeds) + 1 + NUM_FRESH)
    own = [override for override in best.overrides if not override.startswith(("wandb.", "device=cpu"))]
    command = [f"algorithms={best.algorithm}", f"datasets={best.dataset}", f"seeds={','.join(map(str, fresh))}", *own]
    yield f"offline-agents compare {shlex.join(command)}"


def publish(
    trials: Sequence[Trial], warnings: Sequence[str], asked: Sweep, config: SweepConfig, overrides: Sequence[str]
) -> None:
    """Print, write and log the table."""
    output = Path(config.output)
    rows, plain, hint = table(trials, asked), numbers(trials, asked), [*warning(trials, config)]
    caption = f"{asked.metric} of the last evaluation, {asked.method}"
    caption += ", mean ± standard error over seeds" if len(config.seeds) > 1 else ""
    print(f"\n{caption}\n{console.aligned(rows)}\n\n{hint[0]}\n  {hint[1]}")

    figures.draw_trials(
        output / "trials.png",
        {short(name): [trial.settings[name] for trial in trials] for name in asked.varied},
        [mean(trial, asked.metric) for trial in trials],
        best=0,
        log=[short(name) for name, own in asked.varied.items() if own.get("distribution") == "log_uniform_values"],
        ylabel=next(iter(columns(trials, asked))),
    )
    title, runs = f"Sweep {asked.name}", [run for trial in trials for run in trial.runs]
    lines = [*provenance.about(runs, overrides), *warnings]
    text = [f"# {title}", f"{caption}.", tables.pipes(rows), hint[0], f"```\n{hint[1]}\n```"]
    parts = [
        *(html_report.paragraph(line, "about") for line in lines),
        html_report.paragraph(f"{caption}."),
        html_report.table([rows[0], [*map(html_report.Best, rows[1])], *rows[2:]]),
        html_report.paragraph(f"{hint[0]} `{hint[1]}`"),
        html_report.image(output / "trials.png", "scores over each of the settings"),
    ]
    files = {
        "results.md": "\n\n".join([*text, "![trials.png](trials.png)", *lines]) + "\n",
        "results.html": html_report.document(title, parts),
        "results.json": json.dumps({"about": lines, "retrain": hint[1], "trials": plain}, indent=1) + "\n",
        "trials.csv": tables.to_csv(plain),
    }
    provenance.write(output, files)
    print(f"\ntable:   {output / 'results.md'} (and .html, .json, trials.csv)\nfigure:  {output / 'trials.png'}")
    logged = {"trials": [row[:-1] for row in plain]}  # without the folders, which are this machine's
    provenance.log("sweep", config, output, overrides, logged, [output / "trials.png"])


def short(name: str) -> str:
    return name.removeprefix("algorithm.")


def shown(value: Any) -> str:
    """A value as a table has it."""
    return f"{value:.4g}" if isinstance(value, float) else as_typed(value)


def main() -> None:
    command_line.main("sweep", sweep)


if __name__ == "__main__":
    main()
