"""The W&B workspace of a project, as ``wandb-workspaces`` describes it; needs no server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import wandb_workspaces.expr as expr
import wandb_workspaces.reports.v2.interface as wr
import wandb_workspaces.workspaces as ws

from recipes.reporting import styles
from recipes.reporting.results import RETURN, Measure, measures
from recipes.tracking.panels import NUMBER, Panel, arrange
from recipes.tracking.wandb_project import TRAIN, Project

OPEN = ("Scores", "Behaviour")  # sections that are unfolded at first
MAX_LINES = 100  # W&B draws ten of them if nothing is said
IDENTITY = ("algorithm_name", "dataset", "seed")  # of a run


def workspaces(project: Project) -> list[ws.Workspace]:
    """A view of all tasks and, where there are several, one of each."""
    each = project.datasets if len(project.datasets) > 1 else []
    return [workspace(project, dataset) for dataset in (None, *each)]


def workspace(project: Project, dataset: str | None = None) -> ws.Workspace:
    """A view of the training runs, of one dataset or all: an algorithm's seeds on a task are one line, with a band,
    and other settings of it another line."""
    where = {} if dataset is None else {"dataset": dataset}
    filters = [ws.Metric("JobType") == TRAIN, *(having(name, value) for name, value in where.items())]
    project = project.where(**where)
    lines = [*(name for name in ("dataset", "algorithm_name") if name not in where), *project.varied()]
    keys = project.keys(TRAIN)
    panels = {name: [*map(draw, own)] for name, own in arrange(keys).items()} | {"Compare": comparison(project)}
    scores = [key for key in map(last, measures()) if key in keys]
    ends = [*scores, *(key for key in ("final/success", "time/updates_per_second") if key in keys)]
    columns = [*(f"config:{name}.value" for name in IDENTITY), *(f"summary:{key}" for key in ends)]
    order = [ws.Ordering(ws.Summary(score), ascending=False) for score in scores[:1]]
    return ws.Workspace(
        entity=project.entity or "",
        project=project.name,
        name=f"Offline RL: {dataset or 'all tasks'}",
        sections=[
            ws.Section(name=name, panels=own, is_open=name in OPEN, pinned=name == "Scores")
            for name, own in panels.items()
        ],
        settings=ws.WorkspaceSettings(x_axis="train/step", max_runs=MAX_LINES, group_by_prefix="first"),
        runset_settings=ws.RunsetSettings(
            filters=expr.And(*filters),
            groupby=[ws.Config(name) for name in lines],
            group_colors=colors(project, lines),
            order=[*order, ws.Ordering(ws.Metric("CreatedTimestamp"), ascending=False)],
            pinned_columns=["run:displayName", "run:state", *columns],  # those that are always seen
        ),
    )


def having(setting: str, value: Any) -> Any:
    """A filter for the runs in which a setting has a value, whatever characters are in it.

    The package writes filters as a text, with values between quotes as they are, and parses that as Python.
    """
    if isinstance(value, str):
        value = re.sub(r"[^\w ./:-]", lambda match: f"\\U{ord(match[0]):08x}", value)
    return expr.Config(setting) == value


def colors(project: Project, lines: Sequence[str]) -> dict[object, object]:
    """Of an algorithm, as in every figure; on several tasks it is several lines, which W&B is left to tell apart."""
    if len(project.datasets) > 1:
        return {}
    above = project.datasets if lines[0] == "dataset" else []
    return {ws.GroupPath(*above, name): styles.color(name) for name in project.algorithms}


def last(measure: Measure) -> str:
    """The key of the last evaluation's score."""
    return measure.key.replace("eval/", "final/")


def draw(panel: Panel) -> Any:
    """W&B's panel for one of ours."""
    if panel.kind == "table-file":
        return wr.WeavePanelSummaryTable(table_name=panel.keys[0])
    if panel.kind in ("video-file", "image-file", "images/separated"):
        return wr.MediaBrowser(title=panel.title, media_keys=[*panel.keys], num_columns=len(panel.keys))
    if panel.form == "bars" and panel.kind == NUMBER:
        return bars(panel.title, *panel.keys, unit=panel.unit)
    options: dict[str, Any] = {}
    if panel.kind == NUMBER:  # else a histogram, of which there is no mean
        options = {
            "title_y": panel.unit or None,
            "groupby_aggfunc": "mean",  # over what the run table groups: the seeds
            "groupby_rangefunc": None if panel.form == "shares" else "stderr",
            "smoothing_type": "none",
            "max_runs_to_show": MAX_LINES,
            "plot_type": "stacked-area" if panel.form == "shares" else "line",
        }
    x, title_x = f"{panel.keys[0].split('/')[0]}/step", "gradient steps"
    return wr.LinePlot(title=panel.title, x=x, y=[*panel.keys], title_x=title_x, **options)


def bars(title: str, *keys: str, unit: str = "") -> wr.BarPlot:
    """Last values: a bar per line of the run table, the mean over its seeds with the standard error."""
    return wr.BarPlot(
        title=title,
        metrics=[*keys],
        title_x=unit or None,
        groupby_aggfunc="mean",
        groupby_rangefunc="stderr",
        max_runs_to_show=MAX_LINES,
    )


def comparison(project: Project, job: str = TRAIN) -> list[Any]:
    """Runs side by side, and their scores by setting; each protocol has panels of its own."""
    keys = project.keys(job)
    panels: list[Any] = [wr.RunComparer(diff_only="split")]
    axes = [name for name in (*IDENTITY, *project.varied(job)) if len(project.values(name, job)) > 1]
    for measure in measures():
        if last(measure) not in keys or (measure is RETURN and len(panels) > 1):
            continue
        panels.append(bars(f"{measure.title} of the last evaluation", last(measure)))
        if axes:
            columns = [wr.ParallelCoordinatesPlotColumn(metric=wr.Config(name)) for name in axes]
            score = wr.SummaryMetric(last(measure))
            columns.append(wr.ParallelCoordinatesPlotColumn(metric=score, display_name=measure.title))
            panels.append(wr.ParallelCoordinatesPlot(title=f"{measure.title} by setting", columns=columns))
            panels.append(wr.ParameterImportancePlot(with_respect_to=last(measure)))
    return panels
