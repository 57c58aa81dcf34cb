"""A comparison as a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from agents.errors import printable
from recipes.reporting.results import Section
from recipes.reporting.tables import (
    CHOICE,
    COST,
    ONLINE,
    OVER_DATASETS,
    Best,
    aggregates_table,
    caption,
    matrix,
    seeds_table,
    sources,
)

MARKDOWN_SPECIAL = str.maketrans({**{mark: f"\\{mark}" for mark in "\\`*|"}, "&": "&amp;", "<": "&lt;"})


def to_markdown(
    sections: Iterable[Section],
    about: Sequence[str],
    figures: Mapping[str, Sequence[str]],
    cost: Sequence[Sequence[str]] = (),
    choice: Sequence[Sequence[str]] = (),
    online: Sequence[Sequence[str]] = (),
) -> str:
    """The whole comparison as a page, with lines about it and image files beside it, by the measure's name."""
    parts = ["# Comparison", *about]
    for section in sections:
        parts += [f"## {section.measure.title}", caption(section), pipes(matrix(section, "")), *sources(section)]
        if section.aggregates:
            parts += [OVER_DATASETS, pipes(aggregates_table(section, ""))]
        parts += map(escaped, section.notes)
        parts += [f"![{name}]({name})" for name in figures.get(section.measure.name, ())]
        parts += ["Each seed:", pipes(seeds_table(section, ""))]
    if len(online) > 1:
        parts += ["## Online", ONLINE, pipes(online)]
    if len(choice) > 1:
        parts += ["## Choice", CHOICE, pipes(choice)]
    if len(cost) > 1:
        parts += ["## Cost", COST, pipes(cost)]
    return "\n\n".join(parts) + "\n"


def pipes(table: Sequence[Sequence[str]]) -> str:
    """A header and rows as Markdown."""
    header, *rows = (map(_markdown, row) for row in table)
    lines = [header, ["---"] * len(table[0]), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(text: str) -> str:
    """A text that says the same in Markdown, in one line."""
    return printable(" ".join(text.split())).translate(MARKDOWN_SPECIAL).replace("](", r"]\(")  # no link


def _markdown(cell: str) -> str:
    return f"**{escaped(cell)}**" if isinstance(cell, Best) else escaped(cell)
