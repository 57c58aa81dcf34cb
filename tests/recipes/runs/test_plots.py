"""What a person sees at the end: the table and the plots."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

import agents
from agents.environments.adroit import ADROIT_TASKS
from recipes.reporting import images
from recipes.runs import console, figures, plots
from recipes.runs.folder import RunFolder


def result(
    returns: list[float], *, adroit: bool = False, reference: agents.Reference | None = None
) -> agents.EvalResult:
    values = np.array(returns)
    solved = np.arange(len(values)) % 2 == 0
    scores = {"d4rl": ADROIT_TASKS["pen"].d4rl_reference.score(values / 2)} if adroit else {}
    return agents.EvalResult(
        returns=values,
        lengths=np.full(len(values), 200),
        success=solved if adroit else None,
        success_last=solved if adroit else None,
        scores={**scores, **({"minari": reference.score(values)} if reference else {})},
        protocol_returns={"d4rl": values / 2} if adroit else {},
        protocol_success={"d4rl": solved} if adroit else {},
    )


PEN = result([6000.0, 4000.0], adroit=True, reference=agents.Reference(0.0, 10000.0))
PLAIN = result([-100.0, -300.0])


def test_the_shortest_word_is_the_d4rl_score_else_minaris_else_the_return() -> None:
    assert console.score(PEN) == f"d4rl score {PEN.scores['d4rl'].mean():.1f}"
    assert console.score(result([50.0], reference=agents.Reference(0.0, 100.0))) == "minari score 50.0"
    assert console.score(PLAIN) == "return -200.0"


def test_the_headline_leaves_out_what_is_not_known() -> None:
    assert console.headline(PEN) == f"return 5000 ± 1000, {console.score(PEN)}, success 50 %"
    sparse = dataclasses.replace(PLAIN, returns=np.array([0.0, 0.0, 0.0, 1.0]))
    assert console.headline(sparse) == "return 0.250 ± 0.433"
    assert console.headline(PLAIN) == "return -200 ± 100"


def test_the_table_has_a_row_for_each_policy_and_one_for_the_dataset() -> None:
    dataset = agents.load_dataset("test/pendulum-v0")
    header, iql, random, data = console.table({"iql": PEN, "absent": None, "random policy": PLAIN}, dataset)
    assert header == ["policy", "episodes", "return", "d4rl score", "minari score", "success"]
    score = f"{PEN.scores['d4rl'].mean():.1f}"
    assert iql == ["iql", "2", "5000 ± 1000", score, "50.0", "50 %"]
    assert random == ["random policy", "2", "-200 ± 100", "-", "-", "-"]
    returns = dataset.statistics.horizon_returns
    minari = dataset.reference.score(returns)
    spread = f"{returns.mean():.0f} ± {returns.std():.0f}"
    assert data == ["mean of the dataset", "8", spread, "-", f"{minari.mean():.1f}", "-"]


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    folder = RunFolder(tmp_path)
    folder.evaluations_file.write_text("step,eval/return,eval/return_std\n10,-150.0,20.0\n20,-120.0,10.0\n")
    return folder


def drawn(path: Path) -> bool:
    image = imread(path)
    return image.shape[2] in (3, 4) and len(np.unique(image.reshape(-1, image.shape[2]), axis=0)) > 20


def test_the_plot_shows_the_evaluations_beside_random_policy_and_dataset(folder, monkeypatch) -> None:
    axes = []
    subplots = images.plt.subplots

    def kept(**options):
        axes.append(subplots(**options))
        return axes[-1]

    monkeypatch.setattr(images.plt, "subplots", kept)
    dataset = agents.load_dataset("test/pendulum-v0")
    plots.Plots(folder, "iql", dataset, PLAIN).draw()
    assert drawn(folder.plot_file)
    lines = {line.get_label(): line for line in axes[0][1].lines}
    assert [*lines["iql"].get_xdata()] == [10, 20] and [*lines["iql"].get_ydata()] == [-150.0, -120.0]
    assert {*lines["random policy"].get_ydata()} == {-200.0}
    assert {*lines["mean of the dataset"].get_ydata()} == {dataset.statistics.horizon_returns.mean()}
    assert axes[0][1].get_xlabel() == "gradient steps" and "2 episodes" in axes[0][1].get_ylabel()


def test_the_page_of_training_has_a_curve_for_each_key_of_the_update_and_one_for_the_speed(folder, monkeypatch) -> None:
    folder.metrics_file.write_text(
        "step,train/loss_actor,train/qvalue,time/updates_per_second,time/sample_share,validation/loss_actor,"
        "validation/accuracy\n5,1.0,nan,9.5,0.1,,\n10,0.5,2.0,9.0,0.1,2.0,0.3\n15,0.4,,9.0,0.1,2.1,0.2\n"
    )
    drawing, figures = images.plt.subplots, []
    monkeypatch.setattr(images.plt, "subplots", lambda *args, **kw: figures.append(drawing(*args, **kw)) or figures[-1])
    plots.Plots(folder, "iql", agents.load_dataset("test/pendulum-v0"), None).draw()  # also without evaluations
    assert drawn(folder.training_plot_file) and not folder.plot_file.exists()
    ((figure, _),) = figures
    curves = {axes.get_title(): [*axes.lines[0].get_ydata()] for axes in figure.axes if axes.get_visible()}
    assert [*curves] == ["train/loss_actor", "train/qvalue", "validation/accuracy", "time/updates_per_second"]
    assert [*figure.axes[0].lines[1].get_xdata()] == [10, 15] and [*figure.axes[0].lines[1].get_ydata()] == [2.0, 2.1]
    assert curves["validation/accuracy"] == [0.3, 0.2]
    assert curves["train/loss_actor"] == [1.0, 0.5, 0.4] and curves["time/updates_per_second"] == [9.5, 9.0, 9.0]


def test_the_pages_of_a_run_that_went_online_mark_the_switch(monkeypatch) -> None:
    drawing, figures_of_plt = images.plt.subplots, []
    monkeypatch.setattr(
        images.plt, "subplots", lambda *args, **kw: figures_of_plt.append(drawing(*args, **kw)) or figures_of_plt[-1]
    )
    places = ((10, 0, 0), (20, 0, 0), (40, 30, 1))
    evaluations = [
        {"step": f"{step}", "env_step": f"{env_step}", "phase": f"{phase}", "eval/return": "1", "eval/return_std": "0"}
        for step, env_step, phase in places
    ]
    figures.returns_page(evaluations, np.zeros(2), None, algorithm="iql", title="pen")
    columns = ("online/env_step", "online/episode_return")
    metrics = [{"step": f"{step}", "train/qvalue": "1", **dict.fromkeys(columns, "")} for step in (10, 20)]
    metrics.append({"step": "30", "train/qvalue": "2", **dict.fromkeys(columns, "30")})
    figures.training_page(metrics, "iql on pen")
    (_, returns), (training, _) = figures_of_plt
    assert [*returns.lines[0].get_xdata()] == [10, 20, 50]
    assert {*returns.lines[-1].get_xdata()} == {20}
    assert [axes.get_title() for axes in training.axes] == ["train/qvalue", "online/episode_return"]
    assert all({*axes.lines[-1].get_xdata()} == {20} for axes in training.axes)


def test_estimates_have_a_page_of_their_own_beside_what_the_data_return(folder, monkeypatch) -> None:
    columns = "step,estimate/fqe,estimate/fqe_low,estimate/fqe_high,estimate/means_nothing,validation/log_prob"
    folder.evaluations_file.write_text(f"{columns}\n5,1.0,0.5,1.5,0.0,1\n8,,,,1.0,1\n10,3.0,-9.0,9.0,1.0,1\n")
    drawing, pages = images.plt.subplots, []
    monkeypatch.setattr(images.plt, "subplots", lambda *args, **kw: pages.append(drawing(*args, **kw)) or pages[-1])
    plots.Plots(folder, "iql", agents.load_dataset("test/pendulum-v0"), None, own_return=2.0).draw()
    assert drawn(folder.estimates_plot_file) and not folder.plot_file.exists()
    ((_, axes),) = pages
    lines = {line.get_label(): ([*line.get_xdata()], [*line.get_ydata()]) for line in axes.lines}
    assert lines["iql, fitted Q evaluation"] == ([5, 10], [1.0, 3.0]) and lines["means nothing"] == ([10], [3.0])
    assert {*lines["the data's own return"][1]} == {2.0} and "no score" in axes.get_ylabel()


def test_the_plot_is_not_drawn_again_at_once_unless_asked_to(folder, monkeypatch) -> None:
    now = iter([0.0, 10.0, 70.0, 71.0])
    monkeypatch.setattr(plots.time, "monotonic", lambda: next(now))
    plot = plots.Plots(folder, "iql", agents.load_dataset("test/pendulum-v0"), PLAIN)
    times = []
    monkeypatch.setattr(plots, "write_atomically", lambda path, payload: times.append(path))
    for wait in (60.0, 60.0, 60.0, 0.0):
        plot.draw(at_most_every=wait)
    assert times == [folder.plot_file] * 3


def test_without_evaluations_there_is_no_plot(folder) -> None:
    dataset = agents.load_dataset("test/pendulum-v0")
    plots.Plots(folder, "iql", dataset, None).draw()
    folder.evaluations_file.write_text("")
    plots.Plots(folder, "iql", dataset, PLAIN).draw()
    assert not folder.plot_file.exists()


def test_the_episodes_of_two_policies_are_one_plot(tmp_path) -> None:
    figures.plot_episodes(tmp_path / "returns.png", {"iql": PEN, "random policy": PLAIN}, title="pen")
    assert drawn(tmp_path / "returns.png")
    figures.plot_episodes(tmp_path / "same.png", {"iql": result([1.0]), "random policy": result([1.0])}, title="pen")
    assert drawn(tmp_path / "same.png")


@pytest.mark.filterwarnings("error")  # of matplotlib, for a character that it has no glyph for
def test_a_name_from_a_checkpoint_is_neither_a_formula_nor_a_control_character(tmp_path) -> None:
    assert images.literal("iql on D4RL/pen/human-v2") == "iql on D4RL/pen/human-v2"
    hostile = "$\\frac$ \x1b[2J\x07\n$"
    figures.plot_episodes(tmp_path / "returns.png", {hostile: PEN, "random policy": PLAIN}, title=hostile)
    assert drawn(tmp_path / "returns.png")
