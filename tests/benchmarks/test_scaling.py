"""The floor of an update: the products of its equations, and no others."""

from __future__ import annotations

import contestants
from scaling import Size, floor, make, products


def test_the_floor_of_iql_is_the_products_of_its_equations(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(contestants, "NUM_ROWS", contestants.NUM_ROWS)  # put back afterwards
    agent, buffer = make(Size(batch=8, width=16, rows=1000), tmp_path)
    pairs = list(products(agent, buffer.sample()))
    contestants.random_dataset.cache_clear()
    observation, action, width = 45, 24, 16
    hidden = width * width
    # forward and by the weights, then by what came in; a column of values is no product, but for V's last weights
    actor = 2 * (observation * width + hidden + width * action) + hidden + width * action
    critic = 3 * ((observation + action) * width + hidden) + hidden  # Q with its target
    value = 3 * (observation * width + hidden) + hidden + width  # at two states
    made = sum(left.numel() * right.shape[-1] for left, right in pairs)
    assert made == 8 * (actor + 2 * critic + value)
    floor(pairs)()
