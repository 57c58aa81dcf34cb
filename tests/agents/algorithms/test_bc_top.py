"""Behaviour cloning of the best episodes: BC, on batches from them alone."""

from __future__ import annotations

import pytest
import torch

import agents


def test_the_agent_asks_for_the_best_episodes(specs) -> None:
    assert agents.BCTopConfig(best_episodes=0.25).build(specs).sampling["best_episodes"] == 0.25
    assert agents.BCConfig().build(specs).sampling["best_episodes"] is None


def test_on_the_same_batches_it_is_bc(specs, batches) -> None:
    for settings in ({}, {"normalize_observations": True, "max_grad_norm": 0.1}):
        losses = []
        for config in (agents.BCConfig(**settings), agents.BCTopConfig(**settings)):
            torch.manual_seed(0)
            agent = config.build(specs)
            losses.append([agent.update(batches(seed)).to_dict() for seed in range(3)])
        assert losses[0] == losses[1]


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_share_out_of_range_is_refused(share) -> None:
    with pytest.raises(agents.ConfigError, match=rf"best_episodes must .* got {share}$"):
        agents.BCTopConfig(best_episodes=share)
