"""Results as one HTML file: no script, style, font or image from elsewhere, so that it can be mailed and kept."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from recipes.reporting import tables
from recipes.reporting.results import Cell, Section

SHOWN = 0.65  # pixels of the document per pixel of a figure, which has 200 per inch
STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --weak: #59636e; --line: #d5dae0; --paper: #fff; --stripe: #f4f6f8;
  --accent: #0a58ca; }
@media (prefers-color-scheme: dark) { :root { --text: #e3e8ee; --weak: #9aa4af; --line: #3a424c; --paper: #14181d;
  --stripe: #1c2229; --accent: #7db4ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 62rem; font: 1rem/1.5 system-ui, sans-serif; color: var(--text);
  background: var(--paper); overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0.5rem 0; }
h2 { font-size: 1.25rem; margin: 2rem 0 0.5rem; padding-top: 0.5rem; border-top: 1px solid var(--line); }
p { margin: 0.5rem 0; max-width: 48rem; }
.about { color: var(--weak); font-size: 0.875rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: 0.9375rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: 0.35rem 0.75rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid var(--line); }
tbody tr:nth-child(even) { background: var(--stripe); }
td b { color: var(--accent); }
th[data-sort] { cursor: pointer; }
th[data-sort]:hover { text-decoration: underline; }
img { display: block; max-width: 100%; padding: 0.5rem; border-radius: 0.25rem; background: #fff; }
code { font-size: 0.9em; }
@media (max-width: 36rem) { body { padding: 0.75rem; } table { font-size: 0.8125rem; }
  th, td { padding: 0.3rem 0.4rem; } th:first-child, td:first-child { white-space: normal; } }
"""
# without it the tables are as readable, in the order in which they were written
SORT = """
for (const head of document.querySelectorAll("th[data-sort]")) head.onclick = () => {
  const body = head.closest("table").tBodies[0], column = head.cellIndex, down = head.dataset.sort !== "down";
  const value = row => { const text = row.cells[column].textContent, number = parseFloat(text);
    return isNaN(number) ? text : number; };
  const rows = [...body.rows].sort((a, b) => { const x = value(a), y = value(b);
    return (typeof x === typeof y ? (x > y) - (x < y) : typeof x === "string" ? 1 : -1) * (down ? -1 : 1); });
  head.dataset.sort = down ? "down" : "up";
  body.append(...rows);
};
"""


class Best(str):
    """A cell that stands out."""


def document(title: str, parts: Iterable[str]) -> str:
    """The file; its parts are HTML, as the functions below give it."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
    )
    body = "\n".join([f"<h1>{escape(title)}</h1>", *parts, f"<script>{SORT}</script>"])
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; what stands between backticks is code."""
    parts = escape(text).split("`")
    content = "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))
    return f'<p class="{kind}">{content}</p>' if kind else f"<p>{content}</p>"


def table(rows: Sequence[Sequence[str]]) -> str:
    """A header and rows, to be sorted by a click on the header."""
    header, *body = rows
    head = "".join(f'<th scope="col" data-sort>{escape(cell)}</th>' for cell in header)
    lines = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in body)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody></table></div>'


def _cell(text: str) -> str:
    return f"<td><b>{escape(text)}</b></td>" if isinstance(text, Best) else f"<td>{escape(text)}</td>"


def image(path: Path, description: str) -> str:
    """A PNG, its content within the document; where there is no room for its letters to be read, it is scrolled."""
    content = path.read_bytes()
    width = SHOWN * int.from_bytes(content[16:20], "big")
    size = f"width: {width:.0f}px; min-width: {0.6 * width:.0f}px"
    data = base64.b64encode(content).decode()
    return (
        f'<div class="wide"><img alt="{escape(description)}" style="{size}" src="data:image/png;base64,{data}"></div>'
    )


def comparison(
    sections: Sequence[Section], lines: Sequence[str], images: Mapping[str, Sequence[str]], folder: Path
) -> str:
    """All of a comparison, with lines on how it came about and PNG files of the folder, by the measure's name."""

    def show(cell: Cell, best: bool) -> str:
        return Best(tables.spread(cell)) if best else tables.spread(cell)

    parts = [paragraph(line, "about") for line in lines]
    for section in sections:
        parts += [heading(section.measure.title), paragraph(tables.caption(section))]
        parts += [table(tables.matrix(section, show, ""))]
        parts += [paragraph(line, "about") for line in (*tables.sources(section), *section.notes)]
        if section.aggregates:
            parts += [paragraph(tables.OVER_DATASETS), table(tables.aggregates_table(section, ""))]
        parts += [image(folder / name, name.partition("_")[0]) for name in images.get(section.measure.name, ())]
        parts += [paragraph("Each seed:"), table(tables.seeds_table(section, ""))]
    return document("Comparison", parts)
