"""What the switch cost is counted as it is defined."""

from __future__ import annotations

import pytest

from recipes.runs.recovery import recovery


def rows(*values: float, **columns: float) -> list[dict[str, str]]:
    """Two evaluations offline, of which the second is the switch's, and one for each further value."""
    places = [(0, 0), (0, 0), *((100 * i, 1) for i in range(1, len(values)))]
    every = zip((-1.0, *values), places)
    further = {name: str(value) for name, value in columns.items()}
    return [{"eval/return": str(v), "env_step": str(e), "phase": str(float(p)), **further} for v, (e, p) in every]


@pytest.mark.parametrize(
    ("values", "drop", "steps"),
    [((5.0, 6.0, 7.0), 0.0, 0), ((5.0, 3.0, 4.0, 5.0, 2.0), 3.0, 300), ((5.0, 6.0, 1.0), 4.0, None)],
)
def test_the_drop_and_the_steps_to_make_it_up(values, drop, steps) -> None:
    outcome = recovery(rows(*values))
    assert (outcome.first, outcome.last, outcome.drop, outcome.steps_down) == (5.0, values[-1], drop, steps)
    assert outcome.regret is None
    expected = {"online/drop": drop, "online/gain": values[-1] - 5.0, "online/steps_to_recover": steps}
    assert outcome.measures() == {name: value for name, value in expected.items() if value is not None}


def test_the_regret_is_what_is_missing_to_success_or_to_a_score_of_100() -> None:
    scored = rows(0.0, 0.0, 0.0, **{"eval/minari_score": 75.0})
    assert recovery(scored).key == "eval/minari_score" and recovery(scored).regret == 0.25
    for row, success in zip(scored, (1.0, 1.0, 0.5, 1.0)):
        row["eval/success"] = str(success)
    assert recovery(scored).regret == 0.25
    assert recovery(scored).summary() == (
        "online: minari score 75.0 before, 75.0 at worst (never below), 75.0 at the end, regret 0.25"
    )


def test_there_is_none_before_the_first_evaluation_online() -> None:
    assert recovery(rows(5.0)) is None and recovery([]) is None
