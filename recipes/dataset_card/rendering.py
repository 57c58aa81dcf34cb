"""The card of a dataset as text for a terminal, as JSON, and as tables."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from agents.data.inspection import Inspection
from agents.environments.protocols import PROTOCOLS
from agents.errors import printable
from recipes.dataset_card.facts import Fact
from recipes.dataset_card.finding import Finding
from recipes.reporting.tables import to_csv

WIDTH = 100  # characters of the text


def to_text(inspection: Inspection, facts: Sequence[Fact], findings: Sequence[Finding]) -> str:
    """The card for a terminal: nothing in it controls one."""
    heading = printable(inspection.source.id)
    lines = [heading, "=" * len(heading)]
    texts = [(fact.section, fact.name, fact.text) for fact in facts if fact.text is not None]
    width = max(len(name) for _, name, _ in texts)
    for section, entries in itertools.groupby(texts, key=lambda entry: entry[0]):
        lines += ["", section]
        for _, name, text in entries:
            lines += _wrap(f"  {name:{width}}  ", text) or [f"  {name}"]
    lines += ["", "verdict"]
    for finding in findings:
        lines += _wrap("! " if finding.level == "warning" else "- ", finding.says)
        lines += _wrap("    from: ", finding.computed_from)
        lines += _wrap("    do:   ", finding.advice or "")
    return "\n".join(lines)


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


def _wrap(start: str, text: str) -> list[str]:
    """A text after a start, with its later lines indented as far; whitespace within it becomes spaces."""
    return textwrap.wrap(printable(text), WIDTH, initial_indent=start, subsequent_indent=" " * len(start))


def _plain(value: Any) -> Any:
    """Of JSON's types alone."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
