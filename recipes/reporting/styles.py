"""How an algorithm is drawn, the same in every figure and in W&B, whatever it is compared with."""

from __future__ import annotations

import zlib
from typing import Any

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B", "#7F7F7F", "#B5BD00")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)))
MARKERS = "os^Dv*Px<"
# nine that are often compared have a colour each; who comes later shares one, with another dash and marker
ORDER = (
    "iql", "bc", "td3_bc", "awac", "cql", "rebrac", "dt", "edac", "bc_top",
    "iql_corl", "sac", "sac_n", "iql_tuned", "cql_small", "rebrac_tuned", "dt_small", "iql_official", "diffusion_bc",
    "cql_lagrange", "discrete_iql", "discrete_cql", "dqn", "discrete_bc", "discrete_bc_top",
    "iql_locomotion", "iql_antmaze", "cal_ql", "rlpd", "wsrl",
)  # fmt: skip


def place(algorithm: str) -> int:
    """Of an algorithm among the styles; one of your own, or with settings in its name, has one by its name."""
    return ORDER.index(algorithm) if algorithm in ORDER else zlib.crc32(algorithm.encode()) % 288


def color(algorithm: str) -> str:
    return COLORS[place(algorithm) % len(COLORS)]


def line(algorithm: str) -> dict[str, Any]:
    """Colour, dashes and marker: in grey, the latter two tell lines apart."""
    index, lap = place(algorithm), place(algorithm) // len(COLORS)
    return {
        "color": color(algorithm),
        "linestyle": DASHES[(index + lap) % len(DASHES)],
        "marker": MARKERS[(index + lap) % len(MARKERS)],
    }
