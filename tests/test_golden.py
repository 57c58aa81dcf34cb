"""The first ten updates of every algorithm on fixed batches, eager: losses, statistics and parameters as they were.

``golden.json`` was made by the code of version 0.1.0 before its modules had rooms, but for what came later. A change of
these numbers is a change of what is learnt: it has to be meant.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import agents
from tests.conftest import PRESETS, make_batch, make_windows

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())


def test_every_algorithm_has_a_trace() -> None:
    assert GOLDEN.keys() == agents.ALGORITHMS.keys() | PRESETS.keys()


@pytest.mark.parametrize("name", GOLDEN)
def test_the_first_updates_are_as_they_were(name, specs, discrete_specs) -> None:
    config = {**agents.ALGORITHMS, **PRESETS}[name]()
    discrete = config.actions == "discrete"
    torch.manual_seed(0)
    agent = config.build(discrete_specs if discrete else specs)
    for step, expected in enumerate(GOLDEN[name]["updates"]):
        windows = agent.sampling.context_length is not None
        batch = (
            make_windows(16, step, agent.sampling.context_length)
            if windows
            else make_batch(16, step, discrete=discrete)
        )
        statistics = {key: value.item() for key, value in agent.update(batch).items()}
        assert statistics == pytest.approx(expected, rel=5e-5, abs=5e-6), f"update {step + 1}"
    parameters = [parameter.detach().double() for parameter in agent.loss_module.parameters()]
    assert sum(p.sum().item() for p in parameters) == pytest.approx(GOLDEN[name]["parameter_sum"], abs=1e-4)
    assert sum(p.abs().sum().item() for p in parameters) == pytest.approx(
        GOLDEN[name]["absolute_parameter_sum"], rel=1e-6
    )
