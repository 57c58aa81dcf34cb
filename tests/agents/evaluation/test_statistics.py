"""The statistics of a comparison against values by hand, in closed form, and of the paper's own code."""

from __future__ import annotations

import numpy as np
import pytest

from agents.errors import ConfigError
from agents.evaluation import statistics
from agents.evaluation.statistics import (
    estimate,
    iqm,
    mean,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    standard_error,
)

X = [[32.0, 44.0, 34.0, 56.0, 30.0], [20.0, 94.0, 36.0, 68.0, 108.0], [98.0, 101.0, 106.0, 90.0, 102.0]]
Y = [[18.0, 29.0, 41.0, 39.0, 32.0], [68.0, 60.0, 69.0, 87.0, 50.0], [81.0, 84.0, 85.0, 77.0, 89.0]]
THRESHOLDS = [0.0, 30.0, 50.0, 70.0, 95.0, 120.0]
# rliable 1.2.0, the code of arXiv 2108.13264, on X and Y: point estimate, then its 95 % interval from 50,000 resamples
RLIABLE = {
    "mean": (mean, (X,), 67.93333, 57.73333, 78.13333),
    "iqm": (iqm, (X,), 69.0, 54.33333, 83.33333),
    "iqm of the other": (iqm, (Y,), 63.22222, 57.33333, 69.11111),
    "optimality gap": (optimality_gap, (X,), 33.2, 23.73333, 42.8),
    "probability of improvement": (probability_of_improvement, (X, Y), 0.733333, 0.553333, 0.906667),
}
RLIABLE_PROFILE = (
    [1.0, 0.866667, 0.6, 0.466667, 0.333333, 0.0],
    [1.0, 0.666667, 0.4, 0.333333, 0.2, 0.0],
    [1.0, 1.0, 0.8, 0.6, 0.466667, 0.0],
)


@pytest.mark.parametrize("name", RLIABLE)
def test_estimates_are_those_of_the_papers_own_code(name) -> None:
    statistic, runs, value, low, high = RLIABLE[name]
    found = estimate(statistic, *runs, num_resamples=20_000)
    assert found.value == pytest.approx(value, rel=1e-5)
    # both bounds are percentiles of random resamples: they agree up to a step or two of their lattices
    np.testing.assert_allclose([found.low, found.high], [low, high], rtol=0.015)


def test_the_profile_is_that_of_the_papers_own_code() -> None:
    found = estimate(lambda runs: performance_profile(runs, THRESHOLDS), X, num_resamples=5_000)
    value, low, high = RLIABLE_PROFILE
    np.testing.assert_allclose(found.value, value, atol=1e-5)
    np.testing.assert_allclose([found.low, found.high], [low, high], atol=1 / 15 + 1e-5)  # a run of fifteen


def test_the_interquartile_mean_is_the_mean_of_the_middle_half_of_all_runs() -> None:
    assert iqm([[0.0, 10.0, 20.0, 1000.0]]) == 15.0
    assert iqm([[0.0, 1000.0], [10.0, 20.0]]) == 15.0  # whichever task they belong to
    assert iqm([[0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 1000.0]]) == 30.0  # one of seven at each end: five remain
    assert iqm([[1.0, 2.0, 6.0]]) == 3.0  # too few to leave one out


def test_every_task_counts_the_same_however_many_seeds_it_has() -> None:
    runs = [[100.0, 100.0, 100.0], [0.0]]
    assert mean(runs) == 50.0
    assert optimality_gap(runs) == 50.0
    assert performance_profile(runs, [50.0]) == 0.5
    assert probability_of_improvement(runs, [[0.0], [1.0, 2.0]]) == 0.5


def test_what_is_above_the_target_makes_up_for_nothing() -> None:
    assert optimality_gap([[150.0, 50.0]]) == 25.0
    assert optimality_gap([[150.0, 100.0]]) == 0.0
    assert optimality_gap([[1.0, 3.0]], target=2.0) == 0.5


def test_improvement_counts_pairs_and_half_of_the_ties() -> None:
    assert probability_of_improvement([[3.0, 1.0]], [[2.0, 1.0]]) == (1 + 1 + 0 + 0.5) / 4
    assert probability_of_improvement(X, X) == 0.5
    assert probability_of_improvement(X, Y) == pytest.approx(1.0 - probability_of_improvement(Y, X))


def test_improvement_over_a_normal_baseline_is_known() -> None:
    rng = np.random.default_rng(0)
    found = probability_of_improvement([rng.normal(1.0, 1.0, 2000)], [rng.normal(0.0, 1.0, 2000)])
    assert found == pytest.approx(0.76025, abs=0.02)  # the normal distribution function at 1 / sqrt(2)


def test_a_profile_falls_from_one_to_zero_and_its_area_is_the_mean() -> None:
    thresholds = np.linspace(0.0, 120.0, 12_001)
    profile = performance_profile(X, thresholds)
    assert profile[0] == 1.0 and profile[-1] == 0.0 and (np.diff(profile) <= 0).all()
    assert profile.mean() * 120.0 == pytest.approx(mean(X), abs=0.02)  # E[score] of scores that are not negative


def test_the_standard_error_of_the_mean() -> None:
    assert standard_error([1.0, 3.0]) == 1.0
    assert standard_error([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]) == pytest.approx(np.sqrt(32 / 7 / 8))
    assert np.isnan(standard_error([1.0]))


def test_the_bootstrap_of_two_runs_has_three_outcomes() -> None:
    found = estimate(mean, [[0.0, 10.0]], confidence=0.4, num_resamples=20_000)
    assert (found.value, found.low, found.high) == (5.0, 5.0, 5.0)  # 0, 5, 10 with probabilities 1/4, 1/2, 1/4
    found = estimate(mean, [[0.0, 10.0]], confidence=0.6, num_resamples=20_000)
    assert (found.low, found.high) == (0.0, 10.0)


def test_the_interval_of_many_normal_runs_is_the_one_of_the_normal_distribution() -> None:
    runs = np.random.default_rng(0).normal(50.0, 10.0, (1, 400))
    found = estimate(mean, runs, num_resamples=20_000)
    half = 1.96 * runs.std() / np.sqrt(400)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.03)
    assert found.high - found.value == pytest.approx(half, rel=0.05)


def test_intervals_hold_the_true_value_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        found = estimate(mean, rng.normal([[10.0], [90.0]], 5.0, (2, 20)), num_resamples=500)
        held += found.low <= 50.0 <= found.high
    assert 0.90 <= held / 200 <= 0.98


def test_resampling_stays_within_a_task() -> None:
    found = estimate(mean, [[0.0, 0.0, 0.0], [100.0, 100.0, 100.0]])
    assert (found.value, found.low, found.high) == (50.0, 50.0, 50.0)  # tasks far apart widen nothing
    found = estimate(mean, [[0.0], [90.0, 110.0]])
    assert (found.low, found.high) == (45.0, 55.0)


def test_a_single_run_of_each_task_has_no_interval() -> None:
    found = estimate(iqm, [[1.0], [3.0]])
    assert found.value == 2.0 and np.isnan(found.low) and np.isnan(found.high)
    found = estimate(lambda runs: performance_profile(runs, THRESHOLDS), [[1.0], [3.0]])
    assert found.value.shape == (6,) and np.isnan(found.low).all()


def test_the_same_runs_have_the_same_interval_always() -> None:
    assert estimate(iqm, X) == estimate(iqm, X)
    assert estimate(iqm, X, seed=1) != estimate(iqm, X)


def test_leading_dimensions_are_computed_at_once() -> None:
    both = [np.stack([task, other]) for task, other in zip(X, Y)]  # T of [2, S]
    for statistic in (mean, iqm, optimality_gap, lambda runs: performance_profile(runs, THRESHOLDS)):
        np.testing.assert_allclose(statistic(both), [statistic(X), statistic(Y)])
    np.testing.assert_allclose(probability_of_improvement(both, both), [0.5, 0.5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean([]), "at least one task"),
        (lambda: iqm([[1.0], []]), "at least one run of every task"),
        (lambda: probability_of_improvement(X, Y[:2]), "the same tasks, got 3 and 2"),
        (lambda: estimate(mean, X, confidence=95), r"confidence must lie in \(0, 1\), got 95"),
        (lambda: estimate(mean, X, num_resamples=0), "num_resamples must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_computed_is_refused(call, message) -> None:
    with pytest.raises(ConfigError, match=message):
        call()


def test_scores_of_whole_numbers_are_scores() -> None:
    assert statistics.mean([[1, 2], [3, 4]]) == 2.5
