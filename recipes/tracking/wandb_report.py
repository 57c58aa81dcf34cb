"""The W&B report of a project, in the order of a paper's results; needs no server.

Each score protocol has a section of its own, and no panel or table holds several of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import wandb_workspaces.expr as expr
import wandb_workspaces.reports.v2.interface as wr

from recipes.reporting import markdown, results, styles, tables
from recipes.reporting.results import Section
from recipes.tracking.panels import arrange
from recipes.tracking.wandb_project import COMPARE, EVALUATE, INSPECT, SWEEP, TRAIN, TRIAL, Project
from recipes.tracking.wandb_workspace import bars, comparison, draw, having, last

NUM_RESAMPLES = 2_000  # of the intervals in the tables
WIDTH, HEIGHT = 12, 7  # of a panel; a grid is 24 wide
LIMITS = (
    "A few seeds say little about the spread between seeds: read the intervals, not the means.",
    "One evaluation has few episodes, and returns in two heaps: the score of one run is noisier than the band.",
    "Scores of different protocols come from the same rollouts and are still different scales.",
)


def report(project: Project) -> wr.Report:
    """The report; the numbers in its tables are those of now, its panels follow the project."""
    blocks: list[Any] = [wr.TableOfContents(), *setup(project)]
    for section in sections(project):
        blocks += scores(project, section)
    blocks += [*behaviour(project), *learning(project), *validation(project)]
    blocks += [*estimates(project), *data(project), *cost(project)]
    blocks += compared(project)
    blocks += [wr.H1("What these figures do not say"), wr.UnorderedList([*LIMITS])]
    return wr.Report(
        project=project.name,
        entity=project.entity or "",
        title=f"Offline RL: {project.name}",
        description=summary(project),
        blocks=blocks,
        width="fluid",
    )


def sections(project: Project) -> list[Section]:
    """The last evaluations with statistics, by protocol; of runs of the same settings and seed, the newest."""
    curves, data = {}, {}
    labels = project.labels()
    for label, run in labels:
        row = {key.replace("final/", "eval/"): value for key, value in run.summary.items() if key.startswith("final/")}
        recorded = {key: value for key, value in run.summary.items() if key.startswith("data/")}
        if recorded and not run.settings.get("eval_env"):
            data[run.settings["dataset"]] = recorded
        if row:
            curves[run.settings["dataset"], label, run.settings["seed"]] = [
                {"step": run.settings["gradient_steps"], **row}
            ]
    return results.sections(
        curves,
        data,
        algorithms=(names := sorted({label for label, _ in labels})),
        datasets=project.datasets,
        seeds=sorted({seed for _, _, seed in curves}),
        baseline=results.default_baseline(names),
        num_resamples=NUM_RESAMPLES,
    )


def summary(project: Project) -> str:
    return (
        f"{listed(project.algorithms)} on {listed(project.datasets)}; seeds {listed(project.values('seed'))}; "
        f"{len(project.of(TRAIN))} training runs."
    )


def listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))


def setup(project: Project) -> list[Any]:
    """The runs, and how the figures are to be read."""
    steps, episodes = (listed(project.values(name)) for name in ("gradient_steps", "num_eval_episodes"))
    text = [
        f"Trained: {summary(project)} Gradient steps: {steps}; batches of {listed(project.values('batch_size'))}; "
        f"{episodes} episodes per evaluation, always from the same initial states.",
        "A line is the mean over the seeds of one algorithm on one task, its band one standard error. A score is that "
        "of the last evaluation, never of the best one, which would be chosen with the test episodes. The x-axis of "
        "every curve is gradient steps.",
    ]
    if varied := project.varied():
        text.append(f"Within an algorithm the runs differ in {listed(varied)}; each choice of them is a line.")
    runs = [(label, run.settings["dataset"], run.settings["seed"]) for label, run in project.labels()]
    if repeated := len(runs) - len({*runs}):
        text.append(
            f"{repeated} runs have the settings, task and seed of a newer one: the tables hold the newer one, the "
            "panels hold all."
        )
    return [wr.H1("Setting"), *(wr.P(line) for line in text)]


def scores(project: Project, section: Section) -> list[Any]:
    """One protocol: its table, statistics over tasks, and a figure for each task."""
    measure = section.measure
    blocks = [
        wr.H1(f"Results: {measure.title}"),
        wr.P(measure.meaning),
        wr.MarkdownBlock(f"{tables.caption(section)}\n\n{markdown.pipes(tables.matrix(section, '-'))}"),
        *(wr.P(line) for line in (*tables.sources(section), *section.notes)),
    ]
    if section.aggregates and len(section.datasets) > 1:
        text = "Over the tasks, with 95 % stratified bootstrap intervals (arXiv 2108.13264).\n\n"
        blocks.append(wr.MarkdownBlock(text + markdown.pipes(tables.aggregates_table(section, "-"))))
    text = (
        "The curves show how the score develops; one that falls again is the sign of overestimated Q values (see "
        "Learning). The bars are its last point, the numbers of the table."
    )
    blocks.append(wr.P(text))
    for dataset in section.datasets:
        curves = drawn(project.where(dataset=dataset), TRAIN, "Scores", measure.key, *measure.details)
        final = bars(f"{measure.title} of the last evaluation", last(measure))
        blocks += [wr.H2(f"{measure.title} on {dataset}"), grid(project, [*curves, final], dataset=dataset)]
    if again := drawn(project, EVALUATE, "Scores", measure.key, *measure.details):
        text = "Evaluated again by recipes/evaluate.py, mostly on more episodes than during training:"
        blocks += [wr.P(text), grid(project, again, job=EVALUATE)]
    return blocks


def drawn(project: Project, job: str, section: str, *keys: str) -> list[Any]:
    """W&B's panels of a section, of some keys alone if any are named; an evaluation is one point: bars, no curves."""
    panels = [panel for panel in arrange(project.keys(job)).get(section, []) if not keys or panel.keys[0] in keys]
    return [draw(replace(panel, form="bars") if job == EVALUATE else panel) for panel in panels]


def behaviour(project: Project) -> list[Any]:
    """The policies' episodes, as far as they were filmed and counted."""
    text = (
        "A score hides how it was earned. Success is counted per episode: at the goal at any step, long enough (as "
        "DAPG counts), or at the last step. Where the returns lie in two heaps, episodes either succeed or fail, and "
        "their mean describes none of them."
    )
    blocks: list[Any] = [wr.H1("Behaviour"), wr.P(text), grid(project, drawn(project, TRAIN, "Behaviour"))]
    if again := drawn(project, EVALUATE, "Behaviour"):
        text = "Episodes and films of recipes/evaluate.py."
        blocks += [wr.H2("Finished policies"), wr.P(text), grid(project, again, job=EVALUATE)]
    return blocks


def learning(project: Project) -> list[Any]:
    """The losses and their parts, one algorithm at a time: losses of two algorithms have nothing in common."""
    text = (
        "Losses of different algorithms cannot be compared. What can go wrong shows in four places: Q values that grow "
        "beyond any return in the data (overestimation); an advantage whose weights are all one (no preference) or "
        "mostly clipped (a few transitions own the batch); a log-likelihood that rises without end (the clone "
        "memorises); and a gradient norm that jumps."
    )
    blocks: list[Any] = [wr.H1("Learning"), wr.P(text)]
    for algorithm in project.algorithms:
        own = project.where(algorithm_name=algorithm)
        panels = drawn(own, TRAIN, "Learning")
        blocks += [wr.H2(f"Learning: {algorithm}"), grid(own, panels, group_by="dataset")]
    return blocks


def validation(project: Project) -> list[Any]:
    """What held-out episodes say, where there are any, one algorithm at a time."""
    text = (
        "On episodes that no update has seen. Where a curve turns while its twin in Learning goes on, what is learned "
        "from there on is the data and no longer the task. It says how well data are predicted, not how well is acted: "
        "a policy of a lower Bellman error or a higher likelihood is not the better one for it."
    )
    blocks: list[Any] = []
    for algorithm in project.algorithms:
        own = project.where(algorithm_name=algorithm)
        if panels := drawn(own, TRAIN, "Validation"):
            blocks += [wr.H2(f"Validation: {algorithm}"), grid(own, panels, group_by="dataset")]
    return [wr.H1("Validation"), wr.P(text), *blocks] if blocks else []


def estimates(project: Project) -> list[Any]:
    """What the data say of the policies' worth, where runs have asked."""
    text = (
        "Discounted returns, estimated from logged episodes alone: no scores, and to be set beside the data's own "
        "discounted return. Where an estimate means nothing, its value says nothing either."
    )
    panels = drawn(project, TRAIN, "Estimates")
    return [wr.H1("Estimates"), wr.P(text), grid(project, panels, group_by="dataset")] if panels else []


def data(project: Project) -> list[Any]:
    """The data that was learned from."""
    text = (
        "Offline, a policy can hardly be better than the best of what it saw. The returns of the dataset's episodes "
        "say how much good there is to find; actions at their bounds say where a squashed Gaussian will have trouble."
    )
    panels = drawn(project, TRAIN, "Data")
    grids = [grid(project, panels, group_by="dataset")] if panels else []
    return [wr.H1("Data"), wr.P(text), *grids, *of_recipe(project, INSPECT, "inspect_dataset")]


def of_recipe(project: Project, job: str, recipe: str) -> list[Any]:
    """Tables and figures of a recipe that logs no training, where it was run."""
    panels = [draw(panel) for section in arrange(project.keys(job)).values() for panel in section]
    title = f"Tables and figures of recipes/{recipe}.py"
    return [wr.H2(title), grid(project, panels, job=job)] if panels else []


def cost(project: Project) -> list[Any]:
    """How long it took, and where the time went."""
    text = (
        "Updates per second count sampling and updating alone. The shares are of all five stages since the last "
        "point; memory is the most that the process has held."
    )
    return [wr.H1("Speed and cost"), wr.P(text), grid(project, drawn(project, TRAIN, "Speed"))]


def compared(project: Project) -> list[Any]:
    """Runs side by side; what recipes/compare.py said, where it was run."""
    text = (
        "Which settings go with a high score, each protocol by itself. Importance and correlation are those of a "
        "random forest over the runs: with few of them, they are no more than a hint."
    )
    blocks = [wr.H1("Comparison"), wr.P(text), grid(project, comparison(project))]
    if project.of(TRIAL):
        text = "What sweeps tried, a line per run; trials are in no other table or curve of this report."
        blocks += [wr.H2("Trials"), wr.P(text), grid(project, comparison(project, TRIAL), job=TRIAL)]
    if project.of(COMPARE):
        blocks.append(wr.P("Where a table has several protocols, a row names its own; each figure is of one."))
    return [*blocks, *of_recipe(project, COMPARE, "compare"), *of_recipe(project, SWEEP, "sweep")]


def grid(
    project: Project, panels: Iterable[Any], *, job: str = TRAIN, group_by: str = "algorithm_name", **settings: Any
) -> wr.PanelGrid:
    """Panels, two beside each other, over a set of runs per algorithm, of those alone that have some settings.

    The runs of a set that share the setting ``group_by``, and those in which they vary, are one line.
    """
    placed = [*panels]
    for index, panel in enumerate(placed):
        panel.layout = wr.Layout(x=WIDTH * (index % 2), y=HEIGHT * (index // 2), w=WIDTH, h=HEIGHT)
    filters = [expr.Metric("JobType") == job, *(having(name, value) for name, value in settings.items())]
    # without an entity, whose project it is would be asked of the server
    where: dict[str, Any] = {"entity": project.entity, "project": project.name} if project.entity else {}
    if job not in (TRAIN, EVALUATE):
        return wr.PanelGrid(runsets=[wr.Runset(name=job, filters=expr.And(*filters), **where)], panels=placed)
    runsets = [
        wr.Runset(
            name=str(algorithm),
            filters=expr.And(*filters, having("algorithm_name", algorithm)),
            groupby=[
                f"config.{name}"
                for name in (group_by, *project.where(algorithm_name=algorithm, **settings).varied(job))
            ],
            pinned_columns=["run:displayName"],
            **where,
        )
        for algorithm in project.where(**settings).values("algorithm_name", job)
    ]
    alone = [
        each for each in runsets if each.groupby == ["config.algorithm_name"]
    ]  # a line each: that of the algorithm
    key = wr.Config("algorithm_name")
    groups: Any = {  # W&B's type of it takes no other key than its own
        wr.RunsetGroup(each.name, (wr.RunsetGroupKey(key, each.name),)): styles.color(each.name) for each in alone
    }
    return wr.PanelGrid(runsets=runsets, panels=placed, custom_run_colors=groups)
