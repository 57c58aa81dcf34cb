"""The number of torch's threads, chosen by measurement."""

from __future__ import annotations

import os
import time

import torch

ROUNDS, PRODUCTS = 16, 20  # a tenth of a second on an idle machine
MARGIN = 1.5  # as much faster several have to be: on two idle cores they are by 1.8 to 2, beside others by 0.1 to 1.3


def choose_num_threads(before: int | None = None) -> int:
    """Set the number of torch's threads in this process; returns what it is now.

    Several threads wait for each other after each product, by spinning for a while. Where other processes are at work
    on their cores, the one that is waited for may not be running, and an update takes several times as long as that of
    one thread, which loses its share to them and no more. So several are taken where they make products like an
    update's clearly faster, and one otherwise. ``OMP_NUM_THREADS`` decides where it is set.

    Args:
        before: how many an earlier part of the run had: they are taken again, since another number rounds differently.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        several = torch.get_num_threads()
        torch.set_num_threads(before or (several if several > 1 and _faster(several) else 1))
    return torch.get_num_threads()


def _faster(several: int) -> bool:
    """Than one thread: by the clock, in turns, all of it counted: what others take at times is what is to be seen."""
    left, right = torch.ones(2, 256, 256)
    seconds = {several: 0.0, 1: 0.0}
    for _ in range(ROUNDS):
        for number in seconds:
            torch.set_num_threads(number)
            start = time.perf_counter()
            for _ in range(PRODUCTS):
                torch.mm(left, right)
            seconds[number] += time.perf_counter() - start
    return seconds[1] > MARGIN * seconds[several]
