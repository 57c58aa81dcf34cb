"""Try the settings of a W&B sweep file on this machine, without a server: grid, random or TPE, then one table.

For example:

    offline-agents sweep sweep=iql dataset=demo/pen/mixed-v1
    offline-agents sweep sweep=iql method=tpe num_trials=20 seeds=0,1 gradient_steps=5000
    offline-agents sweep sweep=my/sweep.yaml executor=slurm slurm.partition=cpu

A setting of the runs that is typed takes the place of the file's. Interrupt it and call it again: it goes on, and does
not make again what is finished.
"""

from __future__ import annotations

from recipes.settings import command_line  # first: recipes says how torch's threads wait, before torch is loaded

if __name__ == "__main__":
    command_line.answer("sweep")  # help, and mistakes in settings, before all else is imported

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from agents.errors import ConfigError, require_choice
from agents.metrics import MORE_IS_BETTER, evaluation_keys
from recipes.many import provenance
from recipes.many.plan import changed_data, compose_settings
from recipes.many.search_space import Sweep, extremes, make_search, read_sweep
from recipes.many.trials import Trial, by_name, plan_trial, run_trials, short, shown
from recipes.many.valuation import KEY, verdicts
from recipes.reporting import figures, html_report, markdown, tables, terminal
from recipes.reporting.results import Cell, measures
from recipes.settings import checks
from recipes.settings.composition import build
from recipes.settings.many_runs import SweepConfig
from recipes.settings.overrides import KEPT

NUM_FRESH = 3  # seeds on which the best trial is to be trained again


def sweep(cfg: DictConfig, overrides: Sequence[str]) -> None:
    config: SweepConfig = build(cfg, "sweep")
    sweep = read_checked(config, overrides)
    dataset = {**sweep.fixed, **by_name(overrides)}.get("dataset", "")
    if dataset:
        checks.require_dataset_id("dataset", str(dataset))  # before it names a folder
    output = Path(config.output or Path(config.runs, "sweeps", sweep.name, str(dataset)))
    config = replace(config, output=str(output))
    checks.require_place("output", output)
    for point in extremes(sweep):
        plan_trial(0, point, sweep, config, overrides)  # raises where a setting is wrong, before anything is run
    search = make_search(sweep, num_trials=config.num_trials, batch=config.batch, seed=config.search_seed)
    if sweep.stops_early:
        print("early_terminate is for W&B's agent: here every trial is trained to its end")

    trials, outcomes = run_trials(search, sweep, config, overrides)
    if outcomes.exit_code > 1:
        print("stopped; the same command goes on")
        sys.exit(outcomes.exit_code)
    lost = provenance.failures([run for trial in trials for run in trial.runs], outcomes)
    ranking = ranked(trials, sweep)
    warnings = [*changed_data([run for trial in ranking for run in trial.runs]), *remarks(trials, sweep), *lost]
    if not ranking and not lost:
        raise ConfigError(f"no trial has {sweep.metric}: the lines above say why")
    if ranking:
        publish(ranking, warnings, sweep, config, overrides)
    for line in warnings:
        print(f"warning: {line}", file=sys.stderr)
    sys.exit(int(bool(lost)))


def ranked(trials: Sequence[Trial], sweep: Sweep) -> list[Trial]:
    """Those that can be compared, the best first; estimates that mean nothing are behind all others."""
    sign = -1.0 if sweep.maximize else 1.0
    known = [trial for trial in trials if trial.has(sweep.metric)]
    return sorted(known, key=lambda trial: (trial.is_refuted, sign * trial.mean(sweep.metric)))


def remarks(trials: Sequence[Trial], sweep: Sweep) -> list[str]:
    """A line for each trial that is left out for want of an estimate, and each estimate's interval and verdict."""
    left_out = [trial for trial in trials if trial.finished and not trial.has(sweep.metric)]
    lines = [f"trial {trial.number} has no {sweep.metric}, and is left out" for trial in left_out]
    values = {path: value for trial in trials for path, value in trial.estimates.items()}
    return [*lines, *verdicts({run.folder.path: run for t in trials for run in t.runs}.values(), values)]


def read_checked(config: SweepConfig, overrides: Sequence[str]) -> Sweep:
    """The sweep file, with what was typed in place of its own; a ConfigError if that leaves nothing to try."""
    sweep = read_sweep(config.sweep).without(by_name(overrides))
    sweep = replace(sweep, method=config.method or sweep.method, metric=config.metric or sweep.metric)
    if not sweep.metric.startswith("validation/"):  # of which each algorithm has its own
        require_choice("metric", sweep.metric, [*evaluation_keys(), KEY])
    elif config.metric is not None:  # the file's goal is its own metric's
        sweep = replace(sweep, maximize=sweep.metric in MORE_IS_BETTER)
    if config.metric == KEY:
        sweep = replace(sweep, maximize=True)
    if not sweep.varied:
        raise ConfigError(f"{config.sweep} has no setting with several values beside those that were given")
    if own := ", ".join(name for name in sweep.parameters if name.split(".")[0] in KEPT["sweep"]):
        raise ConfigError(f"{config.sweep} sets {own}, which is chosen here; take it out: seeds are seeds=0,1")
    if "dataset" not in {**sweep.parameters, **by_name(overrides)}:
        raise ConfigError(f"{config.sweep} names no dataset; name one by dataset=ID")
    return sweep


def columns(trials: Sequence[Trial], sweep: Sweep) -> dict[str, str]:
    """Title and column of evaluations.csv of all scores that are shown, the one that is compared first."""
    titles = {measure.key: measure.title for measure in measures()}
    rows = [row for trial in trials for row in trial.last_rows()]
    keys = (key for key in dict.fromkeys((sweep.metric, *titles)) if all(row.get(key) for row in rows))
    return {titles.get(key, key): key for key in keys}


def table(trials: Sequence[Trial], sweep: Sweep) -> list[list[str]]:
    """A row per trial, the best first: its settings, mean and standard error over seeds of its last evaluations."""
    titles = columns(trials, sweep)
    rows = [["trial", *map(short, sweep.varied), *titles]]
    for trial in trials:
        values = [shown(trial.settings[name]) for name in sweep.varied]
        cells = (Cell(dict(enumerate(trial.scores(key)))) for key in titles.values())
        rows.append([str(trial.number), *values, *map(tables.spread, cells)])
    rows[1] = [*map(tables.Best, rows[1])]
    return rows


def numbers(trials: Sequence[Trial], sweep: Sweep) -> list[tuple[Any, ...]]:
    """The same with a row per run, as plain numbers."""
    keys = columns(trials, sweep).values()
    rows: list[tuple[Any, ...]] = [("trial", *sweep.varied, "seed", *keys, "folder")]
    for trial in trials:
        values = [trial.settings[name] for name in sweep.varied]
        for run, scores in zip(trial.runs, zip(*(trial.scores(key) for key in keys))):
            rows.append((trial.number, *values, run.seed, *scores, str(run.folder.path)))
    return rows


def costs(trials: Sequence[Trial]) -> list[list[str]]:
    """A row per trial with what a run of it took, as far as that was noted."""
    noted = {(str(t.number),): [cost for run in t.runs if (cost := run.folder.info.get("cost"))] for t in trials}
    return tables.cost_table({key: own for key, own in noted.items() if own}, "trial")


def warning(trials: Sequence[Trial], metric: str, config: SweepConfig) -> tuple[str, str]:
    """A line on the best score, which is not to be reported, and the command that leads to one that is."""
    best = trials[0]
    if metric == KEY:
        episodes = "data"
    elif metric.startswith("validation/"):
        episodes = "held-out steps"
    else:
        num_episodes = compose_settings(best.algorithm, best.dataset, best.overrides).num_eval_episodes
        episodes = "episode" if num_episodes == 1 else f"{num_episodes} episodes"
    fresh = range(max(config.seeds) + 1, max(config.seeds) + 1 + NUM_FRESH)
    own = [override for override in best.overrides if not override.startswith(("wandb.", "device=cpu"))]
    command = [f"algorithms={best.algorithm}", f"datasets={best.dataset}", f"seeds={','.join(map(str, fresh))}", *own]
    return (
        f"The best of {len(trials)} trials on the same {episodes} is optimistic: some of its lead is luck."
        " Report it on seeds that no trial has seen:",
        f"offline-agents compare {shlex.join(command)}",
    )


def publish(
    trials: Sequence[Trial], warnings: Sequence[str], sweep: Sweep, config: SweepConfig, overrides: Sequence[str]
) -> None:
    assert config.output is not None  # settled before the first trial
    output = Path(config.output)
    rows, plain, (hint, command) = table(trials, sweep), numbers(trials, sweep), warning(trials, sweep.metric, config)
    caption = f"{sweep.metric} of the last evaluation, {sweep.method}"
    caption += ", mean ± standard error over seeds" if len(config.seeds) > 1 else ""
    print(f"\n{caption}")
    terminal.show(terminal.table(rows))
    print(f"\n{hint}\n  {command}")

    figures.draw_trials(
        output / "trials.png",
        {short(name): [trial.settings[name] for trial in trials] for name in sweep.varied},
        [trial.mean(sweep.metric) for trial in trials],
        log=[short(name) for name, own in sweep.varied.items() if own.get("distribution") == "log_uniform_values"],
        ylabel=next(iter(columns(trials, sweep))),
    )
    title, runs, cost = f"Sweep {sweep.name}", [run for trial in trials for run in trial.runs], costs(trials)
    lines = [*provenance.about(runs, overrides), *warnings]
    text = [
        f"# {markdown.escaped(title)}",
        f"{caption}.",
        markdown.pipes(rows),
        hint,
        f"```\n{command}\n```",
        "![trials.png](trials.png)",
    ]
    text += ["## Cost", tables.COST, markdown.pipes(cost)] if len(cost) > 1 else []
    figure = html_report.read_image(output / "trials.png", "Scores of the trials over each of the settings")
    part = html_report.Part(f"{caption}.", rows, "Trials", notes=[f"{hint} `{command}`"], images=[figure])
    parts = [part, *html_report.of_runs(cost, *provenance.places(runs, output))]
    data = json.dumps({"about": lines, "retrain": command, "trials": plain, "costs": cost}, indent=1) + "\n"
    files = {
        "results.md": "\n\n".join([*text, *lines]) + "\n",
        "results.html": html_report.page(title, lines, parts, data=data),
        "results.json": data,
        "trials.csv": tables.to_csv(plain),
    }
    provenance.write(output, files)
    print(f"\ntable:   {output / 'results.md'} (and .html, .json, trials.csv)\nfigure:  {output / 'trials.png'}")
    logged = {"runs": [row[:-1] for row in plain]}  # without the folders, which are this machine's
    best = trials[0]
    provenance.log(
        *("sweep", config, runs, logged, [output / "trials.png"]),
        output=output,
        name=f"sweep {sweep.name}: {best.algorithm} on {best.dataset}",
        overrides=[*overrides],
        sweep_file=sweep.name,
        algorithm_name=best.algorithm,
        dataset=best.dataset,
    )


def main() -> None:
    command_line.main("sweep", sweep)


if __name__ == "__main__":
    main()
