"""Workspace and report: a panel for every key that a run logged and none without data, the protocols apart, saved over
HTTP or written to a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest

import agents
from agents import metrics
from recipes import dashboard
from recipes.reporting import styles
from recipes.reporting.markdown import escaped
from recipes.tracking import panels, wandb_project, wandb_report, wandb_workspace

RUN = "runs/iql/test/pendulum-v0/seed0"
PAGE = Path(agents.__file__).parents[1] / "docs/one_run.md"
D4RL, MINARI = {"d4rl_score", "d4rl_return"}, {"minari_score", "return", "return_std"}
NO_NETWORK = """
import socket
def no_network(*_, **__):
    print("NETWORK")
    raise OSError
socket.getaddrinfo = no_network
"""


@pytest.fixture(scope="module")
def offline(quick_train, run_recipe, as_adroit, tmp_path_factory) -> Path:
    """Folder with an offline W&B run of training and one of evaluation."""
    folder = tmp_path_factory.mktemp("offline")
    trained = quick_train(
        "logger=wandb", "algorithm.max_grad_norm=1.0", "validation=0.25", cwd=folder, before=as_adroit
    )
    assert trained.code == 0, trained.err
    settings = (f"checkpoint={RUN}", "num_episodes=2", "num_envs=1", "logger=wandb", "wandb.mode=offline")
    evaluated = run_recipe("evaluate", *settings, cwd=folder, before=as_adroit)
    assert evaluated.code == 0, evaluated.err
    return folder


@pytest.fixture(scope="module")
def project(offline) -> wandb_project.Project:
    """What the two runs logged, as W&B's own reader tells it."""
    return wandb_project.from_files(offline / "runs", "offline-agents")


def trained(**settings: Any) -> wandb_project.Run:
    """A run that logged little."""
    known = {"algorithm_name": "iql", "dataset": "pen", "seed": 0, "gradient_steps": 10, "algorithm.expectile": 0.7}
    scores = {"eval/d4rl_score": 1.0, "final/d4rl_score": 1.0, "eval/minari_score": 2.0, "final/minari_score": 2.0}
    of_run = {"batch_size": 256, "num_eval_episodes": 20}
    return wandb_project.Run({**known, **of_run, **settings}, {**scores, "train/loss_qvalue": 3.0, "train/step": 10})


@pytest.fixture
def several() -> wandb_project.Project:
    """Two algorithms on two tasks with two seeds each, and another expectile for one of them."""
    runs = [
        trained(algorithm_name=algorithm, dataset=dataset, seed=seed)
        for algorithm in ("bc", "iql")
        for dataset in ("door", "pen")
        for seed in (0, 1)
    ]
    return wandb_project.Project("lab", "grasp", (*runs, trained(**{"algorithm.expectile": 0.9, "seed": 2})))


def shown(drawn: Any) -> set[str]:
    """The keys in a view's or report's panels, without settings."""
    every = drawn.sections if hasattr(drawn, "sections") else drawn.blocks
    keys = {key for part in every for panel in getattr(part, "panels", []) for key in dashboard.keys_of(panel)}
    return {key for key in keys if "/" in key}


def grids(report: Any) -> Iterator[tuple[str, Any]]:
    """Every panel grid with the chapter that it is in."""
    chapter = ""
    for block in report.blocks:
        chapter = block.text if type(block).__name__ == "H1" else chapter
        if type(block).__name__ == "PanelGrid":
            yield chapter, block


# What is shown -------------------------------------------------------------------------------------------------------


def test_every_key_of_a_run_has_a_panel_or_a_reason_and_no_panel_is_empty(project) -> None:
    keys = set(project.keys("train"))
    assert {"train/grad_norm", "eval/returns", "eval/episodes", "data/returns", "time/memory", "eval/d4rl_score"} < keys
    view = wandb_workspace.workspace(project)
    assert shown(view) <= keys
    without = keys - shown(view)
    assert all(panels.reason(key) for key in without)
    assert {key for key in without if not key.startswith("final/")} == {
        *("train/step", "validation/step", "eval/step", "time/step", "data/step")
    }


def test_the_report_shows_every_key_of_training_and_evaluations(project) -> None:
    keys = {job: set(project.keys(job)) for job in ("train", "eval")}
    assert "eval/d4rl_score" in keys["eval"] and not any(key.startswith("train/") for key in keys["eval"])
    report = wandb_report.report(project)
    for job, own in keys.items():
        of_job = [grid for _, grid in grids(report) if f"Metric(\"JobType\") == '{job}'" in grid.runsets[0].filters]
        seen = {key for grid in of_job for panel in grid.panels for key in dashboard.keys_of(panel) if "/" in key}
        assert seen <= own
        assert all(panels.reason(key) for key in own - seen), own - seen


def test_every_documented_key_has_a_title_of_its_own() -> None:
    section = PAGE.read_text().split("## Dashboard keys")[1].split("\n## ")[0]
    keys = set(re.findall(r"^\| ((?:train|validation|eval|estimate|time|data)/\w+)", section, re.MULTILINE))
    titled = {key for own in panels.sections().values() for panel in own for key in panel.keys}
    assert len(keys) > 60 and keys <= titled


def test_a_key_that_nobody_knew_is_shown_at_the_end_of_its_section() -> None:
    made = panels.arrange({"train/loss_qvalue": "number", "train/loss_of_mine": "number", "mine": "table-file"})
    assert [panel.title for panel in made["Learning"]] == ["Bellman error", "Loss of mine"]
    assert [panel.kind for panel in made["Others"]] == ["table-file"]


def test_a_key_is_shown_once_and_keys_of_a_panel_share_a_kind() -> None:
    keys = [key for own in panels.sections().values() for panel in own for key in panel.keys]
    assert len(keys) == len(set(keys)) and not any(panels.reason(key) for key in keys)


def test_the_keys_of_every_algorithm_are_shown(specs, discrete_specs, batches_for) -> None:
    for config in (config() for config in agents.ALGORITHMS.values()):
        suited = discrete_specs if config.actions == "discrete" else specs
        agent = config.build(suited)
        statistics = agent.update(batches_for(suited, agent)(0))
        keys = metrics.training(statistics, agent.learning_rates)
        held_out = metrics.validation(dict.fromkeys([key for key in statistics.keys() if key.startswith("loss_")], 0.0))
        made = panels.arrange(dict.fromkeys((*keys, *held_out), "number"))
        assert {key for panel in made["Learning"] for key in panel.keys} == {*keys}
        assert {key for panel in made["Validation"] for key in panel.keys} == {*held_out}
        assert made.keys() == {"Learning", "Validation"}


def test_what_is_no_number_has_a_panel_of_its_kind(project) -> None:
    drawn = {
        key: panel
        for part in wandb_workspace.workspace(project).sections
        for panel in part.panels
        for key in dashboard.keys_of(panel)
    }
    assert type(drawn["eval/episodes"]).__name__ == "WeavePanelSummaryTable"
    assert type(drawn["data/return"]).__name__ == "BarPlot"
    assert drawn["eval/returns"].groupby_aggfunc is None and drawn["eval/return"].groupby_aggfunc == "mean"
    (films,) = panels.arrange({"eval/video_best": "video-file", "eval/video_worst": "video-file"})["Behaviour"]
    assert wandb_workspace.draw(films).media_keys == ["eval/video_best", "eval/video_worst"]


# How it is shown -----------------------------------------------------------------------------------------------------


def protocols(panel: Any) -> set[str]:
    names = {key.rpartition("/")[2] for key in dashboard.keys_of(panel) if "/" in key}
    return {name for name, own in (("d4rl", D4RL), ("minari", MINARI)) if names & own}


def test_no_panel_and_no_results_section_holds_both_protocols(project) -> None:
    view, report = wandb_workspace.workspace(project), wandb_report.report(project)
    for part in (*view.sections, *(grid for _, grid in grids(report))):
        assert all(len(protocols(panel)) <= 1 for panel in part.panels)
    results = {
        chapter: [panel for name, grid in grids(report) if name == chapter for panel in grid.panels]
        for chapter, _ in grids(report)
    }
    for chapter, protocol in (("Results: D4RL score", "d4rl"), ("Results: Minari score", "minari")):
        assert set().union(*map(protocols, results[chapter])) == {protocol}


def test_the_seeds_of_an_algorithm_on_a_task_are_a_line_with_a_band(several) -> None:
    view = wandb_workspace.workspace(several)
    assert [metric.name for metric in view.runset_settings.groupby] == [
        "dataset",
        "algorithm_name",
        "algorithm.expectile",
    ]
    curves = [panel for panel in view.sections[0].panels if type(panel).__name__ == "LinePlot"]
    assert len(curves) == 2 and all(panel.groupby_rangefunc == "stderr" and panel.x == "eval/step" for panel in curves)


def test_each_of_several_tasks_has_a_view(several, project) -> None:
    views = wandb_workspace.workspaces(several)
    assert [view.name for view in views] == [f"Offline RL: {name}" for name in ("all tasks", "door", "pen")]
    assert "Config(\"dataset\") == 'pen'" in views[2].runset_settings.filters
    assert [metric.name for metric in views[2].runset_settings.groupby] == ["algorithm_name", "algorithm.expectile"]
    assert len(wandb_workspace.workspaces(project)) == 1


def test_the_run_table_begins_with_what_identifies_a_run_and_its_scores(project) -> None:
    view = wandb_workspace.workspace(project)
    columns = [column.split(":", 1) for column in view.runset_settings.pinned_columns]
    run = project.of("train")[0]
    for section, name in columns:
        known = {
            "run": {"displayName", "state"},
            "summary": run.summary,
            "config": {f"{key}.value" for key in run.settings},
        }
        assert name in known[section]
    assert ["summary", "final/d4rl_score"] in columns and ["config", "seed.value"] in columns


def test_the_axes_of_comparison_are_the_settings_that_differ_as_they_are_stored(several) -> None:
    section = wandb_workspace.workspace(several).sections[-1]
    assert section.name == "Compare"
    (plot, other) = [panel for panel in section.panels if type(panel).__name__ == "ParallelCoordinatesPlot"]
    accessors = [column["accessor"] for column in plot._to_model().model_dump(by_alias=True)["config"]["columns"]]
    names = ("algorithm_name", "dataset", "seed", "algorithm")
    nested = [f"config:{name}.value" for name in names]
    assert accessors == [*nested[:-1], f"{nested[-1]}.expectile", "summary:final/d4rl_score"]
    important = [panel.with_respect_to for panel in section.panels if type(panel).__name__ == "ParameterImportancePlot"]
    assert important == ["final/d4rl_score", "final/minari_score"]
    assert several.varied() == ["algorithm.expectile"]


def test_the_report_has_a_run_set_per_algorithm_and_a_figure_per_task(several) -> None:
    report = wandb_report.report(replace(several, entity=None))
    scores = [grid for chapter, grid in grids(report) if chapter == "Results: D4RL score"]
    assert len(scores) == 2
    for grid, dataset in zip(scores, ("door", "pen")):
        assert [runset.name for runset in grid.runsets] == ["bc", "iql"]
        for runset in grid.runsets:
            assert f"Config(\"dataset\") == '{dataset}'" in runset.filters
            assert f"Config(\"algorithm_name\") == '{runset.name}'" in runset.filters
    learning = [grid for chapter, grid in grids(report) if chapter == "Learning"]
    assert [[runset.name for runset in grid.runsets] for grid in learning] == [["bc"], ["iql"]]


def test_the_tables_of_the_report_hold_the_last_evaluations(several) -> None:
    report = wandb_report.report(replace(several, entity=None))
    tables = [block.text for block in report.blocks if type(block).__name__ == "MarkdownBlock"]
    assert "| dataset | bc | iql (expectile=0.7) | iql (expectile=0.9) |" in tables[0]
    assert "| pen | **1.0 ± 0.0** | **1.0 ± 0.0** | **1.0** |" in tables[0] and "2.0" not in tables[0]
    assert "| pen | **2.0 ± 0.0** | **2.0 ± 0.0** | **2.0** |" in tables[2]
    assert "IQM" in tables[1] and "IQM" in tables[3]


def test_the_tables_and_figures_of_the_other_recipes_are_in_the_report(several) -> None:
    table, image = {"_type": "table-file"}, {"_type": "image-file"}
    others = (
        wandb_project.Run({"algorithms": ["iql"]}, {"runs": table, "d4rl_curves": image}),
        wandb_project.Run({"num_trials": 4}, {"trials": image}),
        wandb_project.Run({"good_above": 0.75}, {"card": table}),
    )
    report = wandb_report.report(replace(several, entity=None, runs=(*several.runs, *others)))
    last = {grid.runsets[0].name: grid for chapter, grid in grids(report) if chapter in ("Comparison", "Data")}
    assert {key for panel in last["comparison"].panels for key in dashboard.keys_of(panel)} == {"runs", "d4rl_curves"}
    assert [panel.table_name for panel in last["inspect"].panels] == ["card"]
    (trials,) = last["sweep"].panels
    assert trials.media_keys == ["trials"] and "'sweep'" in last["sweep"].runsets[0].filters


def test_trials_of_a_sweep_are_in_no_table_and_no_curve_of_the_training_runs(several) -> None:
    trial = trained(**{"algorithm.expectile": 0.5, "job_type": "trial"}, dataset="pen")
    trial.summary.update({"final/d4rl_score": 50.0})
    both = replace(several, entity=None, runs=(*several.runs, trial))
    report, before = wandb_report.report(both), wandb_report.report(replace(several, entity=None))
    assert not any("50.0" in str(getattr(block, "text", "")) for block in report.blocks)
    (own,) = [grid for _, grid in grids(report) if grid.runsets[0].name == "trial"]
    assert "'trial'" in own.runsets[0].filters
    assert len([*grids(report)]) == len([*grids(before)]) + 1
    assert wandb_workspace.workspace(both).runset_settings == wandb_workspace.workspace(several).runset_settings


def test_settings_of_an_algorithm_are_lines_of_their_own(several) -> None:
    for chapter, grid in grids(wandb_report.report(replace(several, entity=None))):
        for runset in grid.runsets if chapter.startswith("Results") else ():
            mixed = runset.name == "iql" and "'pen'" in runset.filters
            assert ("config.algorithm.expectile" in runset.groupby) == mixed


def test_the_line_of_an_algorithm_has_its_colour_of_the_figures(several) -> None:
    first = next(grid for chapter, grid in grids(wandb_report.report(replace(several, entity=None))) if chapter)
    assert [runset.name for runset in first.runsets] == ["bc", "iql"]
    colors = first._to_model().model_dump(by_alias=True)["metadata"]["customRunColors"]
    assert {key.split(":")[-1]: color for key, color in colors.items() if key != "ref"} == {
        name: styles.color(name) for name in ("bc", "iql")
    }


def test_the_line_of_an_algorithm_has_it_in_the_views_of_one_task_too(several) -> None:
    def colors(view: Any) -> set[tuple[str, str]]:
        keys = view._to_model().model_dump(by_alias=True)["spec"]["section"]["customRunColors"]
        paths = [json.loads(unquote(key.rpartition(":")[2])) for key in keys]
        return {(path[-1]["value"], color) for path, color in zip(paths, keys.values())}

    fixed = {(name, styles.color(name)) for name in ("bc", "iql")}
    everything, *each = wandb_workspace.workspaces(several)
    assert [colors(view) for view in each] == [fixed, fixed]
    assert colors(everything) == set()  # there, an algorithm is a line per task
    assert colors(wandb_workspace.workspace(several.where(dataset="pen"))) == fixed


def test_whatever_a_run_is_called_is_text_in_the_report_and_its_filters(several) -> None:
    hostile = "[x](http://evil.example)|<img src=x>`*'\"\\"
    names = {"iql": f"a{hostile}", "pen": f"b{hostile}"}
    settings = ({name: names.get(value, value) for name, value in run.settings.items()} for run in several.runs)
    runs = tuple(replace(run, settings=each) for run, each in zip(several.runs, settings))
    report = wandb_report.report(replace(several, entity=None, runs=runs))
    for table in (block.text for block in report.blocks if type(block).__name__ == "MarkdownBlock"):
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
        assert escaped(names["iql"]) in table and not re.search(r"\]\(|<|(?<!\\)`", table)
    every = [block._to_model().model_dump(by_alias=True) for block in report.blocks]
    sets = [runset for block in every for runset in block.get("metadata", {}).get("runSets", [])]
    told = [condition for runset in sets for condition in runset["filters"]["filters"]]
    assert {condition["value"] for condition in told} == {"train", "bc", "door", *names.values()}


def test_a_run_with_the_name_of_a_newer_one_is_mentioned_and_not_in_the_table(several) -> None:
    again = trained(dataset="pen")
    again.summary.update({"final/d4rl_score": 50.0})
    twice = replace(several, entity=None, runs=(again, *several.runs))
    report = wandb_report.report(twice)
    assert any(
        "1 runs have the settings, task and seed of a newer one" in str(getattr(block, "text", ""))
        for block in report.blocks
    )
    assert not any("50.0" in str(getattr(block, "text", "")) for block in report.blocks)


def test_without_scores_there_are_returns(several) -> None:
    summary = {"eval/return": 7.0, "final/return": 7.0, "eval/return_std": 1.0}
    bare = replace(several, entity=None, runs=tuple(replace(run, summary=summary) for run in several.runs))
    chapters = {chapter for chapter, _ in grids(wandb_report.report(bare))}
    assert "Results: Return" in chapters and not any("score" in chapter for chapter in chapters)
    assert wandb_workspace.workspace(bare).runset_settings.order[0].item.name == "final/return"


# Saving --------------------------------------------------------------------------------------------------------------


def test_without_an_account_the_specification_is_a_file_and_a_line_says_what_to_do(
    offline, run_recipe, project
) -> None:
    done = run_recipe("dashboard", "entity=lab", "output=here", cwd=offline, before=NO_NETWORK)
    assert done.code == 0, done.err
    assert "NETWORK" not in done.out
    assert done.err.startswith("reading 2 W&B files below runs, ")
    *drawn, told = done.out.splitlines()
    assert told == f"no W&B account here: the specification is in here/dashboard.json; {dashboard.LOG_IN}"
    written = json.loads((offline / "here" / "dashboard.json").read_text())
    (view,) = written["workspaces"]
    sections = view["spec"]["section"]["panelBankConfig"]["sections"]
    elsewhere = ("Online", "Estimates")  # where none of these runs went
    expected = [name for name in panels.sections() if name not in elsewhere]
    assert [section["name"] for section in sections] == [*expected, "Compare"]
    assert written["report"]["displayName"] == "Offline RL: offline-agents"
    for key in shown(wandb_workspace.workspace(project)):
        assert any(key in line for line in drawn)


def test_a_place_that_cannot_be_written_is_refused_before_the_runs_are_read(run_recipe, tmp_path) -> None:
    (tmp_path / "file").touch()
    refused = run_recipe("dashboard", "output=file/below", cwd=tmp_path, before=NO_NETWORK)
    assert refused.refusal().startswith("cannot write to file/below: ") and "NETWORK" not in refused.out


def test_workspace_and_report_are_saved_and_the_next_time_replaced(offline, run_recipe, wandb_server, project) -> None:
    wandb_server.runs = [(dict(run.settings), dict(run.summary)) for run in project.runs]
    done = run_recipe("dashboard", "entity=lab", "output=saved", cwd=offline, **wandb_server.environment)
    assert done.code == 0, done.err
    (view,), (report,) = wandb_server.sent("UpsertView2"), wandb_server.sent("upsertView")
    assert (view["entityName"], view["projectName"], view["displayName"]) == (
        "lab",
        "offline-agents",
        "Offline RL: all tasks",
    )
    arrived = json.loads(view["spec"])["section"]["panelBankConfig"]["sections"]
    ours = wandb_workspace.workspace(project).sections
    assert [len(section["panels"]) for section in arrived] == [len(section.panels) for section in ours]
    blocks = json.loads(report["spec"])["blocks"]
    runsets = [runset for block in blocks if block["type"] == "panel-grid" for runset in block["metadata"]["runSets"]]
    assert runsets and all(runset["project"]["name"] == "offline-agents" for runset in runsets)
    assert f"saved: {wandb_server.url}/lab/offline-agents?nw=" in done.out
    again = run_recipe("dashboard", "entity=lab", "output=saved", cwd=offline, **wandb_server.environment)
    assert again.code == 0, again.err
    assert [sent.get("id") for sent in wandb_server.sent("UpsertView2")] == [None, "view1"]
    assert [sent.get("id") for sent in wandb_server.sent("upsertView")] == [None, "view2"]


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b'{"lab/offline-agents": 3}'])
def test_a_damaged_memory_of_what_was_saved_is_named(content, tmp_path) -> None:
    (tmp_path / "saved.json").write_bytes(content)
    report = SimpleNamespace(entity="lab", project="offline-agents")
    with pytest.raises(agents.ConfigError, match=r"saved.json is damaged .*move it away"):
        dashboard.save([], report, tmp_path)


def test_a_key_that_is_refused_is_one_line(offline, run_recipe, wandb_server) -> None:
    wandb_server.refuse = 401
    done = run_recipe("dashboard", "output=refused", cwd=offline, **wandb_server.environment)
    assert re.match(r"W&B does not answer as hoped: .*invalid API key", done.refusal())
    assert not (offline / "refused").exists()


def test_a_project_without_runs_of_training_is_one_line(offline, project) -> None:
    with pytest.raises(agents.ConfigError, match="no run of recipes/train.py in the W&B files of project other below"):
        wandb_project.from_files(offline / "runs", "other")
    client = SimpleNamespace(runs=lambda *_, **__: [SimpleNamespace(config={"num_episodes": 2}, summary_metrics={})])
    with pytest.raises(agents.ConfigError, match="no run of recipes/train.py in the project lab/grasp: train one"):
        wandb_project.from_server(client, "lab", "grasp")


def test_without_the_package_a_line_says_how_to_get_it(run_recipe, tmp_path) -> None:
    missing = "import sys\nsys.modules['wandb_workspaces'] = None"
    assert run_recipe("dashboard", cwd=tmp_path, before=missing).refusal() == (
        "the dashboard needs a package: pip install 'offline-agents[dashboard]'"
    )
