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


def to_image(figure: Figure, kind: str = "png") -> bytes:
    """The figure as a file of a kind that matplotlib knows; it is closed."""
    image = io.BytesIO()
    figure.savefig(image, format=kind)
    plt.close(figure)
    return image.getvalue()


def literal(text: str) -> str:
    """A name from a file for a figure: a dollar in it begins no formula, and each of its characters can be drawn."""
    return printable(" ".join(text.split())).replace("$", r"\$")


def whole_numbers(axis: Axis) -> None:
    """No ticks between whole numbers."""
    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
