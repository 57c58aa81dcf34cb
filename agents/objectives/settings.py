"""Ranges of the losses' settings, checked by a loss and by the config that builds it; the latter has not loaded torch.

Every check raises ConfigError naming the setting, its range and the value.
"""

from __future__ import annotations

import math

from agents.errors import require, require_choice

QVALUE_LOSSES = ("l1", "l2", "smooth_l1")


def check_gamma(gamma: float) -> None:
    """Refuse a discount outside [0, 1]."""
    require(0.0 <= gamma <= 1.0, "gamma", "lie in [0, 1]", gamma)


def check_awac(*, temperature: float, gamma: float, advantage_clip: float | None) -> None:
    """Refuse settings of :class:`AWACLoss` that are out of range."""
    require(0.0 <= temperature < math.inf, "temperature", "be at least 0", temperature)
    check_gamma(gamma)
    require(advantage_clip is None or advantage_clip > 0.0, "advantage_clip", "be positive or null", advantage_clip)


def check_dqn(*, loss_function: str, gamma: float, cql_alpha: float | None = None) -> None:
    """Refuse settings of :class:`DQNLoss` that are out of range."""
    require_choice("loss_function", loss_function, QVALUE_LOSSES)
    check_gamma(gamma)
    require(cql_alpha is None or 0.0 <= cql_alpha < math.inf, "alpha", "be at least 0", cql_alpha)


def check_edac(*, eta: float, gamma: float, alpha_init: float) -> None:
    """Refuse settings of :class:`EDACLoss` that are out of range."""
    require(0.0 <= eta < math.inf, "eta", "be at least 0", eta)
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


def check_rebrac(
    *, actor_penalty: float, critic_penalty: float, policy_noise: float, noise_clip: float, gamma: float
) -> None:
    """Refuse settings of :class:`ReBRACLoss` that are out of range."""
    require(0.0 <= actor_penalty < math.inf, "actor_penalty", "be at least 0", actor_penalty)
    require(0.0 <= critic_penalty < math.inf, "critic_penalty", "be at least 0", critic_penalty)
    require(0.0 <= policy_noise < math.inf, "policy_noise", "be at least 0", policy_noise)
    require(0.0 <= noise_clip < math.inf, "noise_clip", "be at least 0", noise_clip)
    check_gamma(gamma)


def check_linear_expectile(final: float, num_steps: int) -> None:
    """Refuse settings of :class:`LinearExpectile` that are out of range."""
    require(0.0 < final < 1.0, "final", "lie in (0, 1)", final)
    require(num_steps >= 1, "num_steps", "be at least 1", num_steps)


def check_adaptive_expectile(positive_share: float, rate: float) -> None:
    """Refuse settings of :class:`AdaptiveExpectile` that are out of range."""
    require(0.0 < positive_share < 1.0, "positive_share", "lie in (0, 1)", positive_share)
    require(0.0 < rate < 1.0, "rate", "lie in (0, 1)", rate)
