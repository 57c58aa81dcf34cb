"""The data that a checkpoint was trained on, found again."""

from __future__ import annotations

from typing import cast

import torch
from omegaconf import OmegaConf

import agents
from agents.checkpoint import Checkpoint
from agents.errors import ConfigError
from recipes.runs.folder import RunFolder
from recipes.runs.resume import read_settings
from recipes.runs.training import open_dataset
from recipes.settings.schema import TrainConfig


def dataset_of(checkpoint: Checkpoint, run: RunFolder) -> agents.OfflineDataset:
    """The dataset by the settings of the run, or where a file is alone by what the checkpoint says.

    Raises:
        DataError: it is not here.
        ConfigError: what is here has other rows.
    """
    if run.holds_run:
        config = cast(TrainConfig, OmegaConf.to_object(read_settings(run)))
        dataset = open_dataset(config, torch.device("cpu"))
    else:
        parts = checkpoint.specs().numbers.observations.parts
        include = [part.name for part in parts if part.path]
        dataset = agents.load_dataset(checkpoint.extra["dataset"], include=include)
    here, there = dataset.fingerprint, checkpoint.extra["dataset_fingerprint"]
    if here != there:
        problem = f"the data of {dataset.id} here are not those that {checkpoint.path} was trained on"
        raise ConfigError(
            f"{problem} ({here[:12]} here, {there[:12]} there); name the run's folder, which says how they were read"
        )
    return dataset
