"""Settings of losses that change during training: expectiles of IQL, none of which is in the paper, and penalties.

The state of each is a buffer: it is saved, restored and stacked with the loss, and a trace of the loss changes it too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agents.errors import require
from agents.objectives.settings import check_adaptive_expectile, check_decay, check_linear_expectile

ADAPTIVE_RANGE = (0.5, 0.99)  # from the mean of Q to where its largest values own the loss


class LinearExpectile(nn.Module):
    r"""From one expectile to another in a straight line.

    .. math:: \tau_k = \tau_0 + (\tau_K - \tau_0) \min(k / K, 1)        (k updates before, K >= 1)
    """

    num_updates: Tensor  # [] int64

    def __init__(self, initial: float, final: float, num_steps: int) -> None:
        super().__init__()
        check_linear_expectile(final, num_steps)
        self.initial, self.final, self.num_steps = initial, final, num_steps
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))

    def forward(self, advantage: Tensor) -> Tensor:
        """The expectile of this update, and a step towards the next one's; ``[B] -> []``."""
        return self.initial + (self.final - self.initial) * _progress(self)


class AdaptiveExpectile(nn.Module):
    r"""An expectile that steers the share of positive advantages to a set point.

    .. math:: \tau \leftarrow \mathrm{clip}(\tau + \eta \, (E[1(A > 0)] - p), 0.5, 0.99)

    The larger the expectile, the larger V and the fewer advantages are positive, so that the share settles at p, where
    the range of the expectile allows it.

    Args:
        initial: the first update's.
        positive_share: p in (0, 1).
        rate: eta in (0, 1), change per update and unit of share.
    """

    expectile: Tensor  # []

    def __init__(self, initial: float, positive_share: float, rate: float) -> None:
        super().__init__()
        check_adaptive_expectile(positive_share, rate)
        self.positive_share, self.rate = positive_share, rate
        self.register_buffer("expectile", torch.tensor(initial))

    def forward(self, advantage: Tensor) -> Tensor:
        """The expectile of this update, and a step towards the next one's; ``[B] -> []``."""
        expectile = self.expectile.clone()
        if updating(self):
            share = (advantage > 0).float().mean()
            self.expectile.add_(self.rate * (share - self.positive_share)).clamp_(*ADAPTIVE_RANGE)
        return expectile


class ValidationExpectile(nn.Module):
    r"""An expectile that climbs what the policy is worth by episodes that nothing is learned from; a rule of our own.

    It takes a step at each look at that worth, :math:`v_k`, onwards as long as it does not fall, else back by half of
    the last one: a search of a coordinate by direct trials (Hooke, Jeeves 1961) that is never repeated, since the
    policy goes on learning in between.

    .. math::
        \delta_k &= \delta_{k-1} \text{ if } v_k \ge v_{k-1} \text{ else } -\delta_{k-1} / 2 \\
        \tau &\leftarrow \mathrm{clip}(\tau + \delta_k, 0.5, 0.99)

    Without looks it stays where it is. Who looks, and what at, is not its matter: :meth:`look` is called between
    updates.

    Args:
        initial: that of the updates before the first look.
        step_size: the first step, in (0, 1).
    """

    expectile: Tensor  # []
    step: Tensor  # [], delta
    worth: Tensor  # [], at the last look

    def __init__(self, initial: float, step_size: float = 0.05) -> None:
        super().__init__()
        require(0.0 < step_size < 1.0, "step_size", "lie in (0, 1)", step_size)
        for name, value in (("expectile", initial), ("step", step_size), ("worth", -torch.inf)):
            self.register_buffer(name, torch.tensor(value))

    def forward(self, advantage: Tensor) -> Tensor:
        """The expectile of this update, ``[B] -> []``."""
        return self.expectile.clone()

    @torch.no_grad()
    def look(self, worth: float | None) -> None:
        """Take a step by what the policy is worth now; None: that cannot be told, and so is worse than anything."""
        now = self.worth.new_tensor(-torch.inf if worth is None else worth)
        if worth is None or now < self.worth:
            self.step.mul_(-0.5)
        self.worth.copy_(now)
        self.expectile.add_(self.step).clamp_(*ADAPTIVE_RANGE)


class Decay(nn.Module):
    r"""A factor that falls from 1 with the updates, and stays at its final value.

    .. math:: f_k = \max(f, 1 - k / K) \text{ (linear)}, \quad f_k = f^{\min(k / K, 1)} \text{ (exponential)}

    Args:
        kind: ``linear`` or ``exponential``.
        final: f in (0, 1].
        num_steps: K >= 1, updates; a linear decay is at f before.
    """

    num_updates: Tensor  # [] int64, k

    def __init__(self, kind: str, final: float, num_steps: int) -> None:
        super().__init__()
        check_decay(kind, final, num_steps)
        self.kind, self.final, self.num_steps = kind, final, num_steps
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))

    def forward(self) -> Tensor:
        """The factor of this update, and a step towards the next one's, ``[]``."""
        progress = _progress(self)
        return (1.0 - progress).clamp(min=self.final) if self.kind == "linear" else self.final**progress


def _progress(schedule: LinearExpectile | Decay) -> Tensor:
    """The share of a schedule's updates that were before this one, which is counted, ``[]``."""
    progress = (schedule.num_updates / schedule.num_steps).clamp(max=1.0)
    if updating(schedule):
        schedule.num_updates.add_(1)
    return progress


def updating(module: nn.Module) -> bool:
    """Whether the loss is evaluated to learn from it; a held-out loss is no update."""
    return module.training and torch.is_grad_enabled()
