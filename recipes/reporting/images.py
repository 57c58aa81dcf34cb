"""Matplotlib without a display, and a figure as a file."""

from __future__ import annotations

import io

import matplotlib
from matplotlib.figure import Figure

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the choice of a backend that needs no display)


def to_image(figure: Figure, kind: str = "png") -> bytes:
    """The figure as a file of a kind that matplotlib knows; it is closed."""
    image = io.BytesIO()
    figure.savefig(image, format=kind)
    plt.close(figure)
    return image.getvalue()
