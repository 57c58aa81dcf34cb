"""Matplotlib without a display: names, ticks, and a figure as a file."""

from __future__ import annotations

import io

import matplotlib
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from agents.errors import printable

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the choice of a backend that needs no display)

INK = "#010203"  # what is black by day: of an SVG it turns light where the reader's screen is dark
BY_NIGHT = "<style>:root { color: #1b1f24 } @media (prefers-color-scheme: dark) { :root { color: #e3e8ee } }</style>"


def to_image(figure: Figure, kind: str = "png", *, close: bool = True) -> bytes:
    """The figure as a file of a kind that matplotlib knows; an SVG has no ground, and its ink is the reader's."""
    image = io.BytesIO()
    if kind == "svg":
        figure.savefig(image, format=kind, transparent=True, metadata={"Date": None})
    else:
        figure.savefig(image, format=kind)
    if close:
        plt.close(figure)
    if kind != "svg":
        return image.getvalue()
    head, end, rest = image.getvalue().decode().replace(INK, "currentColor").partition("<defs>")
    return f"{head}{BY_NIGHT}{end}{rest}".encode()


def literal(text: str) -> str:
    """A name from a file for a figure: a dollar in it begins no formula, and each of its characters can be drawn."""
    return printable(" ".join(text.split())).replace("$", r"\$")


def whole_numbers(axis: Axis) -> None:
    """No ticks between whole numbers."""
    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
