"""Which checkpoint of a run is the best, and which can be gone on with."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import agents
from agents import checkpoint
from agents.checkpoint import CheckpointFolder
from agents.networks.configs import ActorConfig
from recipes.runs.saver import Saver
from tests.conftest import make_batch


@pytest.fixture
def run(specs: agents.Specs, tmp_path: Path) -> Any:
    """As much of a run as its checkpoints need."""
    torch.manual_seed(0)
    config = agents.BCConfig(actor=ActorConfig(hidden_sizes=[8]))
    folder = SimpleNamespace(checkpoints=CheckpointFolder(tmp_path), info={"algorithm": "bc"}, has_checkpoint=True)
    return SimpleNamespace(
        agent=config.build(specs),
        folder=folder,
        generator=None,
        reward_scale=1.0,
        buffer=SimpleNamespace(_rng=torch.Generator()),
        env=None,
        estimation=None,
        dataset=SimpleNamespace(id="test/hand-v0", fingerprint="0123", reference=None, specs=specs),
        specs=specs,
        config=SimpleNamespace(algorithm=config, validation=0.0),
        online=None,
    )


def update(run: Any) -> None:
    run.agent.update(make_batch(16, run.agent.num_updates))


def best_step(run: Any) -> int:
    return checkpoint.load(run.folder.checkpoints.best).num_updates


def test_a_return_that_is_no_number_is_said_once_and_never_the_best(run, capsys) -> None:
    saver, best = Saver(run), []
    for mean_return in (math.nan, 1.0, math.nan, math.inf, 0.5, 2.0):
        update(run)
        saver.save(mean_return)
        best.append(run.folder.checkpoints.best.exists() and best_step(run))
    assert best == [False, 2, 2, 2, 2, 6]
    assert capsys.readouterr().err == "warning: the mean return at step 1 is nan: never the best\n"


def test_a_best_return_of_nan_that_an_earlier_version_saved_is_beaten(run) -> None:
    saver = Saver(run)
    saver._best = math.nan
    update(run)
    saver.save()
    again = Saver(run)
    again.restore()
    update(run)
    again.save(-5.0)
    assert best_step(run) == 2


@pytest.mark.parametrize(
    "damage, reason",
    [
        ("optimizer", "lacks the state of the optimizer"),
        ("generator", "no usable state of the random generator 'buffer'"),
        ("no generator", "no usable state of the random generator 'buffer'"),
        ("fingerprint", "does not say which data it was trained on"),
    ],
)
def test_a_checkpoint_that_cannot_be_gone_on_with_gives_way_to_the_one_before(damage, reason, run, capsys) -> None:
    saver = Saver(run)
    for _ in range(2):
        if run.agent.num_updates == 1:  # the second one is written with the damage
            if damage == "generator":
                saver._generators["buffer"] = SimpleNamespace(get_state=lambda: torch.zeros(5056, dtype=torch.uint8))
            elif damage == "no generator":
                del saver._generators["buffer"]
            elif damage == "fingerprint":
                saver._extra["dataset_fingerprint"] = None
        update(run)
        if damage == "optimizer" and run.agent.num_updates == 2:
            run.agent.rule.optimizer.state.clear()
        saver.save()
    assert Saver(run).restore() == 1 == run.agent.num_updates
    warning = capsys.readouterr().err
    assert re.search(rf"last.safetensors.*{reason}.*previous.safetensors \(step 1\)", warning), warning
