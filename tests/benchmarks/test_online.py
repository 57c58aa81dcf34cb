"""What the table says of a run begins at the switch, whatever came before."""

from __future__ import annotations

from online import from_the_switch


def test_scores_begin_with_those_of_the_policy_at_the_switch() -> None:
    places = [("10", "0", "0"), ("20", "0", "0"), ("40", "20", "1.0"), ("60", "40", "1.0")]
    rows = [dict(zip(("step", "env_step", "phase"), place)) for place in places]
    assert [row["step"] for row in from_the_switch(rows)] == ["20", "40", "60"]
