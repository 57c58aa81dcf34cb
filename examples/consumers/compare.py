"""Three programs that act by an exported policy, and whether they act the same: ``make consumers``.

A small Decision Transformer, which remembers the episode, is trained for 20 updates and exported; then act.py, act.cpp
and act.mjs act through an episode of the data. What is not installed (a C++ compiler, node, onnxruntime-web) is named.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import agents
from agents.deployment.acting import parts_of
from agents.deployment.formats import load
from agents.deployment.parity import Steps

HERE = Path(__file__).parent
TRAIN = (
    "algorithm=dt_small", "algorithm.actor.width=32", "algorithm.actor.num_layers=1", "gradient_steps=20",
    "eval_every=20", "num_eval_episodes=1", "compile=off", "device=cpu", "logger=none",
)  # fmt: skip
NUM_STEPS = 50
TOLERANCE = 1e-5


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = folder / "run"
        recipe("train", *TRAIN, f"run_dir={run}", cwd=folder)
        for kind, file in (("onnx", "policy.onnx"), ("aoti", "code.pt2")):
            if kind == "onnx" or shutil.which(os.environ.get("CXX", "g++")):
                settings = (f"format={kind}", f"output={folder / file}", "num_episodes=null", "num_observations=500")
                recipe("export", f"checkpoint={run}", *settings, cwd=folder)
        expected = write_episode(folder)
        results = {}
        for consumer, command in commands(folder):
            lines = subprocess.run(command, shell=True, cwd=HERE, capture_output=True, text=True)
            if lines.returncode:
                sys.exit(f"{consumer} failed: {lines.stderr}")
            actions = np.array([json.loads(line) for line in lines.stdout.splitlines()])
            results[consumer] = float(np.abs(actions - expected).max())
            print(f"{consumer}: {len(actions)} actions, largest difference {results[consumer]:.2g}")
    if max(results.values()) > TOLERANCE:
        sys.exit(f"more than {TOLERANCE:g}")


def recipe(*arguments: str, cwd: Path) -> None:
    """Run a command of this project, and show what it says only if it fails."""
    done = subprocess.run([sys.executable, "-m", "recipes", *arguments], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}\n{done.stdout}{done.stderr}")


def write_episode(folder: Path) -> NDArray[np.float64]:
    """The first steps of the data as the consumers read them, and the actions of the policy there."""
    policy, data = load(folder / "policy.onnx"), Steps(agents.load_dataset("demo/pen/mixed-v1"))
    observations, rewards = data.first(NUM_STEPS), [0.0, *map(float, data.rewards(np.arange(NUM_STEPS - 1)))]
    steps, lines, actions = [], [], []
    for row, reward in zip(observations, rewards):
        parts = parts_of(policy.contract, row[None])
        values = {part.name: parts[part.key][0] for part in policy.contract.observations}
        steps.append({"observation": {name: value.tolist() for name, value in values.items()}, "reward": reward})
        lines.append(" ".join(repr(float(number)) for value in values.values() for number in value.reshape(-1)))
        lines[-1] += f" {reward!r}"
        actions.append(policy({key: value[0] for key, value in parts.items()}, reward).reshape(-1))
    (folder / "episode.json").write_text(json.dumps(steps))
    (folder / "episode.txt").write_text("\n".join(lines))
    return np.array(actions, np.float64)


def commands(folder: Path) -> Iterator[tuple[str, str]]:
    """The consumers that can run here, with the shell's line for each."""
    yield "python", f"{sys.executable} act.py {folder}/policy.onnx {folder}/episode.json"
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) and shutil.which("make"):
        subprocess.run(["make", "--silent", f"PYTHON={sys.executable}", f"CXX={compiler}"], cwd=HERE, check=True)
        yield "c++", f"./act {folder}/code.pt2 < {folder}/episode.txt"
    else:
        print(f"c++: skipped, there is no {compiler} or no make")
    if shutil.which("node") is None:
        print("node: skipped, it is not installed")
    elif not (HERE / "node_modules/onnxruntime-web").exists():
        print("node: skipped, onnxruntime-web is not installed: npm install in examples/consumers")
    else:
        yield "node", f"node act.mjs {folder}/policy.onnx {folder}/episode.json"


if __name__ == "__main__":
    main()
