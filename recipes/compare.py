"""Compare algorithms over datasets and seeds: every run that is missing, then one table with statistics, and figures.

For example:

    python recipes/compare.py algorithms=iql,bc datasets=demo/pen/mixed-v0,demo/hammer/mixed-v0 seeds=0,1,2
    python recipes/compare.py algorithms=iql,iql_corl gradient_steps=5000 algorithm.batch_size=512
    python recipes/compare.py algorithms=iql,bc executor=slurm slurm.partition=cpu

Any other setting of recipes/train.py is handed on to every run. Interrupt it and call it again: it goes on.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig

import config as settings
import figures
import loggers
import report
import results
import tables
from agents.checkpoint import write_atomically
from config import CompareConfig, handed_on
from executors import executor
from plan import Run, is_finished, plan
from pool import Outcomes, run_jobs
from results import Curves, Section
from run import read_csv, read_settings

LISTS = ("algorithms", "datasets", "seeds")  # may be written with commas alone


def compare(config: CompareConfig, overrides: Sequence[str]) -> None:
    runs = plan(config, overrides)
    missing = [run.job for run in runs if not is_finished(run)]
    print(f"{len(runs)} runs, of which {len(runs) - len(missing)} are finished already", flush=True)
    outcomes = Outcomes({}, 0)
    if missing:
        with executor(config) as (start, workers):
            outcomes = run_jobs(missing, start=start, workers=workers)
    if outcomes.exit_code > 1:
        print("stopped; the same command goes on")
        sys.exit(outcomes.exit_code)

    finished = [run for run in runs if is_finished(run)]
    made = results.sections(
        curves(finished),
        algorithms=config.algorithms,
        datasets=config.datasets,
        seeds=config.seeds,
        baseline=baseline(config),
        num_resamples=config.num_resamples,
    )
    lost = failures(runs, outcomes)
    show(made)
    if made:
        publish(made, [*about(finished, overrides), *lost], config, overrides)
    for line in lost:
        print(f"warning: {line}", file=sys.stderr)
    sys.exit(int(bool(lost)))


def curves(finished: Iterable[Run]) -> Curves:
    """All evaluations of every run."""
    return {
        (run.dataset, run.algorithm, run.seed): [
            {name: float(value) for name, value in row.items() if value}
            for row in read_csv(run.folder.evaluations_file)
        ]
        for run in finished
    }


def baseline(config: CompareConfig) -> str:
    """What the others are to improve on."""
    return config.baseline or ("bc" if "bc" in config.algorithms else config.algorithms[0])


def failures(runs: Sequence[Run], outcomes: Outcomes) -> list[str]:
    """A line for each run that has no result."""
    lines = []
    for run in runs:
        outcome = outcomes.jobs.get(run.job.name)
        if outcome is not None and outcome.state == "failed":
            lines.append(f"{run.job.name} failed: {outcome.reason} (see {outcome.output})")
        elif not is_finished(run):
            lines.append(f"{run.job.name} has no evaluation: the data name no environment; name one by eval_env=ID")
    return lines


def about(finished: Sequence[Run], overrides: Sequence[str]) -> list[str]:
    """How the results came about, and what speaks against comparing them."""
    infos = [run.folder.info for run in finished]
    config = read_settings(finished[0].folder)
    seeds = ", ".join(str(seed) for seed in sorted({run.seed for run in finished}))
    lines = [
        f"{config.gradient_steps} gradient steps, {config.num_eval_episodes} episodes per evaluation, seeds {seeds}. "
        f"Made by `python recipes/compare.py {shlex.join(dict.fromkeys([*sys.argv[1:], *overrides]))}`.",
        "; ".join(f"{name} {version}" for name, version in infos[0]["versions"].items()) + f"; commit {commit()}.",
    ]
    if any(info["versions"] != infos[0]["versions"] for info in infos):
        lines.append("The runs were made with different versions of these packages.")
    data = {(run.dataset, info["dataset_fingerprint"]) for run, info in zip(finished, infos)}
    names = [name for name, _ in sorted(data)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        lines.append(f"The runs on {name} were not all trained on the same data: do not compare them.")
    return lines


def commit() -> str:
    """The commit of this project; unknown outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def show(made: Sequence[Section]) -> None:
    for section in made:
        print(f"\n{section.protocol.title}: last evaluation, mean ± standard error over seeds")
        print(report.aligned(tables.matrix(section, lambda cell, best: tables.spread(cell), "-")))
        for line in (*tables.sources(section), *section.notes):
            print(line)
        if section.aggregates:
            print("\nover the datasets, with 95 % stratified bootstrap intervals:")
            print(report.aligned(tables.aggregates_table(section, "-")))


def publish(made: Sequence[Section], lines: Sequence[str], config: CompareConfig, overrides: Sequence[str]) -> None:
    """Write tables and figures, and log them."""
    output = Path(config.output)
    images = {
        section.protocol.name: figures.draw(section, output, num_resamples=config.num_resamples) for section in made
    }
    numbers = tables.numbers(made)
    files = {
        "results.md": tables.to_markdown(made, lines, images),
        "results.tex": tables.to_latex(made),
        "results.json": json.dumps({"about": lines, **numbers}, indent=1) + "\n",
        **{f"{name}.csv": tables.to_csv(table) for name, table in numbers.items()},
    }
    for name, text in files.items():
        write_atomically(output / name, text.encode())
    print(f"\ntables:  {output / 'results.md'} (and .tex, .csv, .json)\nfigures: {output}/*.png (and .pdf)")
    logger = loggers.make_logger(
        config.logger,
        output,
        name="comparison",
        run_id=uuid.uuid4().hex[:8],
        job_type="compare",
        settings={**asdict(config), "overrides": [*overrides]},
        wandb=config.wandb,
    )
    loggers.log_comparison(logger, numbers, [output / name for names in images.values() for name in names])
    hint = loggers.sync_hint(logger)
    loggers.close(logger)
    if hint:
        print(f"W&B:     offline; upload by: {hint}")


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What was typed, into settings of this recipe and those that are handed on to every run; W&B's are both."""
    own, others = [], []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key in LISTS and value[:1] not in ("", "["):
            argument = f"{key}=[{value}]"
        if handed_on(key):
            others.append(argument)
        else:
            own.append(argument)
        if key.startswith("wandb."):
            others.append(argument)
    return own, others


def main() -> None:
    sys.argv[1:], overrides = split(sys.argv[1:])

    def run(cfg: DictConfig) -> None:
        compare(settings.build(cfg, "compare"), overrides)

    settings.main("compare", run)


if __name__ == "__main__":
    main()
