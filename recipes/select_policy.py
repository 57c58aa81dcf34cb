"""Select a run's policy from logged data alone: which of many to take, by how much, or that the data cannot tell.

For example:

    offline-agents select runs=runs dataset=demo/pen/mixed-v1
    offline-agents select runs=runs/sweeps/iql
"""

from __future__ import annotations

from recipes.settings import command_line  # first: recipes says how torch's threads wait, before torch is loaded

if __name__ == "__main__":
    command_line.answer("select_policy")  # help, and mistakes in settings, before all else is imported

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

import agents
from agents.checkpoint import Checkpoint
from agents.evaluation.offline.estimate import Estimate, difference
from agents.evaluation.offline.transitions import Transitions, read_transitions
from agents.files import write_atomically
from agents.training.precision import choose_matmul_precision
from recipes.evaluate import read_checkpoint
from recipes.many.valuation import Candidate, as_candidates, common_discount, estimates_of
from recipes.reporting import estimates, terminal
from recipes.runs.datasets import read_as_trained
from recipes.runs.folder import RunFolder
from recipes.runs.process import resolve_device
from recipes.runs.resume import ONLINE
from recipes.runs.validation import episodes_to_ask, has_learned_from
from recipes.settings.checks import require_place
from recipes.settings.composition import build
from recipes.settings.estimation import SelectConfig

ALIKE = 1e-3  # of the range of the data's returns: policies that are no further apart are rounded apart
MOST_EPISODES = 1_000_000  # beyond which it is not said how many would tell two policies apart


def select(cfg: DictConfig) -> None:
    config: SelectConfig = build(cfg, "select_policy")
    output = Path(config.output or Path(config.runs, "selection.json"))
    checkpoints = read_runs(config)
    require_place("output", output.parent)
    device, dataset = resolve_device(config.device), read_data(config, checkpoints)
    steps = read_transitions(dataset)
    candidates = choose_among(checkpoints, Path(config.runs), steps)
    gamma = common_discount(config.gamma, candidates)
    choose_matmul_precision("auto", device)
    values = estimates_of(candidates, dataset, steps, config.fqe, gamma=gamma, seed=config.seed, device=device)
    ranked = sorted(values, key=lambda estimate: (bool(estimate.refutations), -estimate.value))
    gaps = [None, *(difference(ranked[0], other) for other in ranked[1:])]
    print(estimates.heading(f"{len(ranked)} policies", dataset, steps, gamma))
    terminal.show(terminal.table(estimates.ranking(ranked, gaps)))
    lines = advice(ranked, gaps, steps)
    print("\n".join(["", *lines]))
    values = {
        "dataset": dataset.id,
        "dataset_fingerprint": dataset.fingerprint,
        "advice": lines,
        "policies": [estimates.of_estimate(estimate) for estimate in ranked],
    }
    write_atomically(output, (json.dumps(values, indent=1, allow_nan=False) + "\n").encode())
    print(f"\nresults: {output}")


def read_runs(config: SelectConfig) -> list[tuple[RunFolder, Checkpoint]]:
    """The runs in a folder with their last checkpoints, of those on one dataset."""
    root = Path(config.runs)
    paths = [path.parent for path in sorted(root.rglob("run.json"))] if root.is_dir() else []
    # one that went on in an environment learned from other steps too, and was measured there
    folders = [RunFolder(path) for path in paths if not (path / ONLINE).exists()]
    found = [(folder, read_checkpoint(str(folder.path))) for folder in folders if folder.has_checkpoint]
    on = {str(checkpoint.extra["dataset"]) for _, checkpoint in found}
    if config.dataset in on or len(on) == 1:
        wanted = config.dataset if config.dataset in on else next(iter(on))
        return [(folder, checkpoint) for folder, checkpoint in found if checkpoint.extra["dataset"] == wanted]
    if not found:
        raise agents.ConfigError(
            f"no run with a checkpoint in {root}: name the folder of a comparison's or sweep's runs"
        )
    raise agents.ConfigError(
        f"the runs in {root} are on {', '.join(sorted(on))}: choose among those on one, by dataset=ID"
    )


def read_data(config: SelectConfig, runs: Sequence[tuple[RunFolder, Checkpoint]]) -> agents.OfflineDataset:
    """What the policies are asked about; a line where some have learned from it."""
    folder, first = runs[0]
    dataset = read_as_trained(first, folder, config.dataset or first.extra["dataset"])
    checkpoints = [checkpoint for _, checkpoint in runs]
    asked = episodes_to_ask(checkpoints, dataset, config.held_out)
    if any(has_learned_from(checkpoint, asked) for checkpoint in checkpoints) and config.held_out is None:
        text = "the policies have learned from these episodes, which flatters those most that know them by heart"
        print(f"note: {text}; train all with validation=0.2, or ask others by dataset=ID", file=sys.stderr)
    return asked


def choose_among(runs: Sequence[tuple[RunFolder, Checkpoint]], root: Path, steps: Transitions) -> list[Candidate]:
    """The policies of runs; a line for each that no estimator can value on these steps."""
    names = [str(folder.path.relative_to(root)) if folder.path != root else folder.path.name for folder, _ in runs]
    candidates, reasons = as_candidates(zip(names, (checkpoint for _, checkpoint in runs)), steps)
    if reasons and not candidates:
        raise agents.ConfigError(reasons[0])
    for reason in reasons:
        print(f"warning: left out: {reason}", file=sys.stderr)
    if len(candidates) < 2:
        raise agents.ConfigError(f"{root} has {len(candidates)} policy to choose among; estimate says how good one is")
    return candidates


def advice(ranked: Sequence[Estimate], gaps: Sequence[Estimate | None], steps: Transitions) -> list[str]:
    """Which to take and by how much, or that the data cannot tell, and what would."""
    best = ranked[0]
    if best.refutations:
        return [f"take none: the estimate of {best.policy} {best.verdict}; try it in the environment, or log more data"]
    least = ALIKE * (best.data_range[1] - best.data_range[0])
    rivals = [
        estimate
        for estimate, gap in zip(ranked[1:], gaps[1:])
        if gap is not None and gap.low <= least and not estimate.refutations
    ]
    lines = [f"{best.policy} is {best.verdict}"] if best.doubts else []
    value, name = best.of_data
    if best.high < value:
        lines.append(f"all are estimated below {name}, {value:.4g}: what made the data is better")
    second = gaps[1]
    assert second is not None
    if ranked[1].refutations:
        return [f"take {best.policy}: it is the only one whose estimate means something", *lines]
    if not rivals:
        margin = f"{second.shown} above {ranked[1].policy}"
        return [f"take {best.policy}: {margin}", *lines]
    names = ", ".join(estimate.policy for estimate in rivals[:5]) + (" and others" if len(rivals) > 5 else "")
    lines.insert(0, f"the data cannot tell {best.policy}, the first, from {names}")
    margin = best.trust.margin + ranked[1].trust.margin
    number = episodes_to_tell(second, margin, steps.num_episodes) if second.value > least else None
    if number is not None:
        lines.append(f"about {number:,} episodes like these would, if the gap to the second is as it is estimated")
    elif least < second.value <= margin:
        text = "what more updates (fqe.gradient_steps) or untried actions may make of the first two"
        lines.append(f"more episodes like these would not: {text}, {margin:.4g}, is more than the gap")
    trial = f"a trial of these {len(rivals) + 1} in the environment"
    return [*lines, f"{trial} would" if number is None else f"so would {trial}"]


def episodes_to_tell(gap: Estimate, margin: float, num_episodes: int) -> int | None:
    """Episodes that would make the interval of a gap above 0 leave out 0.

    It narrows with the root of their number, but for the margin, which is no matter of how many there are.
    """
    if gap.value <= margin:
        return None
    number = num_episodes * ((gap.value - gap.low - margin) / (gap.value - margin)) ** 2
    return round(number) if num_episodes < number < MOST_EPISODES else None


def main() -> None:
    command_line.main("select_policy", select)


if __name__ == "__main__":
    main()
