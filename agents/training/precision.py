"""The precision of float32 products, chosen by measurement."""

from __future__ import annotations

import math
import time

import torch

from agents.errors import require_choice
from agents.training.settings import MATMUL_PRECISIONS


def choose_matmul_precision(precision: str, device: torch.device) -> str:
    """Set the precision of float32 products for this process; returns what it is now.

    Which of high and medium round their inputs to fewer bits, and which are faster, depends on the processor (on a CPU
    they are another library's exact products, or bfloat16; on a GPU TF32): ``auto`` measures the error and the time of
    one product, and goes on from highest to what is as exact and needs less than three quarters of the time. A smaller
    gain could be one of the clock's, and the choice, with the rounding of all that follows, another at each start.
    """
    require_choice("matmul_precision", precision, MATMUL_PRECISIONS)
    chosen = precision
    if precision == "auto":
        measured = _measure_products(device)
        chosen = "highest"
        for candidate in ("high", "medium"):
            error, seconds = measured[candidate]
            if error <= 2.0 * measured["highest"][0] and seconds < 0.75 * measured[chosen][1]:
                chosen = candidate
    torch.set_float32_matmul_precision(chosen)
    return chosen


def _measure_products(device: torch.device) -> dict[str, tuple[float, float]]:
    """Largest error, and seconds, of a float32 product of two ``[256, 256]`` of standard normal numbers, by precision.

    In turns, and the shortest of each, as others may be at work too; by one thread, since several wait for each other
    for as long as others are at work, which made one precision look many times as fast as its equal.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 256, 256, generator=generator)
    ours, theirs, exact = x.to(device), y.to(device), x.double() @ y.double()
    products, seconds = {}, dict.fromkeys(("highest", "high", "medium"), math.inf)
    for _ in range(30):
        for name in seconds:
            torch.set_float32_matmul_precision(name)
            start = time.perf_counter()
            products[name] = (ours @ theirs).cpu()  # on a GPU: wait
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    torch.set_num_threads(num_threads)
    return {name: ((products[name].double() - exact).abs().max().item(), seconds[name]) for name in seconds}
