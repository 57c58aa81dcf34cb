"""What is printed: fitted to a terminal, plain elsewhere, and nothing that a file says is obeyed."""

from __future__ import annotations

import io
import re

import pytest
from rich.cells import cell_len

from recipes.reporting import terminal
from recipes.reporting.tables import Best

ROWS = [
    ["dataset", "iql", "bc"],
    ["demo/pen/mixed-v1", Best("2161 ± 38"), "-0.3 ± 1.0"],
    ["山田/maze-v0", "7.0", "-"],
]
CODE = re.compile(r"\x1b\[[\d;]*m")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def show(monkeypatch):
    """What a terminal of so many columns gets of the table."""

    def show(columns: int, **environment: str) -> str:
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"TERM": "xterm", "COLUMNS": str(columns), "LINES": "24", **environment}.items():
            monkeypatch.setenv(name, value)
        with monkeypatch.context() as patch:
            patch.setattr(terminal.sys, "stdout", file := Terminal())
            terminal.show(terminal.table(ROWS))
        return file.getvalue()

    return show


def test_columns_are_aligned_whatever_characters_they_have() -> None:
    lines = terminal.plain(terminal.table(ROWS)).split("\n")
    assert lines == [
        "dataset                  iql          bc",
        "------------------ ---------- ----------",
        "demo/pen/mixed-v1  2161 ± 38  -0.3 ± 1.0",
        "山田/maze-v0             7.0           -",
    ]
    assert {*map(cell_len, lines)} == {40}


def test_a_name_is_neither_markup_nor_a_command_to_the_terminal_nor_two_lines() -> None:
    rows = [["[bold]a[/]", ":smile:"], ["\x1b[2J\x07\x9b", "b\nc\u202e"]]
    first, _, second = terminal.plain(terminal.table(rows)).split("\n")
    assert first.split() == ["[bold]a[/]", ":smile:"]
    assert second.split() == [r"\x1b[2J\x07\x9b", "b", r"c\u202e"]


def test_elsewhere_no_line_is_broken_and_there_is_no_escape_code(capsys, monkeypatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    path = "runs/" + "long/" * 100
    terminal.show(terminal.table([["where", "score"], [path, Best("1.0")]]))
    assert capsys.readouterr().out.splitlines()[-1] == f"{path}    1.0"


def test_in_a_terminal_the_best_stands_out_and_a_dumb_one_gets_no_code(show) -> None:
    assert "\x1b[1m2161 ± 38\x1b[0m" in show(80)
    assert CODE.sub("", show(80)) == show(80, TERM="dumb")
    assert "\x1b" not in show(80, TERM="dumb")
    assert not re.search(r"\x1b\[[\d;]*[34]\d", show(80, NO_COLOR="1"))


@pytest.mark.parametrize("columns", [36, 10])
def test_on_a_narrow_terminal_cells_take_several_lines_and_no_word_is_broken_or_lost(columns, show) -> None:
    text = CODE.sub("", show(columns))
    assert {word for row in ROWS for cell in row for word in cell.split()} <= {*text.split()}
    widest = max(cell_len(line.rstrip()) for line in text.split("\n"))
    assert widest <= max(columns, 17 + 2 + 4 + 2 + 4 + 1)
