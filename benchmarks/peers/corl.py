"""CORL's algorithms (PyTorch), with its settings on pen-cloned: its ``train`` as it is, which calls for batches itself.

It trains in a thread that goes on while a round lasts, and stops where it reports an update to Weights & Biases.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np

NEVER = 10**9
FOLDERS = {"any_percent_bc": "bc"}  # of settings
# Different files have different names for one thing.
WITHOUT_EVALUATION = {"eval_freq": NEVER, "eval_frequency": NEVER, "eval_every": NEVER, "num_updates_on_epoch": NEVER}
OURS = {"device": "cpu", "log_every": 1, "buffer_size": 200_000, **WITHOUT_EVALUATION}


class Turns:
    """Lets a thread go on until it has reported a number of updates."""

    def __init__(self, number: int) -> None:
        self._number, self._reported = number, 0
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)

    def run(self) -> None:
        self._go.release()
        self._done.acquire()

    def report(self, *_: Any, **__: Any) -> None:
        """Stands for ``wandb.log``."""
        if self._reported % self._number == 0:
            if self._reported:
                self._done.release()
            self._go.acquire()
        self._reported += 1


def updates(
    data: dict[str, np.ndarray], number: int, algorithm: str = "iql", precision: str = "highest"
) -> Callable[[], None]:
    import gym
    import torch
    import wandb
    import yaml

    torch.set_float32_matmul_precision(precision)
    turns = Turns(number)
    environment = MagicMock()
    environment.observation_space.shape = data["observation"].shape[1:]
    environment.action_space.shape = data["action"].shape[1:]
    environment.action_space.high = np.ones(data["action"].shape[1])
    gym.make.return_value = environment
    gym.wrappers.TransformObservation = lambda environment, _: environment
    wandb.log = turns.report
    importlib.import_module("pyrallis").wrap.return_value = lambda train: train
    names = {"observations": "observation", "actions": "action", "rewards": "reward", "terminals": "terminated"}
    columns = {name: data[own] for name, own in {**names, "next_observations": "next_observation"}.items()}
    importlib.import_module("d4rl").qlearning_dataset.return_value = columns
    module = importlib.import_module(f"algorithms.offline.{algorithm}")
    known = inspect.signature(module.TrainConfig).parameters
    file = (
        Path(module.__file__).parents[2]
        / "configs"
        / "offline"
        / FOLDERS.get(algorithm, algorithm)
        / "pen"
        / "cloned_v1.yaml"
    )
    settings = {**yaml.safe_load(file.read_text()), **OURS}
    config = module.TrainConfig(**{name: number_of(value) for name, value in settings.items() if name in known})
    threading.Thread(target=end_with_errors, args=(module.train, config), daemon=True).start()
    return turns.run


def number_of(value: Any) -> Any:
    """YAML takes 3e-4, without a period, for text."""
    with contextlib.suppress(ValueError):
        return float(value) if isinstance(value, str) else value
    return value


def end_with_errors(train: Callable[[Any], None], config: Any) -> None:
    try:
        train(config)
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # or the round would wait for ever
