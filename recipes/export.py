"""Export the policy of a checkpoint as one file for a robot, a server or a browser, and prove that it acts the same.

For example:

    offline-agents export checkpoint=runs/iql/demo/pen/mixed-v1/seed0
    offline-agents export checkpoint=runs/iql/demo/pen/mixed-v1/seed0 format=aoti output=robot/policy.pt2
    offline-agents export checkpoint=runs/iql/demo/pen/mixed-v1/seed0 guard=true rate=25
    offline-agents export checkpoint=runs/iql/demo/pen/mixed-v1/seed0 precision=int8
"""

from __future__ import annotations

from recipes.settings import command_line  # first: recipes says how torch's threads wait, before torch is loaded

if __name__ == "__main__":
    command_line.answer("export")  # help, and mistakes in settings, before all else is imported

import contextlib
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from tensordict.nn import TensorDictModuleBase

import agents
from agents.checkpoint import Checkpoint
from agents.data.units import read_units
from agents.deployment.acting import FilePolicy
from agents.deployment.exporting import contract_file, export_policy, write_policy
from agents.deployment.formats import load, module_of
from agents.deployment.latency import measure
from agents.deployment.memory import core_of
from agents.deployment.parity import TOLERANCE, Steps, compare
from agents.deployment.policy import DeployedPolicy
from recipes.evaluate import evaluation_env, read_checkpoint, tell_of_change
from recipes.reporting import terminal
from recipes.runs import console
from recipes.runs.datasets import dataset_of
from recipes.runs.folder import RunFolder
from recipes.runs.metrics_log import read_csv
from recipes.settings.checks import require_place
from recipes.settings.composition import build
from recipes.settings.deployment import ExportConfig

RUNNERS = {"onnx": "onnxruntime", "pt2": "torch.export's graph", "aoti": "AOTInductor"}


def export(cfg: DictConfig) -> None:
    config: ExportConfig = build(cfg, "export")
    checkpoint = read_checkpoint(config.checkpoint)
    run = RunFolder(checkpoint.path.parent.parent)
    output = _output(config, run)
    policy = checkpoint.build_agent().policy.eval()
    core_of(policy)  # what cannot be exported is refused before the data are read
    with contextlib.ExitStack() as stack:
        env = None
        if config.num_episodes is not None and (config.eval_env or checkpoint.extra["eval_env"]):
            env = stack.enter_context(evaluation_env(config, checkpoint))
        dataset = dataset_of(checkpoint, run)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        staged = folder / output.name
        rate, score = config.rate or read_units(dataset.id).rate or _rate(env), _last_score(run, checkpoint)
        options = {"format": config.format, "precision": config.precision, "guard": config.guard}
        export_policy(checkpoint, dataset, staged, **options, rate=rate, score=score)
        file = load(staged, trust=True)  # made here
        _prove(config, policy, file, dataset)
        write_policy(output, staged.read_bytes(), contract_file(staged).read_bytes())
        print(f"policy:   {output} ({output.stat().st_size / 1024:,.0f} KiB)\ncontract: {contract_file(output)}")
        tell_of_change(checkpoint, "the file")
        if env is not None:
            _compare_scores(config, policy, file, env)


def _output(config: ExportConfig, run: RunFolder) -> Path:
    """The file to write, whose folder there is or can be made."""
    module = module_of(config.format)
    name = Path(module.DEFAULT)
    if config.precision != "float32":
        name = name.with_suffix(f".{config.precision}{name.suffix}")
    output, ending = Path(config.output or (run.path if run.holds_run else Path()) / name), module.ENDING
    if output.suffix != ending:
        raise agents.ConfigError(f"output must end in {ending} with format={config.format}, got {str(output)!r}")
    require_place("output", output.parent)
    return output


def _prove(
    config: ExportConfig, policy: TensorDictModuleBase, file: DeployedPolicy, dataset: agents.OfflineDataset
) -> None:
    """Print how far the file's actions are from the policy's and how long each takes, or refuse the file."""
    parity = compare(policy, file, dataset, config.num_observations)
    print(f"parity:   {parity}")
    if not math.isfinite(parity.max_difference):
        raise agents.PolicyError(
            f"the file gives numbers that are not finite, in {config.precision}; nothing was written"
        )
    if not parity.holds and config.precision == "float32":
        allowed = f"{TOLERANCE:g} of half an action's range is allowed"
        raise agents.PolicyError(
            f"the file does not act as the policy does: {parity}, where {allowed}; nothing was written"
        )
    latencies = measure(policy, {RUNNERS[config.format]: file}, Steps(dataset).first(64))
    header = ["microseconds, one thread", "batch", "p50", "p99"]
    rows = [[each.runner, str(each.batch), f"{each.p50:.0f}", f"{each.p99:.0f}"] for each in latencies]
    terminal.show(terminal.table([header, *rows]))


def _compare_scores(
    config: ExportConfig, policy: TensorDictModuleBase, file: DeployedPolicy, env: agents.EvaluationEnv
) -> None:
    """A table of what both earn in the same episodes. Where contacts amplify the last bit, returns differ."""
    assert config.num_episodes is not None
    results = {
        "policy": agents.evaluate(policy, env, config.num_episodes),
        "file": agents.evaluate(FilePolicy(file), env, config.num_episodes),
    }
    terminal.show(terminal.table(console.table(results)))
    same = abs(results["file"].returns - results["policy"].returns) <= 1e-6 * abs(results["policy"].returns)
    print(f"{same.sum()} of {len(same)} episodes have the same return")
    if config.precision != "float32":
        cost = console.spread(results["policy"].returns - results["file"].returns)
        print(f"{config.precision} costs {cost} of a return")


def _rate(env: agents.EvaluationEnv | None) -> float | None:
    """Steps a second of an environment that knows how long one lasts, as MuJoCo's do."""
    if env is None:
        return None
    with env.borrow(1) as (gym_env,):
        seconds = getattr(gym_env.unwrapped, "dt", None)
    return round(1.0 / seconds, 6) if isinstance(seconds, float) and seconds > 0.0 else None


def _last_score(run: RunFolder, checkpoint: Checkpoint) -> Mapping[str, Any] | None:
    """The run's last evaluation up to the checkpoint, with its step; None where there is none."""
    if not run.holds_run:
        return None
    rows = []
    for row in read_csv(run.evaluations_file, checkpoint.num_updates):
        scores = {name: float(value) for name, value in row.items() if value and not name.startswith("estimate/")}
        rows.append({name: value for name, value in scores.items() if math.isfinite(value)})  # JSON has no NaN
    if checkpoint.extra.get("online", {}).get("stopped"):  # the policy is that of the switch again
        rows = [row for row in rows if row["phase"] == 0.0]
    rows = [row for row in rows if any(name.startswith("eval/") for name in row)] or rows
    return rows[-1] if rows and len(rows[-1]) > 1 else None  # the step alone is no score


def main() -> None:
    command_line.main("export", export)


if __name__ == "__main__":
    main()
