"""Results as one HTML file: no script, style, font or image from elsewhere, so that it can be mailed and kept."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from recipes.reporting import tables
from recipes.reporting.results import Section

TEMPLATE = "results.html.j2"
SHOWN = 0.65  # pixels of the page per pixel of a figure, which has 200 per inch


@dataclass(frozen=True)
class Image:
    """A PNG, its content within the page; where there is no room for its letters to be read, it is scrolled."""

    content: bytes
    description: str

    @property
    def width(self) -> int:
        return round(SHOWN * int.from_bytes(self.content[16:20], "big"))

    @property
    def base64(self) -> str:
        return base64.b64encode(self.content).decode()


@dataclass(frozen=True)
class Part:
    """A table, what is said above and below it, and figures; in texts, what stands between backticks is code."""

    caption: str
    table: Sequence[Sequence[str]]
    heading: str = ""
    notes: Sequence[str] = ()
    images: Sequence[Image] = ()


def page(title: str, about: Sequence[str], parts: Sequence[Part]) -> str:
    """The file, with lines on how the results came about."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        autoescape=True, loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.tests["best"] = lambda cell: isinstance(cell, tables.Best)
    return environment.get_template(TEMPLATE).render(title=title, about=about, parts=parts) + "\n"


def comparison(
    sections: Sequence[Section], lines: Sequence[str], images: Mapping[str, Sequence[str]], folder: Path
) -> str:
    """All of a comparison, with lines on how it came about and PNG files of the folder, by the measure's name."""
    parts = []
    for section in sections:
        names = images.get(section.measure.name, ())
        pictures = [Image((folder / name).read_bytes(), name.partition("_")[0]) for name in names]
        notes = [*tables.sources(section), *section.notes]
        heading, caption, matrix = section.measure.title, tables.caption(section), tables.matrix(section, "")
        if section.aggregates:
            parts.append(Part(caption, matrix, heading, notes))
            parts.append(Part(tables.OVER_DATASETS, tables.aggregates_table(section, ""), images=pictures))
        else:
            parts.append(Part(caption, matrix, heading, notes, pictures))
        parts.append(Part("Each seed:", tables.seeds_table(section, "")))
    return page("Comparison", lines, parts)
