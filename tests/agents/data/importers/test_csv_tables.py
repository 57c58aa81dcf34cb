"""CSV as spreadsheets of several countries write it."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from agents.errors import ConfigError, DataError

USES = {"observation": ["s"], "action": ["a"], "last_observation": "repeat"}


def values(episodes) -> list[list[float]]:
    (episode,) = episodes()
    return [episode.observations.ravel().tolist()[:-1], episode.actions.ravel().tolist()]


@pytest.mark.parametrize(
    "text",
    [
        "s;a\n1,5;-0,25\n2,5;1e-1\n",
        "s\ta\n1,5\t-0,25\n2,5\t0,1\n",
        's,a\n"1,5","-0,25"\n"2,5","0,1"\n',
        "s;a\n1;-0,25\n2,5;0,1\n",
    ],
)
def test_a_decimal_comma_is_guessed_and_said(take, episodes, text) -> None:
    Path("log.csv").write_text(text)
    imported = take("log.csv", **USES)
    assert values(episodes)[1] == [-0.25, 0.1] and values(episodes)[0][1] == 2.5
    assert imported.meaning["numbers"].startswith("with a decimal comma, since ")


@pytest.mark.parametrize("text", ['s,a\n"1,500","-2,250"\n', "s;a\n1,500;2,250\n"])
def test_what_may_be_thousands_is_not_guessed(take, text) -> None:
    Path("log.csv").write_text(text)
    with pytest.raises(DataError, match="line 2 of log.csv: the column '.' holds '.*', no number; decimal=comma if"):
        take("log.csv", **USES)
    assert take("log.csv", **USES, decimal="comma").first_rows[1][0] == "1.5"


THOUSANDS = {
    "s;a\n1.234;0,5\n": "a thousand or a fraction, beside decimal commas: write 1234 or 1,234",
    "s;a\n1.234,5;0,5\n2,5;0,1\n": "write numbers without signs between their thousands",
    "s;a\n1'234.5;0.5\n": "write numbers without signs between their thousands",
    's,a\n"1,500.5",0.5\n': "write numbers without signs between their thousands",
    "s,a\n ,0.5\n": "write numbers, leave it empty",
    "s,a\n1_000,0.5\n": "write numbers, leave it empty",
}


@pytest.mark.parametrize("text", THOUSANDS)
def test_signs_between_thousands_are_told(take, text) -> None:
    Path("log.csv").write_text(text)
    with pytest.raises(DataError, match=rf"line 2 of log.csv: the column 's' holds .*, no number; {THOUSANDS[text]}"):
        take("log.csv", **USES)


def test_a_point_among_semicolons_may_be_of_thousands_and_is_said(take) -> None:
    Path("log.csv").write_text("s;a\n1.234;1\n2.500;2\n")
    assert (
        take("log.csv", **USES, dry_run=True).meaning["numbers"]
        == "with a decimal point; if 1.234 is 1234, write it so"
    )
    Path("log.csv").write_text("s;a\n1.234;1\n2.5;2\n")
    assert "numbers" not in take("log.csv", **USES, dry_run=True).meaning


@pytest.mark.parametrize("separator", [";", "|", "\t", ","])
def test_the_separator_is_that_of_the_header(take, episodes, separator) -> None:
    Path("log.csv").write_text("s,a\n1.5,-0.25\n2.5,0.1\n".replace(",", separator))
    take("log.csv", **USES)
    assert values(episodes) == [[1.5, 2.5], [-0.25, 0.1]]


@pytest.mark.parametrize("header", ['"s, m/s";a', "s, m/s;a, V", "s, m/s, up\ta, V"])
def test_names_may_have_commas_where_another_sign_separates(take, episodes, header) -> None:
    separator = ";" if ";" in header else "\t"
    Path("log.csv").write_text(header + "\n1.5,-0.25\n2.5,0.1\n".replace(",", separator))
    take("log.csv", observation=["s*"], action=["a*"], last_observation="repeat")
    assert values(episodes) == [[1.5, 2.5], [-0.25, 0.1]]


@pytest.mark.parametrize("ending", ["csv", "CSV.GZ", "csv.gz"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_rows_without_a_value_are_none(take, episodes, monkeypatch, ending, encoding) -> None:
    """As spreadsheets leave them, between others and below them, wherever a piece of the file ends."""
    monkeypatch.setattr("agents.data.importers.csv_tables.BLOCK", 64)
    rows = [f"ä{index // 10};{index},5;0,5;{index % 10 == 9:d}" for index in range(20)]
    rows = [row for each in rows for row in ([each, ";;;"] if each[-1] == "1" else [each])] + [";;;", '"";;;', ";;;"]
    content = "\r\n".join(["run;s;a;over", *rows, ""]).encode(encoding)
    Path(f"log.{ending}").write_bytes(gzip.compress(content) if "z" in ending.lower() else content)
    imported = take(f"log.{ending}", observation=["s"], action=["a"], episode="run", terminated="over")
    assert [episode.observations.ravel()[:-1].tolist() for episode in episodes()] == [
        [first + index + 0.5 for index in range(10)] for first in (0, 10)
    ]
    assert all(episode.terminations[-1] for episode in episodes())
    assert imported.meaning["empty rows"].startswith(f"5 left out, the first in line 12 of log.{ending}; where they")


def test_a_place_below_an_empty_row_is_that_of_its_line(take) -> None:
    Path("log.csv").write_text("s;a\n1,5;0,5\n;\n2,5;\n3,5;0,5\n")
    with pytest.raises(DataError, match="line 4 of log.csv: action 'a' is missing"):
        take("log.csv", **USES)


def test_columns_without_a_name_are_none(take, episodes) -> None:
    Path("log.csv").write_text(";s;a;;\n0;1,5;-0,25;;\n1;2,5;0,1;;\n")
    take("log.csv", observation=["*"], action=["a"], last_observation="repeat")
    assert values(episodes) == [[1.5, 2.5], [-0.25, 0.1]]


def test_another_separator_and_decimal_are_set_by_a_word(take, episodes) -> None:
    Path("log.csv").write_text("s a\n1,5 2\n2,5 3\n")
    take("log.csv", **USES, separator=" ", decimal="comma", action_kind="continuous")
    assert values(episodes) == [[1.5, 2.5], [2.0, 3.0]]
    with pytest.raises(DataError, match="line 2 of log.csv: the column 's' holds '1,5', no number"):
        take("log.csv", **USES, separator=" ", decimal="point", dry_run=True)
    with pytest.raises(ConfigError, match="separator must be one character, as ';', got '::'"):
        take("log.csv", **USES, separator="::")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_names_may_be_of_any_language(take, episodes, encoding) -> None:
    text = "température; Öffnung \n1,5;0,5\n2,5;0,1\n"
    for name, content in (("log.csv", text.encode(encoding)), ("log.csv.gz", gzip.compress(text.encode(encoding)))):
        Path(name).write_bytes(content)
        imported = take(name, observation=["temp*"], action=["Öffnung"], last_observation="repeat", overwrite=True)
        assert values(episodes) == [[1.5, 2.5], [0.5, 0.1]]
        assert imported.meaning["observations"] == "température (float64)"
        assert ("text" in imported.meaning) is (encoding == "cp1252")


def test_what_is_no_text_is_a_line(take) -> None:
    Path("log.csv").write_bytes(bytes(range(256)) * 20)
    with pytest.raises(DataError, match="log.csv cannot be read as CSV"):
        take("log.csv", observation=["s"], action=["a"])


def test_a_table_without_names_is_told_of_them(take) -> None:
    Path("log.csv").write_text("0.5,1,1\n0.7,2,1\n")
    with pytest.raises(DataError, match="log.csv begins with numbers: write the names of its columns above them"):
        take("log.csv", observation=["1"], action=["0.5"])


@pytest.mark.parametrize("dates", [("31.01.2026 23:59", "01.02.2026 00:00"), ("2026-01-31T23:59", "2026-02-01 00:00")])
def test_dates_have_the_day_or_the_year_first(take, dates) -> None:
    Path("log.csv").write_text(f"t;s;a\n{dates[0]};1,5;0,5\n{dates[1]};2,5;0,5\n")
    assert take("log.csv", **USES, time="t").meaning["time between steps"] == "60"
    Path("log.csv").write_text("t;s;a\n01/02/2026;1,5;0,5\n02/02/2026;2,5;0,5\n")
    with pytest.raises(DataError, match="neither all numbers nor all dates such as 2026-01-31 12:00:00 or 31.1.2026"):
        take("log.csv", **USES, time="t", dry_run=True)


def test_flags_are_words_too(take, episodes) -> None:
    Path("log.csv").write_text("s,a,over\n1,0.5,no\n2,0.5,OFF\n3,0.5,yes\n")
    take("log.csv", observation=["s"], action=["a"], terminated="over")
    assert episodes()[0].terminations.tolist() == [False, False, True]
    Path("log.csv").write_text("s,a,over\n1,0.5,FALSCH\n2,0.5,Non\n3,0.5,WAHR\n")
    take("log.csv", observation=["s"], action=["a"], terminated="over", overwrite=True)
    assert episodes()[0].terminations.tolist() == [False, False, True]
    Path("log.csv").write_text("s,a,over\n1,0.5,no\n2,0.5,maybe\n")
    with pytest.raises(DataError, match="line 3 of log.csv: 'maybe' in 'over' is neither true nor false; write 1 or 0"):
        take("log.csv", observation=["s"], action=["a"], terminated="over", overwrite=True)


def test_what_is_no_number_with_a_comma_is_named(take) -> None:
    Path("log.csv").write_text("s;a\n1,5;2,5\n1.500,5;1,0\n")
    with pytest.raises(DataError, match="line 3 of log.csv: the column 's' holds '1.500,5', no number"):
        take("log.csv", **USES, decimal="comma")


def test_a_name_without_end_is_a_line(take, table) -> None:
    with pytest.raises(DataError, match="the names of its columns cannot be read"):
        take(table("s,a," + "x" * 200_000, [[1, 2, 3]] * 3), observation=["s"], action=["a"])


def test_a_value_may_have_several_lines(take, table, episodes, monkeypatch) -> None:
    """Wherever a piece of the file ends."""
    monkeypatch.setattr("agents.data.importers.csv_tables.BLOCK", 64)
    rows = [[index, 0.5, f'"first\nmore, of {index}"'] for index in range(40)]
    take(table("s,a,note", rows), observation=["s"], action=["a"], keep=["note"])
    (episode,) = episodes()
    assert episode.observations.ravel().tolist() == [*range(40)]
    assert episode.infos["note"][7] == b"first\nmore, of 7"


def test_times_of_a_day_are_no_times(take, table) -> None:
    rows = [[0, 0.5, "12:00:00"], [1, 0.5, "12:00:10"]]
    with pytest.raises(DataError, match="the times in 't' are neither all numbers nor all dates"):
        take(table("s,a,t", rows), observation=["s"], action=["a"], time="t")


def test_a_quote_that_is_never_closed_swallows_no_rows(take, table, episodes) -> None:
    rows = [[index, 0.5, '"pipe' if index == 5 else '5" pipe'] for index in range(10)]
    take(table("s,a,note", [row for row in rows if row[0] != 5]), observation=["s"], action=["a"])
    assert len(episodes()[0].rewards) == 8  # signs of inches are no quotes
    rows = [*rows[1:6], *([index, 0.5, "pipe"] for index in range(4))]
    with pytest.raises(DataError, match="line 6 of log.csv: a quote is opened there and never closed"):
        take(table("s,a,note", rows), "robot/arm-v1", observation=["s"], action=["a"])


def test_a_place_is_counted_in_lines(take) -> None:
    text = '\ns,a,note\n1,0.5,"first\nand more"\n\n2,0.5,b\n{},c\n'
    for row, says in (("3,", "line 7 of log.csv: action 'a' is missing"), ("x,1", "line 7 of log.csv: the column 's'")):
        Path("log.csv").write_text(text.format(row) + "4,0.5,d\n")
        with pytest.raises(DataError, match=says):
            take("log.csv", observation=["s"], action=["a"])
    Path("log.csv").write_text(text.format("3"))
    with pytest.raises(DataError, match="cannot be read as CSV: line 7 has 2 values, where the first names 3 columns"):
        take("log.csv", observation=["s"], action=["a"])


def test_two_quotes_swallow_no_rows_between_them(take, episodes) -> None:
    """What is between them is one value, by the rules of CSV; where each of its lines would be a row, it is none."""
    rows = ["1,pipe,0.5", '2,"pipe,0.5', "3,pipe,0.5", '4,pipe",0.5', "5,pipe,0.5"]
    Path("log.csv").write_text("\n".join(["s,note,a", *rows]))
    with pytest.raises(DataError, match="line 3 of log.csv: a quote is opened there and closed in line 5, and each of"):
        take("log.csv", observation=["s"], action=["a"])
    rows[2] = "pipe,of,two"
    Path("log.csv").write_text("\n".join(["s,note,a", *rows]))
    take("log.csv", observation=["s"], action=["a"])
    assert len(episodes()[0].rewards) == 2
