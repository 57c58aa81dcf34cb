"""Ours: the defaults of an algorithm, compiled, with the threads and products that ``train`` chooses; or its floor."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))


def updates(data: dict[str, np.ndarray], number: int, algorithm: str = "iql", setting: str = "") -> Callable[[], None]:
    importlib.import_module("recipes")  # before torch: it says how its threads wait
    import torch

    from agents import ALGORITHMS
    from agents.training.precision import choose_matmul_precision
    from agents.training.threads import choose_num_threads
    from contestants import random_dataset, replay_buffer

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
    buffer = replay_buffer(dataset, agent)
    if setting == "products":
        return products_alone(agent, buffer.sample(), number)
    agent.compile(buffer.sample(), "inductor", dtype=dtype)

    def run() -> None:
        for _ in range(number):
            agent.update(buffer.sample())

    return run


def products_alone(agent: Any, batch: Any, number: int) -> Callable[[], None]:
    """The floor of as many updates."""
    from scaling import floor, products

    period = floor(list(products(agent, batch)))

    def run() -> None:
        for _ in range(number // agent.rule.period):
            period()

    return run
