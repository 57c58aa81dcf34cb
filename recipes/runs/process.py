"""A run as a process: its device, its progress, and where its time goes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from tqdm import tqdm

from agents.errors import ConfigError

STAGES = ("sample", "update", "logging", "evaluation", "checkpoint")  # of a training


def resolve_device(name: str) -> torch.device:
    """The device that a setting names; a ConfigError if it is unknown or absent."""
    if name == "auto":  # CUDA where there is one
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    choice = "choose from auto, cpu, cuda, cuda:<n>"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {name!r}; {choice}") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"unsupported device {name!r}; {choice}")
    if device.type == "cuda" and (device.index or 0) >= (number := torch.cuda.device_count()):
        raise ConfigError(f"device={name}, but torch sees {number} CUDA devices; use device=cpu or auto")
    return device


def default_num_envs() -> int:
    """Episodes to simulate at once: one per core, up to where Python's interpreter lock leaves nothing to gain."""
    return min(os.cpu_count() or 1, 4)


def progress_bar(last_step: int, total: int) -> tqdm:
    """Rate, time left and latest score; in a log file, where a bar cannot redraw itself, a line every half minute."""
    # tqdm, not rich: rich writes no lines to a log, and would print on standard error what belongs to standard output
    interval = 0.1 if sys.stderr.isatty() else 30.0
    return tqdm(total=total, initial=last_step, unit="update", dynamic_ncols=True, mininterval=interval)


class Stopwatch:
    """Wall time per stage since the last reading, in seconds; a stage inside another one stops the outer."""

    def __init__(self, *stages: str) -> None:
        self._spent = dict.fromkeys(stages or STAGES, 0.0)
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self._switch()
        self._running.append(stage)
        try:
            yield
        finally:
            self._switch()
            self._running.pop()

    def read(self) -> dict[str, float]:
        spent, self._spent = self._spent, dict.fromkeys(self._spent, 0.0)
        return spent

    def _switch(self) -> None:
        now = time.perf_counter()
        if self._running:
            self._spent[self._running[-1]] += now - self._since
        self._since = now
