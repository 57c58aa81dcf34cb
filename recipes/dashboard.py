"""A W&B workspace and a report of a project's runs, made from code: what there is to see, in an order to read it in.

For example:

    offline-agents dashboard project=offline-agents entity=my-team
    offline-agents dashboard runs=runs             without an account: from the files of offline runs

With an account the workspace and the report are saved to the project; called again, they are replaced. Without one,
what would be saved is written to a file. Either way an outline of both is printed.
"""

from __future__ import annotations

from recipes.settings import command_line  # first: recipes says how torch's threads wait, before torch is loaded

if __name__ == "__main__":
    command_line.answer("dashboard")  # help, and mistakes in settings, before all else is imported

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from agents.errors import ConfigError, one_line, optional_package
from agents.files import write_atomically
from recipes.settings.checks import require_place
from recipes.settings.composition import build
from recipes.tracking import wandb_project
from recipes.tracking.wandb_client import PATIENCE, query, wandb_client

LOG_IN = "wandb login, wandb sync the runs, and call this again: it saves both to the project"


def dashboard(cfg: DictConfig) -> None:
    config = build(cfg, "dashboard")
    require_place("output", config.output)
    with optional_package("dashboard", "the dashboard"):
        from recipes.tracking import wandb_report, wandb_workspace
    client = account()
    if client is None:
        project = wandb_project.from_files(Path(config.runs), config.project)
    else:
        project = query(lambda: wandb_project.from_server(client, config.entity, config.project))

    views, report = wandb_workspace.workspaces(project), wandb_report.report(project)
    print(outline(views, report))
    if client is None:
        file = Path(config.output) / "dashboard.json"
        write_atomically(file, json.dumps(specification(views, report), indent=1).encode())
        print(f"no W&B account here: the specification is in {file}; {LOG_IN}")
    else:
        for url in query(lambda: save(views, report, Path(config.output))):
            print(f"saved: {url}")


def account() -> Any | None:
    """``wandb.Api``; None where there is no API key."""
    client = wandb_client()
    if not client.login(prompt=False, verify=False):
        return None
    return query(lambda: client.Api(timeout=PATIENCE))


def outline(views: Sequence[Any], report: Any) -> str:
    """Sections and panels of both as text, a line for each."""
    lines: list[str] = []
    for view in views:
        panels = [panel for section in view.sections for panel in section.panels]
        keys = {key for panel in panels for key in keys_of(panel)}
        sizes = f"{len(panels)} panels of {len(keys)} keys in {len(view.sections)} sections"
        lines.append(f"workspace {view.name!r}: {sizes}")
        if view is views[0]:
            for section in view.sections:
                lines += [f"  {section.name}", *(f"    {line}" for line in map(describe, section.panels))]
    num_panels = sum(len(getattr(block, "panels", [])) for block in report.blocks)
    lines.append(f"report {report.title!r}: {num_panels} panels")
    for block in report.blocks:
        kind = type(block).__name__
        if kind in ("H1", "H2"):
            lines.append(f"  {'  ' if kind == 'H2' else ''}{block.text}")
        elif kind == "PanelGrid":
            sets = ", ".join(runset.name for runset in block.runsets)
            lines += [f"      {line}" for line in map(describe, block.panels)] + [f"      over the run sets {sets}"]
    return "\n".join(map(str.rstrip, lines))


def describe(panel: Any) -> str:
    """A panel in a line: its form, title and keys."""
    title = getattr(panel, "title", None)
    return f"{type(panel).__name__:24}{title or ''}{': ' if title else ''}{', '.join(keys_of(panel))}"


def keys_of(panel: Any) -> list[str]:
    """The keys that a panel shows."""
    columns = [column.metric for column in getattr(panel, "columns", [])]
    single = [getattr(panel, name, None) for name in ("table_name", "with_respect_to", "metric")]
    several = [key for name in ("y", "metrics", "media_keys") for key in getattr(panel, name, [])]
    return [getattr(key, "name", key) for key in (*several, *single, *columns) if key]


def specification(views: Iterable[Any], report: Any) -> dict[str, Any]:
    """Workspaces and report as W&B's app reads them."""
    return {
        "workspaces": [view._to_model().model_dump(mode="json", by_alias=True, exclude_none=True) for view in views],
        "report": report._to_model().model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def save(views: Sequence[Any], report: Any, output: Path) -> list[str]:
    """Save to W&B in the place of what was saved before, as far as this folder remembers it; returns the addresses."""
    file = output / "saved.json"
    try:
        projects = json.loads(file.read_text()) if file.exists() else {}
        places = projects.setdefault(f"{report.entity}/{report.project}", {})
        places.get("report")
    except (ValueError, AttributeError) as error:
        way_out = "move it away, and the next workspace and report are new ones"
        raise ConfigError(f"{file} is damaged ({one_line(error)}): {way_out}") from error

    def remember(name: str, place: Any) -> None:  # at once: what comes next may fail
        places[name] = place
        write_atomically(file, json.dumps(projects, indent=1).encode())

    for view in views:
        view._internal_name, view._internal_id = places.get(view.name, ("", ""))
        view.save()
        remember(view.name, [view._internal_name, view._internal_id])
    report.id = places.get("report", "")
    report.save()
    remember("report", report.id)
    return [*(view.url for view in views), report.url]


def main() -> None:
    command_line.main("dashboard", dashboard)


if __name__ == "__main__":
    main()
