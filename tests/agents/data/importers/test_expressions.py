"""Rewards as expressions: numbers as NumPy has them, and nothing of Python's."""

from __future__ import annotations

import numpy as np
import pytest

from agents.data.importers.expressions import parse
from agents.errors import ConfigError

COLUMNS = {"cost": np.array([1.0, 2.0, 4.0]), "flow in": np.array([0, 5, -3]), "x": np.array([1.0, 0.0, 9.0])}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("-cost", [-1.0, -2.0, -4.0]),
        ("-cost - 0.5 * `flow in` ** 2", [-1.0, -14.5, -8.5]),
        ("(x > 0) * 10 - cost", [9.0, -2.0, 6.0]),
        ("clip(`flow in`, -1, 1) + max(cost, 3) / 2", [1.5, 2.5, 1.0]),
        ("min(abs(`flow in`), sqrt(x))", [0.0, 0.0, 3.0]),
        ("1 / x", [1.0, np.inf, 1 / 9]),
        ("x * 0 + 2", [2.0, 2.0, 2.0]),
    ],
)
def test_an_expression_is_what_it_says(text, values) -> None:
    np.testing.assert_allclose(parse(text).evaluate(COLUMNS), values)


def test_the_columns_that_it_needs_are_known_before() -> None:
    assert [*parse("-cost - `flow in` * cost").columns.values()] == ["cost", "flow in"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("__import__('os').system('true')", "is not allowed|unknown function"),
        ("cost.__class__", "'cost.__class__' is not allowed"),
        ("[cost for cost in x]", "is not allowed"),
        ("cost[0]", "is not allowed"),
        ("lambda: cost", "is not allowed"),
        ("eval(cost)", "unknown function 'eval'; there are abs"),
        ("abs(cost, x)", "abs takes 1 values, got 2"),
        ("max(*cost)", "max takes 2 values|is not allowed"),
        ("abs(x=cost)", "is not allowed"),
        ("1 < cost < 2", "is not allowed"),
        ("cost and x", "is not allowed"),
        ("'a' + cost", "is not allowed"),
        ("True * cost", "is not allowed"),
        ("cost +", "is no expression"),
        ("cost\nx", "is no expression"),
        ("1 + 2", "names no column"),
        ("", "is no expression"),
        ("(" * 300 + "cost" + ")" * 300, "is no expression"),
        ("-" * 201 + "cost", "is no expression"),
        ("-" * 900 + "cost", "is no expression"),
        ("9" * 900 + " * cost", "is no expression"),
        ("cost + " * 200 + "cost", "longer than 1000 characters"),
    ],
)
def test_anything_else_is_refused_before_it_is_computed(text, says) -> None:
    with pytest.raises(ConfigError, match=says):
        parse(text)


def test_a_long_sum_is_an_expression() -> None:
    assert parse("+".join(200 * "x")).evaluate({"x": np.ones(1)}) == 200


def test_a_tower_of_powers_takes_no_time() -> None:
    assert not np.isfinite(parse("cost * 9**9**9**9").evaluate(COLUMNS)).any()
