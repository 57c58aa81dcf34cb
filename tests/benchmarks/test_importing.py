"""The benchmark of imports measures each format, and keeps what was measured at full size alone."""

from __future__ import annotations

import sys

import pytest

import importing


@pytest.mark.slow
def test_every_format_is_measured(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr(sys, "argv", ["importing.py", "rows=2000"])
    monkeypatch.setattr(importing, "RESULTS", tmp_path / "importing.json")
    importing.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*importing.SOURCES]
    assert all("seconds=" in line and "peak_megabytes=" in line for line in lines)
    assert not (tmp_path / "importing.json").exists()
