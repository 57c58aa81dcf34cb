"""Checkpoints of tiny policies, and their data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import agents
from agents.checkpoint import Checkpoint, load, save
from agents.data.dataset import OfflineDataset
from tests.worlds import record

SMALL = {"hidden_sizes": [8, 8], "width": 8, "num_layers": 1, "context_length": 3, "num_candidates": 6}


def small(config: Any) -> Any:
    """A config with tiny networks."""
    changes = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            changes[field.name] = small(value)
        elif field.name in SMALL:
            changes[field.name] = SMALL[field.name]
    return dataclasses.replace(config, **changes)


@pytest.fixture
def checkpoint_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Checkpoint, OfflineDataset]]:
    """The checkpoint of an untrained tiny policy for a world, and the data recorded in that."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "data"))

    def make(config: Any, world: str, **options: Any) -> tuple[Checkpoint, OfflineDataset]:
        dataset = record(world)
        dataset = agents.load_dataset(dataset.id, **options) if options else dataset
        assert dataset.env_spec is not None
        config = small(config)
        torch.manual_seed(0)
        agent: agents.Agent = config.build(dataset.specs)
        with torch.no_grad():  # so that actions of different observations differ
            for parameter in agent.loss_module.parameters():
                parameter.mul_(3.0)
        extra = {"algorithm": "tiny", "dataset": dataset.id, "eval_env": dataset.env_spec.to_json(), "reference": None}
        path = save(tmp_path / "tiny.safetensors", agent, config=config, specs=dataset.specs, extra=extra)
        return load(path), dataset

    return make
