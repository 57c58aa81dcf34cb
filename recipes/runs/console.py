"""Words on a run for a terminal: a line for an evaluation, the table at its end, and where its files are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.data.dataset import OfflineDataset
from agents.data.dataset_statistics import DatasetStatistics
from agents.environments.protocols import PROTOCOLS
from agents.evaluation.offline.estimate import Estimate
from agents.evaluation.rollouts import EvalResult
from recipes.runs.folder import RunFolder
from recipes.settings.overrides import pasted

SHOWN = ("log_prob", "action_error", "accuracy", "loss_qvalue")  # of what held-out steps say, on one line


def score(result: EvalResult) -> str:
    """The shortest word on how good a policy is: the score of its first protocol, else its return."""
    return _known_score(result) or f"return {result.returns.mean():.1f}"


def headline(
    result: EvalResult | None, validation: Mapping[str, float] | None = None, estimate: Estimate | None = None
) -> str:
    """One line on an evaluation, and on what held-out steps and the data say."""
    parts = []
    if result is not None:
        success = None if result.success is None else f"success {_percent(result.success)}"
        parts = [*filter(None, (f"return {spread(result.returns)}", _known_score(result), success))]
    names = {f"validation/{name}": name.replace("_", " ") for name in SHOWN}
    held_out = [f"{names[key]} {value:.3g}" for key, value in (validation or {}).items() if key in names]
    beside = [f"held out: {', '.join(held_out)}"] if held_out else []
    if estimate is not None:
        beside.append(", ".join(filter(None, (f"estimate {estimate.shown}", estimate.caution))))
    return "; ".join(filter(None, (", ".join(parts), *beside)))


def table(evaluations: Mapping[str, EvalResult | None], dataset: OfflineDataset | None = None) -> list[list[str]]:
    """A header, a row per evaluated policy and one for the dataset."""
    rows = [_row(name, result.returns, result) for name, result in evaluations.items() if result is not None]
    if dataset is not None:
        rows.append(_row("mean of the dataset", dataset.statistics.horizon_returns, dataset.statistics))
    scores = (f"{protocol.name} score" for protocol in PROTOCOLS)
    keys = (result.success_key for result in evaluations.values() if result is not None)
    return [["policy", "episodes", "return", *scores, next(filter(None, keys), "success")], *rows]


def print_data(dataset: OfflineDataset) -> None:
    """What there is to say at the end of a run that evaluated nothing: what the one who acted before earned."""
    returns = dataset.statistics.horizon_returns
    print(f"mean of the dataset: return {spread(returns)} in {len(returns):,} episodes; the policy was not evaluated")


def print_next(folder: RunFolder) -> None:
    """What to do with a policy that nobody has evaluated."""
    checkpoint = pasted("checkpoint", folder.path)
    ways = {
        f"offline-agents estimate {checkpoint}": "its value by the log alone, and whether that means anything",
        f"offline-agents evaluate {checkpoint} eval_env=ID": "where there is a simulator of the task",
        f"offline-agents export {checkpoint}": "one file that acts elsewhere",
        f"agents.load_policy({str(folder.checkpoints.last)!r})": "in Python: observations in, actions out",
    }
    width = max(map(len, ways))
    print("\nnext:", *(f"{way:{width}}  {purpose}" for way, purpose in ways.items()), sep="\n  ")


def print_paths(folder: RunFolder, sync_hint: str | None) -> None:
    """Where everything is, once a run has ended."""
    paths = {
        "policy": folder.checkpoints.last,
        "plot": folder.plot_file,
        "estimates": folder.estimates_plot_file,
        "training": folder.training_plot_file,
        "metrics": folder.metrics_file,
        "evaluations": folder.evaluations_file,
        "videos": folder.path / "videos",
    }
    for name, path in paths.items():
        if path.is_dir() or (path.exists() and path.stat().st_size):
            print(f"{name + ':':13}{path}")
    if sync_hint:
        print(f"{'W&B:':13}offline; upload by: {sync_hint}")


def _known_score(result: EvalResult) -> str | None:
    return next((f"{name} score {values.mean():.1f}" for name, values in result.scores.items()), None)


def _row(name: str, returns: NDArray[np.float64], measures: EvalResult | DatasetStatistics) -> list[str]:
    scores = (measures.scores.get(protocol.name) for protocol in PROTOCOLS)
    means = ("-" if values is None else f"{values.mean():.1f}" for values in scores)
    return [name, str(len(returns)), spread(returns), *means, _percent(measures.success)]


def spread(values: NDArray[Any]) -> str:
    """Mean and standard deviation, with three digits of the larger one: rewards may be thousands, or 1 at the goal."""
    mean, std = float(values.mean()), float(values.std())
    size = max(abs(mean), std)
    digits = max(0, 2 - math.floor(math.log10(size))) if 0.0 < size < 100.0 else 0
    return f"{mean:.{digits}f} ± {std:.{digits}f}"


def _percent(values: NDArray[np.bool_] | None) -> str:
    return "-" if values is None else f"{100 * values.mean():.0f} %"
