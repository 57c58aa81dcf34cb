"""The comparison of two commits' speed: intervals, and what it refuses."""

import math
import sys

import pytest

import regression


@pytest.mark.parametrize("number", [6, 10])
def test_the_interval_of_the_median_is_what_order_statistics_say(number):
    ordered = [float(value) for value in range(number)]
    low, high = regression.interval(ordered)
    outside = 2 * sum(math.comb(number, hits) for hits in range(int(low) + 1)) / 2**number
    assert high == number - 1 - low
    assert 1 - outside == pytest.approx({6: 0.781, 10: 0.979}[number], abs=1e-3)


def test_of_few_rounds_all_count():
    assert regression.interval([1.0, 2.0, 3.0]) == (1.0, 3.0)


@pytest.mark.parametrize("arguments", [[], ["HEAD", "--only", "iqll"]])
def test_what_is_not_there_is_refused(arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["regression.py", *arguments])
    with pytest.raises(SystemExit) as error:
        regression.main()
    assert error.value.code == 2
    assert "name the commit" in capsys.readouterr().err
