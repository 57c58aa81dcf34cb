"""Ranges of the losses' settings, checked by a loss and by the config that builds it; the latter has not loaded torch.

Every check raises ConfigError naming the setting, its range and the value.
"""

from __future__ import annotations

import math

from agents.errors import require, require_choice

QVALUE_LOSSES = ("l1", "l2", "smooth_l1")
DECAYS = ("linear", "exponential")
ENSEMBLE_VALUES = ("mean", "min")


def check_gamma(gamma: float) -> None:
    """Refuse a discount outside [0, 1]."""
    require(0.0 <= gamma <= 1.0, "gamma", "lie in [0, 1]", gamma)


def check_not_negative(**settings: float) -> None:
    """Refuse settings below 0, and infinite ones."""
    for name, value in settings.items():
        require(0.0 <= value < math.inf, name, "be at least 0", value)


def check_awac(*, temperature: float, gamma: float, advantage_clip: float | None) -> None:
    """Refuse settings of :class:`AWACLoss` that are out of range."""
    check_not_negative(temperature=temperature)
    check_gamma(gamma)
    require(advantage_clip is None or advantage_clip > 0.0, "advantage_clip", "be positive or null", advantage_clip)


def check_cal_ql(
    *, min_q_weight: float, lagrange_threshold: float | None, num_random: int, gamma: float, alpha_init: float
) -> None:
    """Refuse settings of :class:`CalQLLoss` that are out of range."""
    check_not_negative(min_q_weight=min_q_weight)
    finite = lagrange_threshold is None or math.isfinite(lagrange_threshold)
    require(finite, "lagrange_threshold", "be finite or null", lagrange_threshold)
    require(num_random >= 1, "num_random", "be at least 1", num_random)
    check_gamma(gamma)
    require(0.0 < alpha_init < math.inf, "alpha_init", "be positive", alpha_init)


def check_dqn(*, loss_function: str, gamma: float, cql_alpha: float | None = None) -> None:
    """Refuse settings of :class:`DQNLoss` that are out of range."""
    require_choice("loss_function", loss_function, QVALUE_LOSSES)
    check_gamma(gamma)
    check_not_negative(alpha=cql_alpha or 0.0)


def check_edac(*, eta: float, gamma: float, alpha_init: float) -> None:
    """Refuse settings of :class:`EDACLoss` that are out of range."""
    check_not_negative(eta=eta)
    check_gamma(gamma)
    require(0.0 < alpha_init < math.inf, "alpha_init", "be positive", alpha_init)


def check_iql(
    *,
    loss_function: str,
    temperature: float,
    expectile: float,
    gamma: float,
    advantage_clip: float | None,
    bc_weight: float | None = None,
) -> None:
    """Refuse settings of :class:`IQLLoss` that are out of range."""
    require_choice("loss_function", loss_function, QVALUE_LOSSES)
    require(0.0 < expectile < 1.0, "expectile", "lie in (0, 1)", expectile)
    check_awac(temperature=temperature, gamma=gamma, advantage_clip=advantage_clip)
    require(bc_weight is None or 0.0 <= bc_weight < math.inf, "bc_weight", "be at least 0 or null", bc_weight)


def check_rebrac(*, gamma: float, **settings: float) -> None:
    """Refuse settings of :class:`ReBRACLoss` that are out of range."""
    check_not_negative(**settings)
    check_gamma(gamma)


def check_redq(*, num_target_nets: int, actor_qvalue: str, gamma: float, alpha_init: float) -> None:
    """Refuse settings of :class:`REDQLoss` that are out of range."""
    require(num_target_nets >= 1, "num_target_nets", "be at least 1", num_target_nets)
    require_choice("actor_qvalue", actor_qvalue, ENSEMBLE_VALUES)
    check_gamma(gamma)
    require(0.0 < alpha_init < math.inf, "alpha_init", "be positive", alpha_init)


def check_decay(kind: str, final: float, num_steps: int) -> None:
    """Refuse settings of :class:`Decay` that are out of range."""
    require_choice("kind", kind, DECAYS)
    require(0.0 < final <= 1.0, "final", "lie in (0, 1]", final)
    require(num_steps >= 1, "num_steps", "be at least 1", num_steps)


def check_linear_expectile(final: float, num_steps: int) -> None:
    """Refuse settings of :class:`LinearExpectile` that are out of range."""
    require(0.0 < final < 1.0, "final", "lie in (0, 1)", final)
    require(num_steps >= 1, "num_steps", "be at least 1", num_steps)


def check_adaptive_expectile(positive_share: float, rate: float) -> None:
    """Refuse settings of :class:`AdaptiveExpectile` that are out of range."""
    require(0.0 < positive_share < 1.0, "positive_share", "lie in (0, 1)", positive_share)
    require(0.0 < rate < 1.0, "rate", "lie in (0, 1)", rate)
