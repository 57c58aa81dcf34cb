"""Distributions over actions inside their bounds.

Shapes: ``A`` action.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Normal, constraints
from torch.types import _size

from agents.networks.bounds import center_and_half_range, divisor


class BoundedTanhNormal(Distribution):
    r"""A Normal that a tanh squashes into the action bounds.

    .. math::
        a = c + h \tanh(u), \quad u \sim N(\mathrm{loc}, \mathrm{scale}), \qquad
        \log p(a) = \sum [\log N(u) - \log h - \log(1 - \tanh^2 u)]

    What TorchRL's TanhNormal is, but for two things. That one reads bounds and arguments back to check them whenever it
    is made, so that no loss with it can be traced. And the likelihood that it gives an action of exactly +-1 depends on
    where its inverse of tanh stops, hundreds of nats further out than anything inside: one saturated demonstration owns
    the batch. Actions of the data are pulled inside by a share of the range first, as official IQL does.

    Args:
        loc, scale: of u, ``[..., A]``.
        low, high: bounds of a, ``[A]``.
    """

    # torch's own distributions override its property so too
    arg_constraints: dict[str, constraints.Constraint] = {}  # pyright: ignore[reportIncompatibleMethodOverride]
    has_rsample = True
    action_eps = 1e-5  # share of the half range

    def __init__(self, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> None:
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)
        low, high = low.to(loc.device), high.to(loc.device)
        self.center, self.half_range = center_and_half_range(low, high)
        self.base_dist = Normal(loc, scale, validate_args=False)

    @property
    def deterministic_sample(self) -> Tensor:
        return self._squash(self.base_dist.loc)

    def rsample(self, sample_shape: _size = ()) -> Tensor:
        return self._squash(self.base_dist.rsample(sample_shape))

    def rsample_and_log_prob(self, sample_shape: _size = ()) -> tuple[Tensor, Tensor]:
        """An action and the log-likelihood of that very u, which the rounded action no longer tells."""
        raw = self.base_dist.rsample(sample_shape)
        return self._squash(raw), self._log_prob(raw)

    def log_prob(self, value: Tensor) -> Tensor:
        limit = 1.0 - self.action_eps
        position = (value - self.center) / divisor(self.half_range)
        return self._log_prob(torch.atanh(position.clamp(-limit, limit)))

    def _squash(self, raw: Tensor) -> Tensor:
        return self.center + self.half_range * torch.tanh(raw)

    def _log_prob(self, raw: Tensor) -> Tensor:
        # log(1 - tanh^2 u), which float32 rounds to log 0 from u = 9 on, in a form that does not overflow
        log_slope = 2.0 * (math.log(2.0) - raw - nn.functional.softplus(-2.0 * raw))
        return (self.base_dist.log_prob(raw) - log_slope - divisor(self.half_range).log()).sum(-1)
