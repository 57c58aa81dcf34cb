"""Every preset as a file in every format: how far it is from the policy, how fast it acts, and how large it is.

    python benchmarks/exports.py                               what results/exports.json does not have yet
    python benchmarks/exports.py presets=iql,dt formats=onnx   of these again

Each policy is trained for 20 updates, with the networks of its preset, on the built-in data of the pen or, with choices
as actions, of the taxi. ``float16`` and ``int8`` are ONNX with such weights. The table is results/exports.md.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch

import agents
from agents.checkpoint import Checkpoint, load, save
from agents.deployment.exporting import export_policy
from agents.deployment.formats import load as load_policy
from agents.deployment.formats import module_of
from agents.deployment.latency import measure
from agents.deployment.parity import Steps, compare
from agents.errors import AgentsError
from recipes.settings.composition import build, compose, in_force, register
from recipes.settings.schema import presets as known_presets

RESULTS = Path(__file__).parent / "results" / "exports.json"
FORMATS = {
    "onnx": ("onnx", "float32"),
    "float16": ("onnx", "float16"),
    "int8": ("onnx", "int8"),
    "pt2": ("pt2", "float32"),
    "aoti": ("aoti", "float32"),
}
DATA = {"continuous": "demo/pen/mixed-v1", "discrete": "demo/taxi/mixed-v1"}
TUNED_FOR = "D4RL/pen/human-v2"  # what the presets of each dataset have a number for
NUM_UPDATES, NUM_OBSERVATIONS = 20, 1_000
HEADER = ("preset", "format", "parity", "µs, batch 1", "µs, batch 64", "KiB")


def train(preset: str, folder: Path) -> tuple[Checkpoint, agents.OfflineDataset]:
    dataset = TUNED_FOR if preset.endswith("_tuned") else DATA["continuous"]
    settings = (f"algorithm={preset}", f"dataset={dataset}", f"run_dir={folder}")
    config: Any = build(in_force(compose("train", settings)), "train")
    data = agents.load_dataset(DATA[config.algorithm.actions])
    torch.manual_seed(0)
    agent = config.algorithm.build(data.specs)
    buffer = data.replay_buffer(32, seed=0, **agent.sampling)
    for _ in range(NUM_UPDATES):
        agent.update(buffer.sample())
    extra = {"algorithm": preset, "dataset": data.id, "eval_env": None, "reference": None}
    path = save(folder / "policy.safetensors", agent, config=config.algorithm, specs=data.specs, extra=extra)
    return load(path), data


def export(checkpoint: Checkpoint, data: agents.OfflineDataset, name: str, folder: Path) -> dict[str, Any]:
    """What the table says of a file; of one that cannot be, why."""
    kind, precision = FORMATS[name]
    path = folder / f"policy{module_of(kind).ENDING}"
    try:
        export_policy(checkpoint, data, path, format=kind, precision=precision)
        policy, file = checkpoint.build_agent().policy.eval(), load_policy(path, trust=True)
        parity = compare(policy, file, data, NUM_OBSERVATIONS)
    except AgentsError as error:
        return {"refusal": str(error)}
    times = {each.batch: each for each in measure(policy, {name: file}, Steps(data).first(64)) if each.runner == name}
    return {
        "parity": str(parity).partition(": ")[2],
        "holds": parity.holds,
        "microseconds": {str(batch): [round(each.p50), round(each.p99)] for batch, each in times.items()},
        "KiB": round(path.stat().st_size / 1024),
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    """In Markdown."""
    rows = [HEADER, ("---",) * len(HEADER)]
    for preset, by_format in results.items():
        for name, row in by_format.items():
            if "refusal" in row:
                rows.append((preset, name, row["refusal"], *("",) * 3))
            else:
                times = [f"{p50:,}" for p50, _ in row["microseconds"].values()]
                rows.append((preset, name, row["parity"], *times, f"{row['KiB']:,}"))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write(results: dict[str, dict[str, Any]]) -> None:
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    how = f"{NUM_UPDATES} updates each, {NUM_OBSERVATIONS:,} observations of the data, medians of one thread"
    beside = "on a machine that did other work beside, which parity and size do not depend on"
    text = f"# Exported policies\n\nBy `python benchmarks/exports.py`: {how} {beside}.\n\n{table(results)}\n"
    RESULTS.with_suffix(".md").write_text(text)


def main() -> None:
    chosen = dict(argument.split("=") for argument in sys.argv[1:])
    presets = chosen["presets"].split(",") if "presets" in chosen else sorted(known_presets())
    formats = chosen["formats"].split(",") if "formats" in chosen else [*FORMATS]
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    register()
    warnings.simplefilter("ignore")
    for preset in presets:
        there = results.setdefault(preset, {})
        missing = [name for name in formats if chosen or name not in there]
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as name:
            checkpoint, data = train(preset, Path(name))
            for kind in missing:
                there[kind] = row = export(checkpoint, data, kind, Path(name))
                print(preset, kind, *row.values(), sep="  ", flush=True)
                write(results)
    exact = [name for name, (_, precision) in FORMATS.items() if precision == "float32"]
    held = {preset: all(results[preset].get(name, {}).get("holds", True) for name in exact) for preset in presets}
    if not all(held.values()):
        sys.exit(f"other actions than the policy's: {', '.join(preset for preset in held if not held[preset])}")


if __name__ == "__main__":
    main()
