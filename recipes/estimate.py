"""Estimate how good a policy is from logged data alone: a value, its interval, and when it means nothing.

For example:

    offline-agents estimate checkpoint=runs/iql/demo/pen/mixed-v1/seed0
    offline-agents estimate checkpoint=runs/discrete_bc/clinic/sepsis-v0/seed0 drawn=true estimators=[fqe,dr]
    offline-agents estimate checkpoint=runs/iql/robot/arm-v0/seed0 dataset=robot/later-v0 gamma=0.95
"""

from __future__ import annotations

from recipes.settings import command_line  # first: recipes says how torch's threads wait, before torch is loaded

if __name__ == "__main__":
    command_line.answer("estimate")  # help, and mistakes in settings, before all else is imported

import json
import sys
from pathlib import Path

from omegaconf import DictConfig

import agents
from agents.checkpoint import Checkpoint
from agents.evaluation.offline.estimation import estimate_policy
from agents.evaluation.offline.policy import policy_of
from agents.evaluation.offline.settings import GAMMA
from agents.files import write_atomically
from agents.training.precision import choose_matmul_precision
from recipes.evaluate import default_output, read_checkpoint
from recipes.reporting import estimates, terminal
from recipes.runs.datasets import read_as_trained
from recipes.runs.folder import RunFolder
from recipes.runs.process import resolve_device
from recipes.runs.validation import episodes_to_ask, has_learned_from
from recipes.settings.checks import require_place
from recipes.settings.composition import build
from recipes.settings.estimation import EstimateConfig


def estimate(cfg: DictConfig) -> None:
    config: EstimateConfig = build(cfg, "estimate")
    checkpoint, device = read_checkpoint(config.checkpoint), resolve_device(config.device)
    output = Path(config.output or default_output(checkpoint.path).with_name("estimate.json"))
    require_place("output", output.parent)
    name = f"{checkpoint.extra['algorithm']} at step {checkpoint.num_updates}"
    policy = policy_of(checkpoint.build_agent().policy, checkpoint.specs(), name=name, drawn=config.drawn)
    dataset = read_data(config, checkpoint)
    gamma = discount(config.gamma, checkpoint)
    choose_matmul_precision("auto", device)
    result = estimate_policy(
        policy,
        dataset,
        config.estimators,
        gamma=gamma,
        config=config.fqe,
        model=config.model,
        learned_from=has_learned_from(checkpoint, dataset),
        seed=config.seed,
        device=device,
    )
    print(estimates.heading(name, dataset, result.steps, gamma))
    print(f"of the policy {'as it draws its actions' if config.drawn else 'as it is deployed, which draws no action'}")
    terminal.show(terminal.table(estimates.table(result)))
    print("\n".join(estimates.remarks(result)))
    values = estimates.to_json(result, dataset, checkpoint=str(checkpoint.path), drawn=config.drawn)
    write_atomically(output, (json.dumps(values, indent=1, allow_nan=False) + "\n").encode())
    print(f"\nresults: {output}")


def read_data(config: EstimateConfig, checkpoint: Checkpoint) -> agents.OfflineDataset:
    """What the settings name, read as the data of training were; a line where the policy has learned from all of it."""
    run = RunFolder(checkpoint.path.parent.parent)
    dataset = read_as_trained(checkpoint, run, config.dataset or checkpoint.extra["dataset"])
    asked = episodes_to_ask([checkpoint], dataset, config.held_out)
    if has_learned_from(checkpoint, asked) and config.held_out is None:
        text = "train with validation=0.2, and estimates come from episodes that the policy has not learned from"
        print(f"note: {text}", file=sys.stderr)
    return asked


def discount(gamma: float | None, checkpoint: Checkpoint) -> float:
    """The one that is typed, else that of training, else 0.99."""
    return float(checkpoint.metadata["algorithm"]["fields"].get("gamma", GAMMA)) if gamma is None else gamma


def main() -> None:
    command_line.main("estimate", estimate)


if __name__ == "__main__":
    main()
