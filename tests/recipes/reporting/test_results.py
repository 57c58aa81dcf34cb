"""What a comparison says: the last evaluation of each run, one protocol at a time."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from matplotlib.image import imread

from recipes.reporting import figures, latex, markdown, published_scores, results, styles, tables
from recipes.reporting.results import Section

BOTH = ("eval/return", "eval/minari_score", "eval/d4rl_score")
PEN, DOOR = "D4RL/pen/human-v2", "D4RL/door/human-v2"


def rows(*last: float, keys: Sequence[str] = BOTH) -> list[dict[str, float]]:
    """Evaluations of a run: scores at steps 10, 20, ...; each protocol is the one before plus 1000."""
    return [
        {"step": 10.0 * (index + 1), **{key: value + 1000.0 * place for place, key in enumerate(reversed(keys))}}
        for index, value in enumerate(last)
    ]


def sections(
    curves: results.Curves,
    algorithms: Sequence[str] = ("iql", "bc"),
    num_seeds: int = 2,
    data: results.Data = MappingProxyType({}),
) -> list[Section]:
    datasets = [*dict.fromkeys(dataset for dataset, _, _ in curves)]
    options = {"algorithms": algorithms, "datasets": datasets, "seeds": range(num_seeds), "num_resamples": 200}
    return results.sections(curves, data, **options, baseline="bc")


def some_curves() -> results.Curves:
    return {
        (PEN, "iql", 0): rows(99.0, 70.0),
        (PEN, "iql", 1): rows(98.0, 74.0),
        (PEN, "bc", 0): rows(50.0, 60.0),
        (PEN, "bc", 1): rows(50.0, 72.0),
        (DOOR, "iql", 0): rows(1.0, 4.0),
        (DOOR, "iql", 1): rows(1.0, 6.0),
        (DOOR, "bc", 0): rows(1.0, -2.0),
        (DOOR, "bc", 1): rows(1.0, 0.0),
    }


@pytest.fixture
def curves() -> results.Curves:
    return some_curves()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The figures of D4RL's scores: their folder and names."""
    folder = tmp_path_factory.mktemp("drawn")
    return folder, figures.draw(sections(some_curves())[0], folder, num_resamples=50)


def cells(table: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    return {row[0]: [*row[1:]] for row in table}


def test_the_last_evaluation_counts_and_not_the_best(curves) -> None:
    cell = sections(curves)[0].cells[PEN, "iql"]
    assert cell.seeds == {0: 70.0, 1: 74.0}
    assert (cell.mean, cell.error) == (72.0, 2.0)


def test_each_protocol_has_its_own_section_and_is_never_mixed(curves) -> None:
    d4rl, minari = sections(curves)
    assert (d4rl.measure.name, minari.measure.name) == ("d4rl", "minari")
    for key, cell in d4rl.cells.items():
        assert minari.cells[key].seeds == {seed: score + 1000.0 for seed, score in cell.seeds.items()}
    means = [section.aggregates["iql"]["mean"].value for section in (d4rl, minari)]
    assert means == [(72.0 + 5.0) / 2, (1072.0 + 1005.0) / 2]


def test_statistics_over_datasets_are_those_of_the_module(curves) -> None:
    found = sections(curves)[0].aggregates
    assert found["bc"]["mean"].value == (66.0 - 1.0) / 2
    assert found["iql"]["IQM"].value == (6.0 + 70.0) / 2  # of 4, 6, 70, 74
    assert found["iql"]["optimality gap"].value == (28.0 + 95.0) / 2
    assert found["iql"]["P(better than bc)"].value == (3 / 4 + 1) / 2
    assert "P(better than bc)" not in found["bc"]
    assert found["iql"]["mean"].low < found["iql"]["mean"].value < found["iql"]["mean"].high


def test_a_dataset_without_a_score_uses_returns_and_is_in_no_statistic(curves) -> None:
    curves |= {("mine/maze-v0", name, seed): rows(7.0, keys=BOTH[:1]) for name in ("iql", "bc") for seed in (0, 1)}
    curves |= {("mujoco/ant-v0", name, seed): rows(8.0, keys=BOTH[:2]) for name in ("iql", "bc") for seed in (0, 1)}
    d4rl, minari, returns = sections(curves)
    assert [*d4rl.datasets] == [PEN, DOOR]
    assert d4rl.notes == ["Without a D4RL score, and so left out of this section: mine/maze-v0, mujoco/ant-v0."]
    assert [*minari.datasets] == [PEN, DOOR, "mujoco/ant-v0"]
    assert minari.notes == ["Without a Minari score, and so left out of this section: mine/maze-v0."]
    assert [*returns.datasets] == ["mine/maze-v0"] and returns.aggregates == {}
    assert returns.notes == ["These datasets have no normalised score: they are in no statistic over datasets."]
    assert d4rl.aggregates["iql"]["mean"].value == (72.0 + 5.0) / 2


def test_runs_that_are_missing_are_named_and_change_nothing_else(curves) -> None:
    del curves[PEN, "iql", 1], curves[DOOR, "bc", 0], curves[DOOR, "bc", 1]
    d4rl, _ = sections(curves)
    assert d4rl.notes == [
        f"iql on {PEN}: 1 of 2 seeds.",
        f"bc on {DOOR}: 0 of 2 seeds.",
        "Not on every dataset, and so in no statistic over datasets: bc.",
    ]
    assert [*d4rl.aggregates] == ["iql"] and "P(better than bc)" not in d4rl.aggregates["iql"]
    assert cells(tables.matrix(d4rl, "-"))[DOOR] == ["5.0 ± 1.0", "-"]


def test_seeds_without_an_estimate_are_named() -> None:
    curves = {(PEN, name, seed): rows(1.0, keys=["estimate/fqe"]) for name, seed in (("iql", 0), ("iql", 1), ("bc", 0))}
    (section,) = sections(curves)
    assert section.notes == [results.ESTIMATE.meaning, f"bc on {PEN}: 1 of 2 seeds."]


@pytest.mark.parametrize(("low", "parted"), [(8.5, True), (7.0, False), (None, True)])
def test_estimates_are_parted_where_neither_seeds_nor_data_leave_it_open(low, parted) -> None:
    """The data's intervals of all seeds are about [low, 12] and [4, 8]."""

    def row(value: float, seed: int, bounds: tuple[float, float]) -> list[dict[str, float]]:
        known = {} if low is None else dict(zip(results.ESTIMATE.details, bounds))
        return [{"step": 1.0, "estimate/fqe": value + seed / 100, **known}]

    curves = {(PEN, "iql", seed): row(10.0, seed, (low, 12.0)) for seed in (0, 1, 2)}
    curves |= {(PEN, "bc", seed): row(6.0, seed, (4.0, 8.0)) for seed in (0, 1, 2)}
    (section,) = sections(curves)
    best, other = section.cells[PEN, "iql"], section.cells[PEN, "bc"]
    assert other.parted_from(best) is best.parted_from(other) is parted
    assert [type(cell) for cell in tables.matrix(section, "")[1][1:]] == [tables.Best, str if parted else tables.Best]
    assert "90 % interval and its own overlap" in tables.caption(section)


def test_a_dataset_that_no_run_has_finished_yet_is_said_to_be_so(curves) -> None:
    options = {"algorithms": ("iql", "bc"), "seeds": (0, 1), "baseline": "bc", "num_resamples": 50}
    for section in results.sections(curves, {}, datasets=[PEN, DOOR, "demo/pen/mixed-v1"], **options):
        assert section.notes == ["No run has finished on demo/pen/mixed-v1."]


def test_nothing_finished_is_no_section() -> None:
    assert sections({}) == []


def test_curves_are_those_of_all_seeds_at_the_steps_they_share(curves) -> None:
    curves[PEN, "iql", 1] = rows(98.0, 74.0)[1:]
    cell = sections(curves)[0].cells[PEN, "iql"]
    assert cell.steps.tolist() == [20.0] and cell.scores.tolist() == [[70.0], [74.0]]


def test_the_mean_of_the_data_stands_beside_each_protocols_scores_where_it_is_known(curves, tmp_path) -> None:
    d4rl, minari = sections(curves, data={PEN: {"data/d4rl_score": 65.0, "data/return": 9.0}, DOOR: {}})
    assert d4rl.data == {PEN: 65.0} and minari.data == {}
    shown = cells(tables.matrix(d4rl, "-"))
    assert shown["dataset"] == ["data", "iql", "bc"] and shown[PEN] == ["65.0", "72.0 ± 2.0", "66.0 ± 6.0"]
    assert shown[DOOR][0] == "-" and shown["published"] == ["-", "3.3", "2.3"]
    assert "mean of the recorded episodes" in tables.caption(d4rl) and "recorded" not in tables.caption(minari)
    header, *found = tables.numbers([d4rl, minari])["datasets"]
    assert [row[header.index("data")] for row in found[:4]] == [65.0, 65.0, None, None]
    first, second = figures.curves(d4rl).axes
    (line,) = (line for line in first.lines if line.get_label() == "data")
    assert {*line.get_ydata()} == {65.0} and "data" not in {line.get_label() for line in second.lines}


def test_published_scores_stand_below_ones_own_in_d4rls_protocol_alone(curves) -> None:
    d4rl, minari = (tables.matrix(section, "-") for section in sections(curves))
    assert [row[0] for row in d4rl] == ["dataset", PEN, "published", DOOR, "published"]
    assert d4rl[2] == ["published", "78.5", "71.0"] and d4rl[4] == ["published", "3.3", "2.3"]
    assert [row[0] for row in minari] == ["dataset", PEN, DOOR]
    assert tables.sources(sections(curves)[0]) == [
        "published: CORL, 4 seeds, 1M updates (bc: by the squared error)",
        "published: CORL, 4 seeds, 1M updates (iql: by the settings of iql_corl)",
    ]


def test_published_scores_are_those_of_the_tables_they_come_from() -> None:
    # the averages that the sources print, of numbers with more digits
    averages = dict(zip(published_scores.COLUMNS, (48.2, 10.4, 55.7, 1.5, 53.4, 59.4, 49.2, 53.4)))
    assert len(published_scores.SCORES) == 12
    for name, average in averages.items():
        scores = [published_scores.published("d4rl", dataset, name) for dataset in published_scores.SCORES]
        assert sum(scores) / 12 == pytest.approx(average, abs=0.1)
    assert published_scores.published("d4rl", PEN, "iql_corl") == published_scores.published("d4rl", PEN, "iql") == 78.5
    assert published_scores.published("d4rl", "demo/pen/mixed-v1", "iql") is None
    assert published_scores.published("d4rl", PEN, "edac") is None
    assert {*published_scores.COLUMNS, *published_scores.SAME} == set(published_scores.SOURCES)


def test_markdown_has_every_number_of_the_comparison(curves) -> None:
    page = markdown.to_markdown(sections(curves), ["Made somehow."], {"d4rl": ["curves_d4rl.png"]})
    assert page.startswith("# Comparison\n\nMade somehow.\n\n## D4RL score\n")
    assert f"| {PEN} | **72.0 ± 2.0** | **66.0 ± 6.0** |" in page
    assert f"| {DOOR} | bc | -1.0 | 1.0 | 0: -2.0, 1: 0.0 |" in page
    assert "![curves_d4rl.png](curves_d4rl.png)" in page
    assert "## Minari score" in page
    lines = [line for line in page.splitlines() if line.startswith("| iql |")]
    assert lines[0].startswith("| iql | 38.5 [") and lines[0].count("[") == 4


def test_the_best_of_large_estimates_is_bold_in_latex_too() -> None:
    curves = {(PEN, name, 0): rows(value, keys=["estimate/fqe"]) for name, value in (("iql", 12345.0), ("bc", 678.0))}
    (section,) = sections(curves)
    assert r"\textbf{1.23e+04}" in latex.to_latex([section])


def test_latex_has_the_same_tables_and_no_special_character_is_left(curves) -> None:
    curves = {(dataset, {"bc": "td3_bc"}.get(name, name), seed): run for (dataset, name, seed), run in curves.items()}
    text = latex.to_latex(sections(curves, ("iql", "td3_bc")))
    assert rf"{PEN} & $\mathbf{{72.0 \pm 2.0}}$ & $\mathbf{{66.0 \pm 6.0}}$ \\" in text
    assert r"dataset & iql & td3\_bc \\" in text and "95 \\%" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 4
    outside = text.replace(r"\_", "").replace(r"\%", "")
    assert "_" not in outside and "%" not in outside


def test_names_mean_nothing_in_markdown_latex_and_csv(curves) -> None:
    hostile = "a|b<i>`c`*d*[e](f)\\\n\x1b[2J"
    renamed = {(hostile, name, seed): run for (dataset, name, seed), run in curves.items() if dataset == PEN}
    d4rl, _ = made = sections(renamed)
    assert markdown.escaped(hostile) == r"a\|b&lt;i>\`c\`\*d\*[e]\(f)\\ \\x1b[2J"
    page = markdown.to_markdown(made, [], {})
    assert f"| {markdown.escaped(hostile)} | **72.0 ± 2.0** | **66.0 ± 6.0** |\n" in page and "\x1b" not in page
    del renamed[hostile, "bc", 0]
    page = markdown.to_markdown(sections(renamed), [], {})
    assert f"\n\nbc on {markdown.escaped(hostile)}: 1 of 2 seeds.\n\n" in page
    (row,) = (line for line in latex.to_latex([d4rl]).splitlines() if line.startswith("a\\textbar{}b"))
    assert row.startswith(
        r"a\textbar{}b\textless{}i\textgreater{}`c`*d*[e](f)\textbackslash{} \textbackslash{}x1b[2J & $\mathbf"
    )
    formula = [["name", "value"], ["=1+1", -1.5], ["@x", "-y"], ["a=b", "\tz"]]
    assert tables.to_csv(formula) == "name,value\n'=1+1,-1.5\n'@x,'-y\na=b,'\tz\n"


def test_csv_files_hold_numbers_as_they_are(curves) -> None:
    found = tables.numbers(sections(curves))
    texts = {name: [*csv.DictReader(io.StringIO(tables.to_csv(table)))] for name, table in found.items()}
    assert len(texts["runs"]) == 16 and len(texts["datasets"]) == 8 and len(texts["aggregates"]) == 14
    assert texts["runs"][1] == {
        **{"protocol": "d4rl", "dataset": PEN, "algorithm": "iql", "seed": "1", "score": "74.0"}
    }
    assert texts["datasets"][0] == {
        **{"protocol": "d4rl", "dataset": PEN, "algorithm": "iql", "num_seeds": "2"},
        **{"mean": "72.0", "standard_error": "2.0", "published": "78.5", "data": ""},
    }
    first = texts["aggregates"][0]
    assert (first["statistic"], first["value"]) == ("mean", "38.5") and float(first["low"]) < 38.5


def test_one_seed_has_neither_error_nor_interval(curves) -> None:
    alone = {key: run for key, run in curves.items() if key[2] == 0}
    found = tables.numbers(sections(alone))
    assert {row[5] for row in found["datasets"][1:]} == {row[4] for row in found["aggregates"][1:]} == {None}
    assert "NaN" not in json.dumps(found)
    d4rl, _ = sections(alone, num_seeds=1)
    assert math.isnan(d4rl.cells[PEN, "iql"].error)
    assert cells(tables.matrix(d4rl, "-"))[PEN] == ["70.0", "60.0"]
    assert cells(tables.aggregates_table(d4rl, "-"))["iql"] == ["37.0", "37.0", "63.0", "1.00"]
    assert cells(tables.seeds_table(d4rl, "-"))[DOOR] == ["bc", "-2.0", "-", "0: -2.0"]
    assert "± nan" not in markdown.to_markdown([d4rl], [], {}) and "nan" not in latex.to_latex([d4rl])


@pytest.mark.parametrize(("value", "shown"), [(3.14159, "3.1"), (-0.26, "-0.3"), (999.94, "999.9"), (12345.6, "12346")])
def test_a_number_has_as_many_digits_as_a_few_episodes_can_tell_apart(value, shown) -> None:
    assert tables.number(value) == shown


@pytest.mark.parametrize(
    ("scores", "bold"),
    [
        ({"a": (1.7, 0.3, 4.0), "b": (0.3, 0.2, 0.4)}, {"a", "b"}),  # the noise is larger than the lead
        ({"a": (70.0, 71.0, 72.0), "b": (50.0, 51.0, 52.0)}, {"a"}),
        ({"a": (70.0, 72.0), "b": (50.0, 52.0), "c": (-9.0, -9.0)}, {"a"}),
        ({"a": (70.0,), "b": (1.0,)}, {"a", "b"}),  # nothing is known of their spread
    ],
)
def test_bold_is_whatever_the_seeds_do_not_part_from_the_highest_mean(scores, bold) -> None:
    runs = {(PEN, name, seed): rows(score) for name, own in scores.items() for seed, score in enumerate(own)}
    section = sections(runs, (*scores,))[0]
    (row,) = (row for row in tables.matrix(section, "-") if row[0] == PEN)
    assert {name for name, cell in zip(scores, row[1:]) if isinstance(cell, tables.Best)} == bold
    few = {1: "One seed has no interval", 2: "Two seeds say next to nothing"}.get(len(scores["a"]), "parts it from it.")
    assert few in tables.caption(section) or len(scores["a"]) == 3


def test_an_algorithm_looks_the_same_whatever_it_is_compared_with_and_lines_differ_without_colour() -> None:
    looks = [styles.line(name) for name in styles.ORDER]
    assert len({(look["color"], str(look["linestyle"]), look["marker"]) for look in looks}) == len(looks)
    grey = [(str(look["linestyle"]), look["marker"]) for look in looks[:9]]
    assert len({*grey}) == 9 and len({look["color"] for look in looks[:9]}) == 9
    assert styles.line("mine") == styles.line("mine")
    shown = (
        "iql",
        "iql_official",
        "bc",
        "bc_top",
        "td3_bc",
        "awac",
        "rebrac",
        "dt_small",
        "cql_small",
    )  # on our own pages
    assert len({*map(styles.color, shown)}) == len(shown)


def test_an_svg_is_drawn_in_the_readers_ink_and_a_narrow_one_is_narrower(drawn) -> None:
    folder, _ = drawn
    wide, narrow = ((folder / f"curves_d4rl{end}.svg").read_text() for end in ("", "_narrow"))
    widths = [float(re.search(r'width="([\d.]+)pt"', text)[1]) for text in (wide, narrow)]
    assert widths[1] < 300 < widths[0]
    for text in (wide, narrow):
        assert "prefers-color-scheme: dark" in text and "currentColor" in text and figures.INK not in text


def test_curves_over_minutes_end_where_the_runs_did(curves) -> None:
    for seed in (0, 1):
        timed = [{**row, "minutes": m + seed} for row, m in zip(curves[PEN, "iql", seed], (0.0, 0.25))]
        curves = {**curves, (PEN, "iql", seed): timed}
    axes = figures.curves(sections(curves)[0], clock=True).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert [*lines] == ["iql"] and lines["iql"].get_xdata().tolist() == [0.5, 0.75]
    axes.figure.canvas.draw()
    assert not [text for text in axes.get_xticklabels() if text.get_text().endswith("m")]  # 500m is no time
    seeds = figures.curves(sections(curves)[0], each_seed=True).axes[0].lines
    assert [line.get_ydata()[-1] for line in seeds[1:3]] == [70.0, 74.0]


def test_figures_are_drawn_for_print_and_for_the_page(drawn) -> None:
    folder, names = drawn
    assert names == ["curves_d4rl.png", "intervals_d4rl.png", "profiles_d4rl.png"]
    for name in names:
        image = imread(folder / name)
        assert len(np.unique(image.reshape(-1, image.shape[2]), axis=0)) > 20
        assert (folder / name).with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def test_the_learning_curve_is_the_mean_with_a_band_of_one_standard_error(curves) -> None:
    figure = figures.curves(sections(curves)[0])
    axes = figure.axes[0]
    assert [axes.get_title() for axes in figure.axes] == [PEN, DOOR]
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["iql"].get_xdata().tolist() == [10.0, 20.0] and lines["iql"].get_ydata().tolist() == [98.5, 72.0]
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert {70.0, 74.0} <= {*band.tolist()}


def test_the_interval_plot_shows_every_statistic_and_its_bounds(curves) -> None:
    section = sections(curves)[0]
    figure = figures.intervals(section)
    assert [axes.get_title() for axes in figure.axes] == [*results.STATISTICS, "P(better than bc)"]
    mean = section.aggregates["iql"]["mean"]
    bar = figure.axes[0].patches[0]
    assert (bar.get_x(), bar.get_x() + bar.get_width()) == pytest.approx((mean.low, mean.high))
    assert {*figure.axes[0].lines[0].get_xdata()} == {mean.value}


def test_figures_of_one_run_and_of_returns_can_be_drawn(tmp_path) -> None:
    one = {("mine/maze-v0", "iql", 0): rows(7.0, keys=BOTH[:1])}
    (returns,) = sections(one, ("iql",), num_seeds=1)
    assert figures.draw(returns, tmp_path, num_resamples=50) == ["curves_return.png"]
    one = {(PEN, "iql", 0): rows(7.0)}
    assert len(figures.draw(sections(one, ("iql",), num_seeds=1)[0], tmp_path, num_resamples=50)) == 3


@pytest.fixture(autouse=True)
def close_figures():
    yield
    figures.plt.close("all")
