"""The card of a dataset as text for a terminal, as JSON, and as tables."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from agents.data.contents import Inspection
from agents.environments.protocols import PROTOCOLS
from recipes.dataset_card.facts import Fact
from recipes.dataset_card.finding import Finding
from recipes.reporting.tables import to_csv
from recipes.reporting.terminal import inert

WIDTH = 100  # characters of the text
COLUMNS = 20  # of a log whose first values are shown


def to_terminal(inspection: Inspection, facts: Sequence[Fact], findings: Sequence[Finding]) -> Group:
    """The card for a terminal, to be at most ``WIDTH`` wide: nothing in it controls one."""
    heading = inert(inspection.source.id)
    lines: list[RenderableType] = [heading, "=" * heading.cell_len]
    texts = [(fact.section, fact.name, fact.text) for fact in facts if fact.text is not None]
    width = max(len(name) for _, name, _ in texts)
    for section, entries in itertools.groupby(texts, key=lambda entry: entry[0]):
        lines += ["", inert(section)]
        lines += [_beside(f"  {name:{width}}  ", text) for _, name, text in entries]
    lines += ["", "verdict"]
    for finding in findings:
        lines.append(_beside("! " if finding.level == "warning" else "- ", finding.says))
        lines.append(_beside("    from: ", finding.computed_from))
        lines += [_beside("    do:   ", finding.advice)] if finding.advice else []
    return Group(*lines)


def meaning(understood: Mapping[str, str], first_rows: Sequence[Sequence[str]]) -> Group:
    """What an import has understood of a log, and its first steps, for a terminal."""
    width = max(map(len, understood))
    lines: list[RenderableType] = [_beside(f"{name:{width}}  ", text) for name, text in understood.items()]
    if first_rows:
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        columns = [*zip(*first_rows)]  # a line each: there may be many, with long names
        left_out = range(COLUMNS // 2, len(columns) - COLUMNS // 2)
        for index, (name, *values) in enumerate(columns):
            if index not in left_out:
                table.add_row(inert(name), *map(inert, values))
            elif index == left_out[0]:
                table.add_row(f"... {len(left_out)} more")
        lines += ["", "first steps", table]
    return Group(*lines)


def to_json(inspection: Inspection, facts: Sequence[Fact], findings: Sequence[Finding]) -> dict[str, Any]:
    """The same for a machine: sections of facts, and the verdict; NaN and infinity are null."""
    sections: dict[str, dict[str, Any]] = {}
    for fact in facts:
        sections.setdefault(fact.section, {})[fact.name] = _plain(fact.value)
    return {"dataset": inspection.source.id, **sections, "verdict": [asdict(finding) for finding in findings]}


def tables(facts: Sequence[Fact], findings: Sequence[Finding]) -> dict[str, list[list[str]]]:
    """A table of facts and one of findings, each a header and rows of text."""
    rows = ([fact.section, fact.name, fact.text] for fact in facts if fact.text is not None)
    sentences = ([each.level, each.says, each.computed_from, each.advice or ""] for each in findings)
    headers = ["section", "fact", "value"], ["level", "says", "computed from", "advice"]
    return {"facts": [headers[0], *rows], "verdict": [headers[1], *sentences]}


def episodes_csv(inspection: Inspection) -> str:
    """A row per episode that has steps, in the order of the dataset."""
    columns = {
        "return": inspection.returns,
        "length": inspection.lengths,
        **{protocol.return_key: inspection.protocol_returns.get(protocol.name) for protocol in PROTOCOLS},
        "success": inspection.success,
        **{protocol.success_key: inspection.protocol_success.get(protocol.name) for protocol in PROTOCOLS},
        "success_last": inspection.success_last,
        "terminated": inspection.terminated,
        "truncated": inspection.truncated,
        "repeats_an_earlier_one": inspection.repeats,
    }
    entries = {name: values.tolist() for name, values in columns.items() if name and values is not None}
    return to_csv([["episode", *entries], *([index, *row] for index, row in enumerate(zip(*entries.values())))])


def _beside(start: str, text: str) -> Table:
    """A text after a start, with its later lines indented as far."""
    grid = Table.grid()
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(start), inert(text))
    return grid


def _plain(value: Any) -> Any:
    """Of JSON's types alone."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
