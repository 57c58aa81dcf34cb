"""What a person sees while many runs are at work."""

from __future__ import annotations

import pytest

from recipes.many import progress
from recipes.many.progress import Board, duration, last_row


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
    shown.ended("c", "failed", "out of memory")
    failed, first, second, summary = shown.lines(24)
    assert failed == "c   failed: out of memory"
    assert first == "a   ━━━━━━━━────────        50 of 100       5/s  minari score 12.3"
    assert second.startswith("bb  ━━━━━━━━━━━─────        70 of 100       5/s")  # the 20 before are not counted
    assert summary == "2 running, 0 done, 1 failed, 1 waiting; 20 s left"  # of d alone
    assert shown.lines(2) == ["c  failed: out of memory", summary]


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


def test_in_a_terminal_the_table_is_drawn_over_itself_once_a_second(tmp_path, clock, monkeypatch, capsys) -> None:
    monkeypatch.setattr(progress.sys.stdout, "isatty", lambda: True, raising=False)
    with Board({"a": (tmp_path, 100), "b": (tmp_path, 100)}) as shown:
        shown.started("a")
        shown.draw()
        clock[0] += 0.5
        shown.draw()
        first = capsys.readouterr().out
        clock[0] += 0.6
        shown.draw()
        second = capsys.readouterr().out
    assert first.count("\n") == 2 and "\x1b[2F" not in first
    assert second.startswith("\x1b[2F")


def test_elsewhere_there_is_a_line_per_event(tmp_path, clock, capsys) -> None:
    with Board({"a": (tmp_path / "a", 100), "b": (tmp_path / "b", 100)}) as shown:
        shown.started("a")
        shown.draw()
        clock[0] += 65.0
        write(tmp_path / "a" / "metrics.csv", "step,x", "100,1", "")
        write(tmp_path / "a" / "evaluations.csv", "step,eval/return", "100,3.0", "")
        shown.ended("a", "done")
    assert capsys.readouterr().out.splitlines() == [
        "started a (1 running, 0 done, 1 waiting)",
        "done a in 1 min 5 s: return 3.0 (0 running, 1 done, 1 waiting; 1 min 5 s left)",
    ]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(3.4, "3 s"), (59.6, "1 min 0 s"), (119, "1 min 59 s"), (7260, "2 h 1 min")]
)
def test_a_duration_has_the_two_units_that_matter(seconds, shown) -> None:
    assert duration(seconds) == shown
