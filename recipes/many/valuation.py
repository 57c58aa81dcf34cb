"""What runs are worth where nothing evaluates them: an estimate from their data, under a key of its own.

``select`` ranks runs by it, and a comparison or a sweep whose data name no environment ends with it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import agents
from agents.checkpoint import Checkpoint, load
from agents.evaluation.offline.estimate import Estimate
from agents.evaluation.offline.fqe import fitted_q_evaluation
from agents.evaluation.offline.policy import Policy, check_fit, policy_of
from agents.evaluation.offline.settings import FQE_VERSION, GAMMA, FQEConfig
from agents.evaluation.offline.support import outside_support
from agents.evaluation.offline.transitions import Transitions, read_transitions
from agents.files import write_atomically
from recipes.many.plan import Run
from recipes.reporting.estimates import of_estimate
from recipes.runs.datasets import read_as_trained
from recipes.runs.folder import RunFolder
from recipes.runs.metrics_log import read_csv
from recipes.runs.validation import episodes_to_ask, has_learned_from

KEY = "estimate/fqe"
FILE = "valuation.json"  # in a run's folder: what it was worth, so that the same call does not fit it again


@dataclass(frozen=True)
class Candidate:
    """A run that could be taken."""

    checkpoint: Checkpoint
    policy: Policy


def as_candidates(runs: Iterable[tuple[str, Checkpoint]], steps: Transitions) -> tuple[list[Candidate], list[str]]:
    """The policies of runs by name, and a line for each that no estimator can value on these steps."""
    candidates, reasons = [], []
    for name, checkpoint in runs:
        try:
            policy = policy_of(checkpoint.build_agent().policy, checkpoint.specs(), name=name)
            check_fit(policy, steps.specs, steps.dataset)
        except agents.AgentsError as error:
            reasons.append(str(error))
        else:
            candidates.append(Candidate(checkpoint, policy))
    return candidates, reasons


def common_discount(gamma: float | None, candidates: Sequence[Candidate]) -> float:
    """The one that is typed, else that of the runs that have learned with one, else 0.99; a line if they differ."""
    if gamma is not None:
        return gamma
    fields = [candidate.checkpoint.metadata["algorithm"]["fields"] for candidate in candidates]
    gammas = sorted({float(own["gamma"]) for own in fields if "gamma" in own})
    if len(gammas) == 1:
        return gammas[0]
    if gammas:
        names = ", ".join(f"{each:g}" for each in gammas)
        print(f"note: the runs learned with gamma={names}; all are valued with {GAMMA}, or gamma=G", file=sys.stderr)
    return GAMMA


def estimates_of(
    candidates: Sequence[Candidate],
    dataset: agents.OfflineDataset,
    steps: Transitions,
    fqe: FQEConfig,
    *,
    gamma: float,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> list[Estimate]:
    """The values of policies that are fitted together, in their order, with what is known beside the fit."""
    policies = [candidate.policy for candidate in candidates]
    values = fitted_q_evaluation(policies, steps, fqe, gamma=gamma, seed=seed, device=device, progress=True)
    estimates = []
    for candidate, value in zip(candidates, values):
        share = outside_support(candidate.policy, steps, seed=seed)
        learned = has_learned_from(candidate.checkpoint, dataset)
        estimates.append(value.knowing(outside_support=share, learned_from=learned))
    return estimates


def is_evaluated(run: Run) -> bool:
    """Whether a finished run has been evaluated in an environment."""
    rows = read_csv(run.folder.evaluations_file)
    return any(value and key.startswith("eval/") for key, value in (rows[-1] if rows else {}).items())


def value_runs(runs: Sequence[Run], fqe: FQEConfig, *, gamma: float | None = None) -> dict[Path, dict[str, Any]]:
    """Estimates of finished runs, as ``valuation.json`` has them, by folder; a warning for each that can have none.

    Runs on the same data are fitted together, with the discount that they have in common unless one is given. What has
    been valued before in the same way is not fitted again. Nothing is raised: the runs were long, and others have more
    to show.
    """
    valued: dict[Path, dict[str, Any]] = {}
    by_data: dict[str, list[tuple[Run, Checkpoint]]] = {}
    for run in runs:
        try:
            checkpoint = load(run.folder.checkpoints.last)
        except agents.CheckpointError as error:
            _warn(str(error))
        else:
            by_data.setdefault(str(checkpoint.extra["dataset_fingerprint"]), []).append((run, checkpoint))
    for pairs in by_data.values():
        try:
            valued |= _value_together(pairs, fqe, gamma)
        except agents.AgentsError as error:  # no rewards, a single episode, no longer here
            _warn(str(error))
    return valued


def verdicts(runs: Iterable[Run], values: Mapping[Path, Mapping[str, Any]]) -> list[str]:
    """A line for each estimate: its interval, which the spread over seeds does not show, and what speaks against it."""
    known = [(run.job.name, values[run.folder.path]) for run in runs if run.folder.path in values]
    return [f"{name}: {v['value']:.3g} ({v['low']:.3g} to {v['high']:.3g}), {v['verdict']}" for name, v in known]


def _warn(reason: str) -> None:
    print(f"warning: without an estimate: {reason}", file=sys.stderr)


def _value_together(
    pairs: Sequence[tuple[Run, Checkpoint]], fqe: FQEConfig, gamma: float | None
) -> dict[Path, dict[str, Any]]:
    """The estimates of runs on the same data."""
    run, checkpoint = pairs[0]
    checkpoints = [checkpoint for _, checkpoint in pairs]
    dataset = episodes_to_ask(checkpoints, read_as_trained(checkpoint, run.folder, run.dataset), None)
    steps = read_transitions(dataset)
    by_name = {run.job.name: run for run, _ in pairs}
    candidates, reasons = as_candidates(((run.job.name, checkpoint) for run, checkpoint in pairs), steps)
    for reason in reasons:
        _warn(reason)
    gamma = common_discount(gamma, candidates)
    held_out = None if dataset.whole is None else checkpoint.extra["validation"]
    how = {"data": dataset.fingerprint, "held_out": held_out, "gamma": gamma, "fqe": asdict(fqe), "method": FQE_VERSION}
    of_run = {each.policy.name: {"step": each.checkpoint.num_updates, **how} for each in candidates}
    known = {name: _read(by_name[name].folder, how) for name, how in of_run.items()}
    missing = [candidate for candidate in candidates if known[candidate.policy.name] is None]
    if missing:
        print(f"estimating {len(missing)} policies from {run.dataset} by fitted Q evaluation", flush=True)
    for estimate in estimates_of(missing, dataset, steps, fqe, gamma=gamma) if missing else ():
        name = estimate.policy
        known[name] = of_estimate(estimate)
        text = json.dumps({"how": of_run[name], "estimate": known[name]}, indent=1, allow_nan=False)
        write_atomically(by_name[name].folder.path / FILE, (text + "\n").encode())
    valued = {}
    for name, value in known.items():
        assert value is not None
        if any(value[end] is None for end in ("value", "low", "high")):
            _warn(f"{name} {value['verdict']}")
        else:
            valued[by_name[name].folder.path] = value
    return valued


def _read(folder: RunFolder, how: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        kept = json.loads((folder.path / FILE).read_text())
        return kept["estimate"] if kept["how"] == how else None
    except (OSError, ValueError, TypeError, KeyError):
        return None
