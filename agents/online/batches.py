"""Batches of data and experience together.

Legend: ``B`` batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Generator
from torchrl.data import TensorDictReplayBuffer

from agents.errors import require
from agents.online.experience import Experience


class MixedBatches:
    """Batches of which a share is from the data, and the rest from experience.

    Args:
        data: whose batches are of the same entries and rewards as those of the experience.
        share: of a batch that is from the data, in [0, 1], rounded; None: each step is drawn from all steps alike, as
            if both were in one buffer (IQL, arXiv 2110.06169, section 5.2).
        final_share: after ``fades_over`` steps, reached in a straight line; None: the same.
        fades_over: steps in the environment; None: the experience's capacity.
        like: a batch of the data, by :func:`joined`: what was compiled for it takes the entries of others by their
            places, in its order and as it lies in memory.
        generator: of what is drawn from the experience, and of how much.
    """

    def __init__(
        self,
        data: TensorDictReplayBuffer,
        experience: Experience,
        *,
        like: TensorDictBase,
        share: float | None = 0.5,
        final_share: float | None = None,
        fades_over: int | None = None,
        generator: Generator,
    ) -> None:
        for name, value in (("offline_share", share), ("final_offline_share", final_share)):
            require(value is None or 0.0 <= value <= 1.0, name, "lie in [0, 1]", value)
        require(final_share is None or share is not None, "final_offline_share", "stand beside an offline_share", share)
        self._data, self._experience, self._batch_size = data, experience, len(like)
        self._keys = [*like.keys(True, True)]
        self._share, self._final_share = share, final_share
        self._fades_over = experience.capacity if fades_over is None else fades_over
        self._generator, self._device = generator, like["action"].device

    @property
    def share(self) -> float:
        """Of a batch that is from the data, now and on average."""
        if self._share is None:
            return len(self._data) / (len(self._data) + self._experience.num_drawable)
        final = self._share if self._final_share is None else self._final_share
        return self._share + (final - self._share) * min(self._experience.length / self._fades_over, 1.0)

    @property
    def can_draw(self) -> bool:
        """Whether there is a batch: not while only experience counts and there is none."""
        return self._experience.num_drawable > 0 or self.share > 0.0

    def sample(self) -> TensorDictBase:
        """A batch ``[B]``: steps of the data first, then those of the experience."""
        parts, number = [], self._draw_number()
        if number:
            parts.append(self._data.sample(number))
        if number < self._batch_size:
            own = self._experience.sample(self._batch_size - number, self._generator)
            parts.append(own.to(self._device))
        return joined(parts, self._keys)

    def _draw_number(self) -> int:
        """Steps of a batch that are from the data: all of them, while there is no experience to draw from."""
        if self._experience.num_drawable == 0:
            return self._batch_size
        if self._share is None:  # binomial, as of steps that are drawn one by one
            return int((torch.rand(self._batch_size, generator=self._generator) < self.share).sum())
        return round(self.share * self._batch_size)


def joined(parts: Sequence[TensorDictBase], keys: Iterable[Any] | None = None) -> TensorDict:
    """One batch of several, with these entries in this order, each a piece of memory of its own.

    Args:
        keys: nested ones as tuples; None: those of the first part but for the sampler's ``index``.
    """
    keys = [key for key in parts[0].keys(True, True) if key != "index"] if keys is None else keys
    tree: dict[str, Any] = {}
    for key in keys:
        *branch, name = key if isinstance(key, tuple) else (key,)
        node = tree.setdefault(branch[0], {}) if branch else tree
        node[name] = torch.cat([part.get(key) for part in parts])
    return TensorDict(tree, [sum(map(len, parts))])
