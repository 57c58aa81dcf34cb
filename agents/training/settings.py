"""Ranges and choices of the settings of an update, checked by an agent, by configs and by recipes without torch."""

from __future__ import annotations

from agents.errors import require

MODES = ("auto", "off", "trace", "inductor")  # of compilation
MATMUL_PRECISIONS = ("auto", "highest", "high", "medium")


def check_update(*, target_tau: float | None = None, target_every: int = 1, max_grad_norm: float | None = None) -> None:
    """Refuse settings of :class:`Agent` that are out of range, with a ConfigError."""
    require(target_tau is None or 0.0 < target_tau <= 1.0, "target_tau", "lie in (0, 1]", target_tau)
    require(target_every >= 1, "target_every", "be at least 1", target_every)
    require(max_grad_norm is None or max_grad_norm > 0.0, "max_grad_norm", "be positive or null", max_grad_norm)
