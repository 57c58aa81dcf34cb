"""The data that a checkpoint was trained on, found again."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from omegaconf import OmegaConf

import agents
from agents.checkpoint import Checkpoint
from agents.errors import ConfigError
from recipes.runs.folder import RunFolder
from recipes.runs.resume import read_settings
from recipes.runs.training import open_dataset
from recipes.runs.validation import split_again
from recipes.settings.schema import TrainConfig


def dataset_of(checkpoint: Checkpoint, run: RunFolder) -> agents.OfflineDataset:
    """The dataset by the settings of the run, or where a file is alone by what the checkpoint says; its own episodes.

    Raises:
        CheckpointError: it does not say which episodes were held out.
        DataError: the dataset is not here.
        ConfigError: what is here has other rows.
    """
    dataset = read_as_trained(checkpoint, run, checkpoint.extra["dataset"])
    here, there = dataset.fingerprint, checkpoint.extra["dataset_fingerprint"]
    if here != there:
        problem = f"the data of {dataset.id} here are not those that {checkpoint.path} was trained on"
        raise ConfigError(
            f"{problem} ({here[:12]} here, {there[:12]} there); name the run's folder, which says how they were read"
        )
    return split_again(checkpoint, dataset)[0]


def read_as_trained(checkpoint: Checkpoint, run: RunFolder, dataset_id: str) -> agents.OfflineDataset:
    """Any dataset, read as the one that a policy was trained on: the same parts of observations, the same bounds.

    Raises:
        DataError: it is not here.
    """
    if run.holds_run:
        config = cast(TrainConfig, OmegaConf.to_object(read_settings(run)))
        return open_dataset(replace(config, dataset=dataset_id), torch.device("cpu"))
    parts = checkpoint.specs().numbers.observations.parts
    return agents.load_dataset(dataset_id, include=[part.name for part in parts if part.path])
