"""Results of a comparison or a sweep: how they came about, their files, and a run of W&B."""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from agents.files import write_atomically
from recipes.many.plan import Run, is_finished
from recipes.many.pool import Outcomes
from recipes.runs.resume import read_settings
from recipes.runs.versions import differences
from recipes.settings.command_line import invocation
from recipes.settings.many_runs import ManyRunsConfig
from recipes.tracking import loggers


def failures(runs: Sequence[Run], outcomes: Outcomes) -> list[str]:
    """A line for each run that has no result, unless it is only not finished yet."""
    lines = []
    for run in runs:
        outcome = outcomes.jobs.get(run.job.name)
        if outcome is not None and outcome.state == "failed":
            lines.append(f"{run.job.name} failed: {outcome.reason} (see {outcome.output})")
        elif not is_finished(run) and (outcome is None or outcome.state == "done"):
            lines.append(f"{run.job.name} has no checkpoint after its last update; the same command makes it again")
    return lines


def about(finished: Sequence[Run], overrides: Sequence[str]) -> list[str]:
    """How the results came about, and what speaks against comparing them."""
    command = f"{invocation()} {shlex.join(dict.fromkeys([*sys.argv[1:], *overrides]))}"
    infos = [run.folder.info for run in finished]
    config = read_settings(finished[0].folder)
    seeds = ", ".join(str(seed) for seed in sorted({run.seed for run in finished}))
    lines = [
        f"{config.gradient_steps} gradient steps, {config.num_eval_episodes} episodes per evaluation, seeds {seeds}. "
        f"Made by `{command}`.",
        "; ".join(f"{name} {version}" for name, version in infos[0]["versions"].items()) + ".",
    ]
    for name, several in differences([info["versions"] for info in infos]).items():
        lines.append(f"The runs were made with different versions of {name}: {'; '.join(several)}.")
    data = {(run.dataset, info["dataset_fingerprint"]) for run, info in zip(finished, infos)}
    for name, number in sorted(Counter(name for name, _ in data).items()):
        if number > 1:
            lines.append(f"The runs on {name} were not all trained on the same data: do not compare them.")
    return lines


def places(runs: Sequence[Run], output: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The folders of runs, from ``output``, and where W&B shows those that are online, by name."""
    folders = {run.job.name: os.path.relpath(run.folder.path, output) for run in runs}
    return folders, {run.job.name: url for run in runs if (url := run.folder.info.get("wandb_url"))}


def write(output: Path, files: Mapping[str, str]) -> None:
    """Write texts below a folder, each atomically."""
    for name, text in files.items():
        write_atomically(output / name, text.encode())


def log(
    job_type: str,
    config: ManyRunsConfig,
    runs: Sequence[Run],
    tables: Mapping[str, Sequence[Sequence[Any]]],
    images: Sequence[Path],
    *,
    output: Path,
    name: str,
    **settings: Any,
) -> None:
    """With logger=wandb, the tables and images as a run of W&B of their own, and how to upload all that is offline."""
    publish = partial(loggers.log_comparison, tables=tables, images=images)
    hint = loggers.log_once(config, output, publish, name=name, job_type=job_type, **settings)
    if config.logger != "wandb":
        return
    folders = {run.folder.path: sorted(run.folder.path.glob("wandb/*run-*")) for run in runs}
    offline = [str(part) for parts in folders.values() for part in parts if part.name.startswith("offline-")]
    own = shlex.split(hint.removeprefix(loggers.SYNC)) if hint else []
    if offline or own:
        print(f"W&B:     offline; upload by: {loggers.SYNC}{shlex.join([*offline, *own])}")
    if absent := [str(path) for path, parts in folders.items() if not parts]:
        print(f"W&B:     without {', '.join(absent)}, which were finished with another logger")
