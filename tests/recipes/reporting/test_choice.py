"""What estimates would have chosen, beside what trials would give."""

from __future__ import annotations

import itertools
from types import MappingProxyType

import numpy as np
import pytest

from recipes.reporting import results
from recipes.reporting.choice import choice_table, expected_best

PEN = "demo/pen/mixed-v1"
SCORES = {("iql", 0): 10.0, ("iql", 1): 40.0, ("bc", 0): 30.0, ("bc", 1): 20.0}
WORDS = ("refutations", "value")


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_the_best_of_some_is_the_mean_over_all_ways_to_try_them(k) -> None:
    scores = [3.0, -1.0, 7.0, 7.0, 0.5]
    by_hand = np.mean([max(some) for some in itertools.combinations(scores, k)])
    assert expected_best(scores, k) == pytest.approx(by_hand)


def sections() -> list[results.Section]:
    curves = {(PEN, *run): [{"step": 1.0, "eval/d4rl_score": score}] for run, score in SCORES.items()}
    options = {"algorithms": ["iql", "bc"], "datasets": [PEN], "seeds": [0, 1], "num_resamples": 5, "baseline": "bc"}
    return results.sections(curves, MappingProxyType({}), **options)


def test_the_run_of_the_highest_estimate_is_taken_unless_that_means_nothing() -> None:
    estimates = {("iql", 0): ([], 5.0), ("iql", 1): (["not finite"], 9.0), ("bc", 0): ([], 6.0), ("bc", 1): ([], 1.0)}
    table = choice_table(sections(), {(PEN, *run): dict(zip(WORDS, each)) for run, each in estimates.items()})
    assert [row[:8] for row in table[1:]] == [
        [PEN, "iql", "2", "iql, seed 0", "10.0", "30.0", "25.0", "40.0"],
        [PEN, "bc", "2", "bc, seed 0", "30.0", "0.0", "25.0", "30.0"],
        [PEN, "any", "4", "bc, seed 0", "30.0", "10.0", "25.0", "33.3"],
    ]
    assert [row[8:] for row in table[1:]] == [["", "", ""]] * 2 + [["37.5", "", ""]]


def test_runs_without_an_estimate_are_not_chosen_among() -> None:
    assert len(choice_table(sections(), {})) == 1
    one = choice_table(sections(), {(PEN, "iql", 0): {"refutations": ["wide"], "value": 1.0}})
    assert len(one) == 1
    some = {(PEN, "bc", seed): {"refutations": ["wide"], "value": float(seed)} for seed in (0, 1)}
    assert choice_table(sections(), some)[1][3] == "bc, seed 1 (its estimate means nothing)"
