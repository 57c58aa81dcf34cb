"""Arithmetic that is the same everywhere: products in a fixed order, and a hyperbolic tangent."""

from __future__ import annotations

import math

import numpy as np

from agents.data.demos import arithmetic


def test_a_policy_adds_up_its_inputs_one_after_the_other() -> None:
    rng = np.random.default_rng(0)
    weight, inputs = rng.standard_normal((45, 7)), rng.standard_normal(45)
    for output, column in zip(arithmetic.weighted_sum(weight, inputs), weight.T, strict=True):
        total = 0.0
        for entry, value in zip(column.tolist(), inputs.tolist(), strict=True):
            total += entry * value
        assert output == total  # to the last bit


def test_tanh_is_the_hyperbolic_tangent() -> None:
    x = np.concatenate([np.linspace(-30, 30, 100_001), np.geomspace(1e-12, 1e-3, 100), [0.0]])
    np.testing.assert_allclose(arithmetic.tanh(x), [math.tanh(value) for value in x], rtol=1e-14, atol=1e-16)
