"""What the table says of a run begins at the switch, whatever came before, and it has a row that can be repeated."""

from __future__ import annotations

from online import CHECKED, from_the_switch, is_of, read_rows, summary


def test_scores_begin_with_those_of_the_policy_at_the_switch() -> None:
    places = [("10", "0", "0"), ("20", "0", "0"), ("40", "20", "1.0"), ("60", "40", "1.0")]
    rows = [dict(zip(("step", "env_step", "phase"), place)) for place in places]
    assert [row["step"] for row in from_the_switch(rows)] == ["20", "40", "60"]


def test_the_committed_table_has_the_row_that_is_checked() -> None:
    rows = read_rows()
    assert [row for row in rows if is_of(CHECKED, row)]
    assert summary(rows).count("\n") == 1 + len({(row["dataset"], row["online"], row["online_steps"]) for row in rows})


def test_the_bound_of_a_gain_is_that_of_the_seeds() -> None:
    """Two seeds with mean gains of 1 and 3: a standard error of 1, and 12.706 of it at one degree of freedom."""
    row = {"dataset": "d", "online": "iql", "online_steps": 1, "scores": [1.0, 2.0], "regret": 0.0}
    rows = [{**row, "gains": gains} for gains in ([0.0, 2.0], [3.0, 3.0])]
    assert "| 2.0 (>= -10.7) |" in summary(rows)
