"""Compare algorithms over datasets and seeds: every run that is missing, then one table with statistics, and figures.

For example:

    offline-agents compare algorithms=iql,bc datasets=demo/pen/mixed-v1,demo/hammer/mixed-v1 seeds=0,1,2
    offline-agents compare algorithms=iql,iql_corl gradient_steps=5000 batch_size=512
    offline-agents compare algorithms=iql,bc executor=slurm slurm.partition=cpu

Data without an environment have estimates in the place of scores, by fitted Q evaluation. Interrupt it and call it
again: it goes on.
"""

from __future__ import annotations

from recipes.settings import command_line  # first: recipes says how torch's threads wait, before torch is loaded

if __name__ == "__main__":
    command_line.answer("compare")  # help, and mistakes in settings, before all else is imported

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from recipes.many import provenance
from recipes.many.executors import executor
from recipes.many.plan import Run, changed_data, is_finished, plan, prepare
from recipes.many.pool import Outcomes, run_jobs
from recipes.many.valuation import KEY, is_evaluated, value_runs, verdicts
from recipes.reporting import figures, html_report, latex, markdown, results, tables, terminal
from recipes.reporting.choice import choice_table
from recipes.reporting.results import Curves, Section
from recipes.runs.both_phases import online_folder
from recipes.runs.metrics_log import minutes, read_csv
from recipes.runs.recovery import Recovery, recovery, recovery_table
from recipes.settings import checks
from recipes.settings.composition import build
from recipes.settings.many_runs import CompareConfig

ENDS = {"": "value", "_low": "low", "_high": "high"}  # of the keys of an estimate


def compare(cfg: DictConfig, overrides: Sequence[str]) -> None:
    config: CompareConfig = build(cfg, "compare")
    checks.require_place("output", config.output)
    runs = plan(config, overrides)
    missing = [run for run in runs if not is_finished(run)]
    progress = f"{len(runs)} runs, of which {len(runs) - len(missing)} are finished already"
    warnings = changed_data(run for run in runs if run not in missing)
    for line in warnings:
        print(f"warning: {line}", file=sys.stderr)
    outcomes = Outcomes({}, 0)
    if not missing:
        print(progress)
    else:
        with executor(config) as (start, workers):
            prepare(missing, config)
            print(progress, flush=True)  # after whatever refuses
            outcomes = run_jobs([run.job for run in missing], start=start, workers=workers)
    stopped = outcomes.exit_code > 1
    finished = [run for run in runs if is_finished(run)]
    silent = [run for run in finished if not is_evaluated(run)]
    values = value_runs(silent, config.fqe) if silent and not stopped else {}
    data = {run.dataset: run.folder.info.get("data") or {} for run in finished}
    for run in silent:
        value = values.get(run.folder.path)
        if value and not value["beyond_log"]:  # else the episodes' own returns end where estimates go on
            data[run.dataset] = {**data[run.dataset], KEY: value["data_return"]}
    sections = results.sections(
        curves(finished, values),
        data,
        algorithms=config.algorithms,
        datasets=config.datasets,
        seeds=config.seeds,
        baseline=config.baseline or results.default_baseline(config.algorithms),
        num_resamples=config.num_resamples,
    )
    lost = provenance.failures(runs, outcomes)
    trust = verdicts(silent, values)
    judged = [run for run in finished if run not in silent] if config.select and not stopped else []
    choice = choice_table(sections, by_run(judged, value_runs(judged, config.fqe)))
    online = recovery_table(switches(finished))
    show(sections, choice, online)
    print(*trust, sep="\n", end="\n" if trust else "")
    if sections and not stopped:  # a whole comparison that is there stays
        lines = [*provenance.about(finished, overrides), *warnings, *trust, *lost]
        write(sections, choice, online, finished, lines, config, overrides)
    for line in lost:
        print(f"warning: {line}", file=sys.stderr)
    if stopped:
        print("stopped; the same command goes on")
        sys.exit(outcomes.exit_code)
    sys.exit(int(bool(lost)))


def by_run(runs: Iterable[Run], values: Mapping[Path, dict[str, Any]]) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Estimates by dataset, algorithm and seed."""
    known = (run for run in runs if run.folder.path in values)
    return {(run.dataset, run.algorithm, run.seed): values[run.folder.path] for run in known}


def curves(finished: Iterable[Run], values: Mapping[Path, Mapping[str, Any]]) -> Curves:
    """The evaluations, each with the minutes until then, after those of a random policy at step 0.

    Of a run that none evaluates, its value as estimated after the last update; without one it is left out.
    """
    curves = {}
    for run in finished:
        rows = read_csv(run.folder.evaluations_file)
        # estimates on the way are of fewer updates than those that runs are compared by
        known = [{name: value for name, value in row.items() if not name.startswith("estimate/")} for row in rows]
        numbers = [{name: float(value) for name, value in row.items() if value} for row in known]
        random = run.folder.info.get("random")
        curve = [*([{"step": 0.0, **random}] if random else []), *numbers]
        if value := values.get(run.folder.path):
            row = curve.pop() if curve else {"step": float(run.job.gradient_steps)}
            curve.append({**row, **{f"{KEY}{end}": value[name] for end, name in ENDS.items()}})
        elif not is_evaluated(run):  # rows of validation alone, or none
            continue
        times = minutes(read_csv(run.folder.metrics_file), [row["step"] for row in curve])
        timed = [{**row, "minutes": time} for row, time in zip(curve, times)]
        curves[run.dataset, run.algorithm, run.seed] = timed
    return curves


def costs(finished: Iterable[Run]) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """What the runs took, as far as they noted it, by dataset and algorithm."""
    costs: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run in finished:
        if cost := run.folder.info.get("cost"):
            costs.setdefault((run.dataset, run.algorithm), []).append(cost)
    return costs


def switches(finished: Iterable[Run]) -> dict[tuple[str, str], list[Recovery]]:
    """What came of going on online, of runs that did, by dataset and algorithm."""
    outcomes: dict[tuple[str, str], list[Recovery]] = {}
    for run in finished:
        if run.config.online_steps is None:
            continue
        if outcome := recovery(read_csv(online_folder(run.folder).evaluations_file)):
            outcomes.setdefault((run.dataset, run.algorithm), []).append(outcome)
    return outcomes


def show(sections: Sequence[Section], choice: list[list[str]], online: list[list[str]]) -> None:
    for section in sections:
        print(f"\n{section.measure.title}. {tables.caption(section, bold=sys.stdout.isatty())}")
        terminal.show(terminal.table(tables.matrix(section, "-")))
        for line in (*tables.sources(section), *section.notes):
            print(line)
        if section.aggregates:
            print("\nover the datasets, with 95 % stratified bootstrap intervals:")
            terminal.show(terminal.table(tables.aggregates_table(section, "-")))
    for caption, table in ((tables.ONLINE, online), (tables.CHOICE, choice)):
        if len(table) > 1:
            print(f"\n{caption}")
            terminal.show(terminal.table(table))


def write(
    sections: Sequence[Section],
    choice: list[list[str]],
    online: list[list[str]],
    finished: Sequence[Run],
    lines: Sequence[str],
    config: CompareConfig,
    overrides: Sequence[str],
) -> None:
    output, images = Path(config.output), {}
    for section in sections:
        options = {"num_resamples": config.num_resamples, "each_seed": config.each_seed}
        images[section.measure.name] = figures.draw(section, output, **options)
    numbers, cost = tables.numbers(sections), tables.cost_table(costs(finished), "dataset", "algorithm")
    values = {"about": lines, **numbers, "costs": cost, "choice": choice, "online": online}
    data = json.dumps(values, indent=1, allow_nan=False) + "\n"
    folders, links = provenance.places(finished, output)
    options = {"cost": cost, "choice": choice, "online": online, "folders": folders, "links": links, "data": data}
    page = html_report.comparison(sections, lines, images, output, **options)
    files = {
        "results.md": markdown.to_markdown(sections, lines, images, cost, choice, online),
        "results.html": page,
        "results.tex": latex.to_latex(sections),
        "results.json": data,
        **{f"{name}.csv": tables.to_csv(table) for name, table in numbers.items()},
    }
    provenance.write(output, files)
    rest = ", ".join([".html", ".tex", ".json", *(f"{name}.csv" for name in numbers)])
    print(f"\ntables:  {output / 'results.md'} (and {rest})")
    if pictures := [output / name for names in images.values() for name in names]:
        print(f"figures: {output}/*.png (and .pdf, .svg)")
    name = f"comparison: {', '.join(config.algorithms)} on {', '.join(config.datasets)}"
    options = {"output": output, "name": name, "overrides": [*overrides]}
    provenance.log("comparison", config, finished, numbers, pictures, **options)


def main() -> None:
    command_line.main("compare", compare)


if __name__ == "__main__":
    main()
