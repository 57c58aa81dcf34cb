"""The benchmark of logging compares runs of the same round."""

from __future__ import annotations

import logging_cost


def measured(clock: float, processor: float, share: float) -> dict[str, float]:
    return {
        "ms_per_update": clock,
        "processor_ms_per_update": processor,
        "logging_share": share,
        "processes_share": share / 2,
    }


def test_ratios_are_those_of_the_same_round() -> None:
    slow_then_fast = [measured(20.0, 10.0, 0.0), measured(10.0, 10.0, 0.0)]
    costly = [measured(22.0, 10.5, 0.02), measured(11.0, 10.5, 0.04)]
    summary = logging_cost.summarise({"none": slow_then_fast, "wandb": costly})["wandb"]
    assert summary["ms_per_update_to_none"] == [1.1, 1.1, 1.1] and summary["ms_per_update"] == 16.5
    row = logging_cost.table({"wandb": summary}).splitlines()[-1]
    assert row == "| wandb | 16.50 | 1.100 (1.100-1.100) | 10.50 | 1.050 (1.050-1.050) | 3.00% | 1.50% |"
