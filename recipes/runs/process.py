"""A run as a process: its device, its progress, and where its time goes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from tqdm import tqdm

from agents.cores import usable_cores
from agents.errors import ConfigError

STAGES = ("sample", "update", "logging", "evaluation", "checkpoint")  # of a training
TELL_EVERY = 30.0  # seconds between two lines on the progress in a log file


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
    return min(usable_cores(), 4)


def progress_bar(last_step: int, total: int, unit: str = "update") -> tqdm | ProgressLines:
    """Rate, time left and latest score."""
    # tqdm, not rich: rich would print on standard error what belongs to standard output
    if sys.stderr.isatty():
        return tqdm(total=total, initial=last_step, unit=unit, dynamic_ncols=True)
    return ProgressLines(last_step, total, unit)


class ProgressLines:
    """A progress bar's words for a log file, where nothing can be drawn over: a line every half minute, and at the end.

    It has what is used here of tqdm's bars.
    """

    def __init__(self, last_step: int, total: int, unit: str) -> None:
        self._unit = unit
        self.n, self._first, self._total, self._score = last_step, last_step, total, ""
        self._since = self._told = time.monotonic()

    def __enter__(self) -> ProgressLines:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.n > self._first:
            self._tell()

    def update(self, number: int) -> None:
        self.n += number
        if time.monotonic() - self._told >= TELL_EVERY:
            self._tell()

    def set_postfix_str(self, text: str) -> None:
        self._score = f", {text}"

    def _tell(self) -> None:
        self._told = time.monotonic()
        rate = (self.n - self._first) / max(self._told - self._since, 1e-9)
        left = tqdm.format_interval((self._total - self.n) / rate)
        text = f"step {self.n} of {self._total}, {rate:.0f} {self._unit}s/s, {left} left{self._score}"
        print(text, file=sys.stderr, flush=True)


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
