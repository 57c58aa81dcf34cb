"""What a person sees while many runs are at work."""

from __future__ import annotations

import io
import os

import pytest

from recipes.many import progress
from recipes.many.progress import Board, duration, last_row
from recipes.reporting import terminal

UP = "\x1b[1A"  # a line


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def write(path, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows))


def test_the_last_whole_row_is_read_and_a_row_that_is_being_written_is_not(tmp_path) -> None:
    path = tmp_path / "metrics.csv"
    assert last_row(path) == {}
    write(path, "step,train/loss", "")
    assert last_row(path) == {}
    write(path, "step,train/loss", *(f"{step},{'1' * 500}" for step in range(1, 41)), "")
    assert last_row(path) == {"step": "40", "train/loss": "1" * 500}
    with open(path, "a") as file:
        file.write("50,0.")
    assert last_row(path)["step"] == "40"


def test_a_run_that_nothing_evaluates_is_shown_with_its_estimate(tmp_path, clock) -> None:
    shown = Board({"a": (tmp_path / "a", 100)}, show=False)
    shown.started("a")
    write(tmp_path / "a" / "evaluations.csv", "step,validation/log_prob,estimate/fqe", "50,3.0,12.34", "")
    assert terminal.plain(shown.table(), 100).rstrip().endswith("estimate/fqe 12.3")


def test_the_table_shows_what_failed_and_what_is_running(tmp_path, clock) -> None:
    shown = Board({name: (tmp_path / name, 100) for name in ("a", "bb", "c", "d")}, show=False)
    write(tmp_path / "bb" / "metrics.csv", "step,x", "20,1", "")
    for name in ("a", "bb", "c"):
        shown.started(name)
    clock[0] += 10.0
    write(tmp_path / "a" / "metrics.csv", "step,x", "50,1", "")
    write(tmp_path / "a" / "evaluations.csv", "step,eval/return,eval/minari_score", "50,3.0,12.34", "")
    write(tmp_path / "bb" / "metrics.csv", "step,x", "20,1", "70,1", "")
    write(tmp_path / "c" / "metrics.csv", "step,x", "50,1", "")
    shown.ended("c", "failed", "out of [memory] \x1b[2J")
    lines = terminal.plain(shown.table(), 100).split("\n")
    assert lines == [
        "2 running, 0 done, 1 failed, 1 waiting; 20 s left",  # of d alone
        "a   ━━━━━━━━          50 of 100  5/s  minari score 12.3",
        "bb  ━━━━━━━━━━━       70 of 100  5/s",  # the 20 before are not counted
        "c failed: out of [memory] \\x1b[2J",
    ]


def test_the_time_left_is_at_the_pace_of_the_same_algorithm(tmp_path, clock) -> None:
    names = ("bc/pen/seed0", "bc/door/seed0", "cql/pen/seed0", "cql/door/seed0", "dt/pen/seed0")
    shown = Board({name: (tmp_path / name, 100) for name in names}, show=False)
    for name, step, seconds in (("bc/pen/seed0", 100, 10.0), ("cql/pen/seed0", 50, 90.0)):
        shown.started(name)
        clock[0] += seconds
        write(tmp_path / name / "metrics.csv", "step,x", f"{step},1", "")
        if step == 100:
            shown.ended(name, "done")
    # the other bc 10 s, half a cql and one more 90 + 180 s, dt 100 updates at 150 in 100 s
    assert shown.summary().endswith(f"; {duration(10.0 + 90.0 + 180.0 + 100.0 * 100.0 / 150.0)} left")


class Screen(io.StringIO):
    """A terminal of 8 lines as standard output."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, term: str = "xterm") -> None:
        super().__init__()
        for name, value in {"TERM": term, "COLUMNS": "60", "LINES": "8"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(progress.sys, "stdout", self)

    def isatty(self) -> bool:
        return True

    def news(self) -> str:
        """All that was printed since the last call."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


def test_in_a_terminal_the_table_is_drawn_over_itself_once_a_second(tmp_path, clock, monkeypatch) -> None:
    screen = Screen(monkeypatch)
    with Board({"a": (tmp_path, 100), "b": (tmp_path, 100)}) as shown:
        shown.started("a")
        shown.draw()
        clock[0] += 0.5
        shown.draw()
        first = screen.news()
        assert first.count("1 running") == 1 and UP not in first
        clock[0] += 0.6
        shown.draw()
        assert screen.news().startswith(f"\r\x1b[2K{UP}")
        print("a warning")
        assert "a warning\n1 running" in screen.news().rpartition(UP)[2].replace("\x1b[2K", "")  # above the table
    assert screen.news().endswith("\x1b[?25h")  # the cursor is back


def test_more_runs_than_lines_are_cut_until_the_end_which_shows_each(tmp_path, clock, monkeypatch) -> None:
    screen, names = Screen(monkeypatch), [f"run{index}" for index in range(20)]
    with Board({name: (tmp_path, 100) for name in names}) as shown:
        for name in names:
            shown.started(name)
            shown.ended(name, "failed", "why " * 30)
        shown.draw()
        cut = screen.news()
        assert "20 failed" in cut and "run19" not in cut and cut.count("\n") < 8
    last = screen.news()
    assert all(name in last for name in names) and last.count("why") == 600


def test_a_terminal_that_cannot_draw_gets_a_line_per_event(tmp_path, clock, monkeypatch) -> None:
    screen = Screen(monkeypatch, "dumb")
    with Board({"a": (tmp_path, 100)}) as shown:
        shown.started("a")
        shown.draw()
    assert screen.news() == "started a (1 running, 0 done)\n"


def test_elsewhere_there_is_a_line_per_event(tmp_path, clock, capsys) -> None:
    with Board({"a": (tmp_path / "a", 100), "b": (tmp_path / "b", 100)}) as shown:
        shown.started("a")
        shown.draw()
        clock[0] += 65.0
        write(tmp_path / "a" / "metrics.csv", "step,x", "100,1", "")
        write(tmp_path / "a" / "evaluations.csv", "step,eval/return", "100,3.0", "")
        shown.ended("a", "done")
        shown.ended("b", "failed", "\x1b[2J")
    assert capsys.readouterr().out.splitlines() == [
        "started a (1 running, 0 done, 1 waiting)",
        "done a in 1 min 5 s: return 3.0 (0 running, 1 done, 1 waiting; 1 min 5 s left)",
        r"failed b in 0 s: \x1b[2J (0 running, 1 done, 1 failed)",
    ]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(3.4, "3 s"), (59.6, "1 min 0 s"), (119, "1 min 59 s"), (7260, "2 h 1 min")]
)
def test_a_duration_has_the_two_units_that_matter(seconds, shown) -> None:
    assert duration(seconds) == shown


def test_a_run_that_starts_over_begins_at_nothing(tmp_path, clock, capsys) -> None:
    shown = Board({"seed 0": (tmp_path / "run", 200)})
    write(tmp_path / "run" / "metrics.csv", "step,x", "200,1", "")
    write(tmp_path / "run" / "evaluations.csv", "step,eval/return", "200,3.0", "")
    for file in ("metrics.csv", "evaluations.csv"):
        os.utime(tmp_path / "run" / file, (1.0, 1.0))
    shown.started("seed 0", anew=True)
    clock[0] += 10.0
    assert capsys.readouterr().out.startswith("started seed 0 (")
    assert "0 of 200" in (table := terminal.plain(shown.table(), 100)) and "return" not in table
    write(tmp_path / "run" / "metrics.csv", "step,x", "20,1", "")
    assert "20 of 200" in terminal.plain(shown.table(), 100)
