"""The benchmark of logging compares runs of the same round."""

from __future__ import annotations

import logging_cost


def test_ratios_are_those_of_the_same_round() -> None:
    slow_then_fast = [{"ms_per_update": 20.0, "logging_share": 0.0}, {"ms_per_update": 10.0, "logging_share": 0.0}]
    costly = [{"ms_per_update": 22.0, "logging_share": 0.02}, {"ms_per_update": 11.0, "logging_share": 0.04}]
    summary = logging_cost.summarise({"none": slow_then_fast, "wandb": costly})["wandb"]
    assert summary["ratio_to_none"] == 1.1 and summary["lowest_and_highest_ratio"] == [1.1, 1.1]
    assert summary["ms_per_update"] == 16.5 and summary["logging_share"] == 0.03
    row = logging_cost.table({"wandb": summary}).splitlines()[-1]
    assert row == "| wandb | 16.50 | 1.100 (1.100-1.100) | 3.00% |"
