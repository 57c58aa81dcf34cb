"""Results on standard output, by rich: fitted to a terminal, plain text elsewhere.

What a file says is shown and never obeyed: all of it goes through :func:`inert`, none through rich's markup.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from rich.box import Box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from agents.errors import printable
from recipes.reporting.tables import Best

WIDE = 10_000  # characters: a line in a file or a pipe is never broken
RULE = Box("    \n    \n -  \n    \n    \n    \n    \n    \n", ascii=True)  # below the header, and nothing else


def show(renderable: RenderableType, *, width: int = WIDE) -> None:
    """Print something of at most so many characters to a line, and no more than the terminal has.

    Lines of a table that has no room for its longest words are left to the terminal to break.
    """
    if not sys.stdout.isatty():
        print(plain(renderable, width))
        return
    console = Console()
    least = console.measure(renderable, options=console.options.update(width=WIDE)).minimum
    console.width = max(min(width, console.width), least if isinstance(renderable, Table) else 1)
    console.print(renderable, crop=False)


def plain(renderable: RenderableType, width: int = WIDE) -> str:
    """The same as text without escape codes."""
    text = io.StringIO()
    Console(file=text, width=width, force_terminal=False, color_system=None).print(renderable, crop=False)
    return "\n".join(line.rstrip() for line in text.getvalue().split("\n")[:-1])


def table(rows: Sequence[Sequence[str]]) -> Table:
    """A header and rows; the first column to the left, numbers to the right. On a narrow terminal no word is broken."""
    header, *body = rows
    table = Table(box=RULE, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="")
    for name, column in zip(header, zip(*rows)):
        texts = [inert(cell) for cell in column]
        longest = max(cell_len(word) for text in texts for word in text.plain.split(" "))
        whole = longest == max(text.cell_len for text in texts)
        justify = "right" if table.columns else "left"
        table.add_column(inert(name), justify=justify, min_width=longest, no_wrap=whole)
    for row in body:
        table.add_row(*map(inert, row))
    return table


def inert(text: str) -> Text:
    """A text that neither controls a terminal nor is markup, in one line; the best of a row in bold."""
    return Text(printable(" ".join(text.split())), style="bold" if isinstance(text, Best) else "")
