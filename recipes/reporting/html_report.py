"""Results as one HTML file: no script, style, font or image from elsewhere, so that it can be mailed and kept."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from recipes.reporting import tables
from recipes.reporting.results import Section

TEMPLATE = "results.html.j2"


class Link(str):
    """A cell that leads somewhere."""

    address: str = ""

    @classmethod
    def to(cls, address: str, text: str) -> Link:
        link = cls(text)
        link.address = address
        return link


@dataclass(frozen=True)
class Image:
    """An SVG or PNG, its content within the page, and another one for a screen as narrow as a telephone's."""

    content: bytes
    description: str
    narrow: bytes | None = None

    @property
    def source(self) -> str:
        return _inline(self.content)

    @property
    def narrow_source(self) -> str | None:
        return None if self.narrow is None else _inline(self.narrow)


def _inline(content: bytes) -> str:
    kind = "png" if content.startswith(b"\x89PNG") else "svg+xml"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def read_image(png: Path, description: str) -> Image:
    """The figure of this name, as SVG where that is beside it: it follows the reader's light."""
    wide, narrow = png.with_suffix(".svg"), png.with_name(f"{png.stem}_narrow.svg")
    content = (wide if wide.exists() else png).read_bytes()
    return Image(content, description, narrow.read_bytes() if narrow.exists() else None)


@dataclass(frozen=True)
class Part:
    """A table, what is said above and below it, and figures; in texts, what stands between backticks is code."""

    caption: str
    table: Sequence[Sequence[str]]
    heading: str = ""
    notes: Sequence[str] = ()
    images: Sequence[Image] = ()


def page(title: str, about: Sequence[str], parts: Sequence[Part], *, data: str | None = None) -> str:
    """The file, with lines on how the results came about, and the numbers as JSON to be saved."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        autoescape=True, loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.tests["best"] = lambda cell: isinstance(cell, tables.Best)
    environment.tests["link"] = lambda cell: isinstance(cell, Link)
    text = environment.get_template(TEMPLATE).render(
        title=title,
        about=about,
        parts=parts,
        date=datetime.date.today().isoformat(),
        data=None if data is None else base64.b64encode(data.encode()).decode(),
    )
    return text + "\n"


def comparison(
    sections: Sequence[Section],
    lines: Sequence[str],
    images: Mapping[str, Sequence[str]],
    folder: Path,
    *,
    cost: Sequence[Sequence[str]] = (),
    choice: Sequence[Sequence[str]] = (),
    online: Sequence[Sequence[str]] = (),
    folders: Mapping[str, str] = MappingProxyType({}),
    links: Mapping[str, str] = MappingProxyType({}),
    data: str | None = None,
) -> str:
    """All of a comparison, with lines on how it came about and figures of the folder, by the measure's name.

    Args:
        folders: of the runs, by their names, from the page's folder; ``links``: where W&B shows them.
    """
    parts = []
    for section in sections:
        names = images.get(section.measure.name, ())
        pictures = [read_image(folder / name, describe(section, name.partition("_")[0])) for name in names]
        notes = [*tables.sources(section), *section.notes]
        heading, caption, matrix = section.measure.title, tables.caption(section), tables.matrix(section, "")
        if section.aggregates:
            parts.append(Part(caption, matrix, heading, notes))
            parts.append(Part(tables.OVER_DATASETS, tables.aggregates_table(section, ""), images=pictures))
        else:
            parts.append(Part(caption, matrix, heading, notes, pictures))
        parts.append(Part("Each seed:", tables.seeds_table(section, "")))
    if len(online) > 1:
        parts.append(Part(tables.ONLINE, online, "Online"))
    if len(choice) > 1:
        parts.append(Part(tables.CHOICE, choice, "Choice"))
    return page("Comparison", lines, [*parts, *of_runs(cost, folders, links)], data=data)


def of_runs(cost: Sequence[Sequence[str]], folders: Mapping[str, str], links: Mapping[str, str]) -> list[Part]:
    """What the runs took, and where they are: folders from the page's, and W&B's pages, by the runs' names."""
    parts = [Part(tables.COST, cost, "Cost")] if len(cost) > 1 else []
    if folders:
        rows = [[name, Link.to(quote(path), path), _link(links.get(name))] for name, path in folders.items()]
        parts.append(Part("Where the runs are, seen from this file:", [["run", "folder", "W&B"], *rows], "Runs"))
    return parts


def _link(address: str | None) -> str:
    return Link.to(address, "W&B") if address and address.startswith(("https://", "http://")) else ""


def describe(section: Section, figure: str) -> str:
    """What a figure shows, for who cannot see it; its numbers are those of the tables."""
    title, names = section.measure.title, ", ".join(section.algorithms)
    kinds = {
        "curves": f"Learning curves: {title} over gradient steps of {names}, a panel for each dataset",
        "clock": f"Learning curves: {title} over minutes of {names}, a panel for each dataset",
        "intervals": f"Statistics over the datasets with their 95 % intervals, by {title}, of {names}",
        "profiles": f"Share of runs above each {title}, of {names}",
    }
    return kinds.get(figure, figure)
