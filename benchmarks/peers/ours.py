"""Ours: the defaults of an algorithm, compiled, with the threads and products that ``train`` chooses."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))


def updates(data: dict[str, np.ndarray], number: int, algorithm: str = "iql", setting: str = "") -> Callable[[], None]:
    importlib.import_module("recipes")  # before torch: it says how its threads wait
    import torch

    from agents import ALGORITHMS
    from agents.training.precision import choose_matmul_precision
    from agents.training.threads import choose_num_threads
    from contestants import random_dataset
    from references import BATCH_SIZE

    cpu = torch.device("cpu")
    choose_num_threads()
    choose_matmul_precision("auto", cpu)
    config, dtype = ALGORITHMS[algorithm](), torch.float32
    if setting == "without dropout":
        config = dataclasses.replace(config, actor=dataclasses.replace(config.actor, dropout=0.0))
    elif setting == "bfloat16":
        dtype = torch.bfloat16
    dataset = random_dataset(cpu)
    assert len(dataset) == len(data["reward"]), "as many rows as the others have"
    agent = config.build(dataset.specs)
    buffer = dataset.replay_buffer(BATCH_SIZE, **agent.sampling)
    agent.compile(buffer.sample(), "inductor", dtype=dtype)

    def run() -> None:
        for _ in range(number):
            agent.update(buffer.sample())

    return run
