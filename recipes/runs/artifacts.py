"""Datasets and checkpoints as W&B artifacts: logged at the end of a run where it is asked for, and taken back.

A dataset is a reference: its id, fingerprint and statistics, and nothing of its content. Checkpoints are uploaded, the
last and the best one.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from torchrl.record.loggers import Logger

from agents import metrics
from agents.checkpoint import load
from agents.data.dataset import OfflineDataset
from agents.errors import CheckpointError
from recipes.runs.folder import RunFolder
from recipes.tracking.wandb_client import PATIENCE, query, wandb_client
from recipes.tracking.wandb_logger import PatientLogger

PREFIX = "wandb:"  # of a checkpoint that is to be fetched
FILE = "checkpoint.safetensors"  # its name inside an artifact
NUMBERS = ("reward_mean", "reward_std", "reward_min", "reward_max", "terminations", "truncations")


def log(logger: Logger | None, folder: RunFolder, dataset: OfflineDataset, name: str) -> None:
    """Log the data and the checkpoints of a finished run, ``name`` in W&B; a server that does not answer keeps none."""
    if not isinstance(logger, PatientLogger):
        return
    run, data = logger.experiment, describe(dataset)
    name = artifact_name(f"{name}-{run.id}")
    checkpoints = list_checkpoints(folder, logger.folder, name)
    if not run.offline:
        print(f"W&B checkpoint: {PREFIX}{run.entity}/{run.project}/{name}:latest (or :best)")
    logger.ask(lambda: [run.log_artifact(each, aliases=aliases) for each, aliases in checkpoints], "checkpoints")
    if run.offline:
        text = "W&B: offline, so the run is not linked to its dataset; the fingerprint is in its settings"
        print(text, file=sys.stderr)
    else:
        logger.ask(lambda: run.use_artifact(data), "the dataset")


def describe(dataset: OfflineDataset) -> Any:
    """The dataset as a reference artifact; the same content is the same version, wherever it lies."""
    statistics = dataset.statistics
    artifact = wandb_client().Artifact(
        artifact_name(dataset.id),
        type="dataset",
        metadata={
            "id": dataset.id,
            "fingerprint": dataset.fingerprint,
            "env": dataset.env_spec and dataset.env_spec.id,
            **{key.removeprefix("data/"): value for key, value in metrics.data(dataset).items()},
            **{name: float(getattr(statistics, name)) for name in NUMBERS},
            "return_min": float(statistics.horizon_returns.min()),
            "return_max": float(statistics.horizon_returns.max()),
        },
    )
    uri = f"minari://{dataset.id}?fingerprint={dataset.fingerprint}"
    with contextlib.redirect_stderr(io.StringIO()):  # that W&B cannot check what is behind such an address
        artifact.add_reference(uri, name="dataset", checksum=False)
    return artifact


def list_checkpoints(folder: RunFolder, place: Path, name: str) -> list[tuple[Any, list[str]]]:
    """Best and last checkpoint as artifacts with their aliases, the last one last; one, if they are the same.

    The files are copied to ``place``, W&B's own folder of the run: a resumed run replaces those of the run, and the
    upload names the path, which here is that below the current folder and not that of the user's home.
    """
    artifacts: dict[int, tuple[Any, list[str]]] = {}
    for alias, path in (("latest", folder.checkpoints.last), ("best", folder.checkpoints.best)):
        if path.exists():
            step = load(path).num_updates
            if step not in artifacts:
                copy = place / "checkpoints" / f"step-{step}.safetensors"
                artifacts[step] = (_checkpoint(path, copy, name), [f"step-{step}"])
            artifacts[step][1].append(alias)
    return [*artifacts.values()][::-1]


def _checkpoint(path: Path, copy: Path, name: str) -> Any:
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, copy)
    checkpoint = load(copy)
    metadata = {key: checkpoint.extra[key] for key in ("algorithm", "dataset", "dataset_fingerprint", "best_return")}
    artifact = wandb_client().Artifact(name, type="model", metadata={"step": checkpoint.num_updates, **metadata})
    artifact.add_file(str(copy), name=FILE, policy="immutable", skip_cache=True)
    return artifact


def artifact_name(name: str) -> str:
    """A name that W&B takes for an artifact: without slashes, at most 128 characters."""
    return re.sub(r"[^\w.-]+", "-", name)[-128:]


def fetch(reference: str, folder: Path) -> Path:
    """A checkpoint ``wandb:entity/project/name:alias``, downloaded once into a folder per version, and checked.

    Raises:
        ConfigError: if W&B refuses; one line.
        CheckpointError: if the reference is not of that form, or the file is not what was logged.
    """
    address = reference.removeprefix(PREFIX)
    if not re.fullmatch(r"[^/:]+/[^/:]+/[^/:]+:[^/:]+", address):
        raise CheckpointError(f"{reference} names no checkpoint: write {PREFIX}entity/project/name:alias")
    client = wandb_client()
    if not query(lambda: client.login(prompt=False, verify=False)):
        raise CheckpointError(f"{reference} is in W&B, and there is no account here: wandb login, or set WANDB_API_KEY")
    artifact = query(lambda: client.Api(timeout=PATIENCE).artifact(address))
    place = folder.joinpath(*address.split(":")[0].split("/"), artifact.version)
    if not (place / FILE).exists():
        query(lambda: artifact.download(root=str(place)))
    try:
        artifact.verify(root=str(place))
    except ValueError as error:
        raise CheckpointError(
            f"{place / FILE} is not what was logged ({error}); move it away and call again"
        ) from error
    if not (place / FILE).exists():
        raise CheckpointError(f"{reference} holds no {FILE}: it was not logged by recipes/train.py")
    return place / FILE
