"""Rewards of several steps: every algorithm that learns values discounts by as many steps as the batch says."""

from __future__ import annotations

import pytest
import torch

import agents

LEARNERS = [name for name, config in agents.ALGORITHMS.items() if hasattr(config(), "gamma")]


@pytest.mark.parametrize("name", LEARNERS)
def test_several_steps_are_discounted_as_one_of_their_product(name, specs, discrete_specs, batches_for) -> None:
    config = agents.ALGORITHMS[name]
    losses = []
    for gamma, steps in ((0.5, None), (0.5, 1), (0.5, 3), (0.125, None)):
        suited = discrete_specs if config.actions == "discrete" else specs
        torch.manual_seed(0)
        agent = config(gamma=gamma).build(suited)
        batch = batches_for(suited, agent)(0)
        if steps is not None:
            batch["steps_to_next_obs"] = torch.full((16, 1), steps)
        torch.manual_seed(1)
        losses.append(agent.update(batch)["loss_qvalue"])
    torch.testing.assert_close(losses[1], losses[0])
    torch.testing.assert_close(losses[2], losses[3])
    assert not torch.allclose(losses[0], losses[2])
