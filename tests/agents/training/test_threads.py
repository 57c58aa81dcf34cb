"""Torch's threads by measurement; products are counted here, not timed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch

from agents.training import threads
from agents.training.threads import choose_num_threads

DEFAULT = 4


@pytest.fixture(autouse=True)
def by_default(monkeypatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(DEFAULT)
    yield
    torch.set_num_threads(before)


def take(monkeypatch, seconds: dict[int, float]) -> None:
    """Let a round of products take so long, by the number of threads in force."""
    clock = 0.0
    ends = itertools.cycle((False, True))

    def now() -> float:
        nonlocal clock
        clock += seconds[torch.get_num_threads()] if next(ends) else 0.0
        return clock

    monkeypatch.setattr(threads.time, "perf_counter", now)


@pytest.mark.parametrize(("alone", "chosen"), [(2.0, DEFAULT), (1.6, DEFAULT), (1.4, 1), (0.8, 1)])
def test_several_threads_have_to_be_faster_by_half(alone: float, chosen: int, monkeypatch) -> None:
    take(monkeypatch, {1: alone, DEFAULT: 1.0})
    assert choose_num_threads() == torch.get_num_threads() == chosen


@pytest.mark.parametrize("before", [1, 3])
def test_what_was_before_is_taken_again(before: int, monkeypatch) -> None:
    take(monkeypatch, {})
    assert choose_num_threads(before) == torch.get_num_threads() == before


def test_the_environment_decides(monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(DEFAULT))
    take(monkeypatch, {})
    assert choose_num_threads() == choose_num_threads(1) == DEFAULT


def test_one_thread_is_not_measured(monkeypatch) -> None:
    torch.set_num_threads(1)
    take(monkeypatch, {})
    assert choose_num_threads() == 1
