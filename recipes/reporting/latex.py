"""The tables of a comparison for a paper."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from agents.errors import printable
from recipes.reporting.results import Section
from recipes.reporting.tables import Best, aggregates_table, caption, matrix, sources

SPREAD = re.compile(r"-?[\d.]+( ± [\d.]+)?")
LATEX_SPECIAL = str.maketrans(
    {
        **{mark: f"\\{mark}" for mark in "_%&#${}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"$\pm$",
    }
)


def to_latex(sections: Iterable[Section]) -> str:
    """The tables for a paper; they need ``\\usepackage{booktabs}``."""
    parts = []
    for section in sections:
        title = section.measure.title
        words = " ".join((f"{title}.", caption(section), *sources(section)))
        parts.append(_tabular(matrix(section, "--"), words, section, "scores"))
        if section.aggregates:
            words = f"{title} over all datasets, with 95 % stratified bootstrap intervals."
            parts.append(_tabular(aggregates_table(section, "--"), words, section, "aggregates"))
    return "\n\n".join(parts) + "\n"


def _tabular(table: Sequence[Sequence[str]], caption: str, section: Section, label: str) -> str:
    header, *rows = (" & ".join(map(_latex, row)) + r" \\" for row in table)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption.translate(LATEX_SPECIAL)}}}",
            rf"\label{{tab:{section.measure.name}-{label}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(table[0]) - 1)}}}",
            r"\toprule",
            header,
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _latex(cell: str) -> str:
    if not SPREAD.fullmatch(cell):
        text = printable(" ".join(cell.split())).translate(LATEX_SPECIAL)
        return rf"\textbf{{{text}}}" if isinstance(cell, Best) else text  # as 1.23e+04, which is no formula
    number = cell.replace("±", r"\pm")
    return rf"$\mathbf{{{number}}}$" if isinstance(cell, Best) else f"${number}$"
