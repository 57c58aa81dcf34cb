"""Episodes -> a Minari dataset in the local store, which appears there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import minari
import numpy as np
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_dataset import parse_dataset_id
from minari.dataset.minari_storage import MinariStorage

from agents.data.importers.explanation import explain
from agents.data.importers.meaning import Episode
from agents.data.importers.understanding import Understanding
from agents.data.store import minari_root
from agents.errors import ConfigError, DataError, one_line
from agents.files import remove_leftovers

AT_ONCE = 256  # episodes; until it is closed, an HDF5 file keeps memory for all that was ever opened in it
ROOM = 1.2  # bytes needed for one of data
OF_AN_EPISODE = 16_000  # bytes that HDF5 and Minari need for each beside its data: 15,000 measured
RECORD = "offline_agents_import"  # the entry of the metadata that says where a dataset is from


def require_id(dataset_id: str) -> None:
    """Refuse what Minari does not take for the id of a dataset."""
    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError) as error:
        way_out = "give two names of letters and digits, of two or more each, and a version, as robot/arm-v0"
        raise ConfigError(f"dataset={dataset_id} is no id of a dataset: {way_out}") from error
    if dataset_id.startswith("demo/"):
        raise ConfigError(f"dataset={dataset_id}: demo/ is for the built-in datasets; give another, as robot/arm-v0")


def read_record(dataset_id: str) -> dict[str, Any]:
    """What the metadata of a dataset in the store say of its import; {} of one that was not imported."""
    try:
        metadata = json.loads((minari_root() / dataset_id / "data" / "metadata.json").read_text())
        record = metadata[RECORD]
        return {"digest": str(record["digest"]), "meaning": {str(k): str(v) for k, v in record["meaning"].items()}}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write(dataset_id: str, episodes: Iterable[Episode], understanding: Understanding, digest: str | None) -> None:
    """Write the episodes as they are understood, over a dataset of this id if there is one.

    Raises:
        DataError: there is no room for them.
    """
    try:
        with _destination(dataset_id) as folder:
            _require_room(folder, understanding)
            storage = MinariStorage.new(
                folder / "data", understanding.observation_space(), understanding.action_space(), jpeg_encoding=False
            )
            storage.update_metadata(_metadata(dataset_id, understanding, digest))
            buffers = (_buffer(episode, understanding) for episode in episodes)
            for first in buffers:  # each is made when it is written: one is in memory
                storage.update_episodes(itertools.chain([first], itertools.islice(buffers, AT_ONCE - 1)))
    except OSError as error:
        raise DataError(
            f"could not write {dataset_id} ({one_line(error)}); make room in {minari_root()}, or set "
            "MINARI_DATASETS_PATH to another disk: nothing is half-written"
        ) from error


def _metadata(dataset_id: str, understanding: Understanding, digest: str | None) -> dict[str, Any]:
    return {
        "dataset_id": dataset_id,
        "minari_version": minari.__version__,
        "description": f"imported by offline-agents from {understanding.source} ({understanding.kind})",
        "observation_names": understanding.names["observation"],
        "action_names": understanding.names["action"],
        RECORD: {"source": understanding.source, "digest": digest, "meaning": dict(explain(understanding))},
    }


def _buffer(episode: Episode, understanding: Understanding) -> EpisodeBuffer:
    last = np.arange(episode.num_steps) == episode.num_steps - 1
    assert understanding.observation is not None
    arrays: dict[str, Any] = {  # which EpisodeBuffer takes, though its annotations have lists
        "observations": episode.observations.astype(understanding.observation.dtype, copy=False),
        "actions": understanding.stored_actions(episode.actions),
        "rewards": episode.rewards,
        "terminations": last & episode.terminated,
        "truncations": last & (not episode.terminated),
    }
    success = {} if episode.success is None else {"success": episode.success}
    return EpisodeBuffer(**arrays, infos={**success, **episode.infos})


def _require_room(folder: Path, understanding: Understanding) -> None:
    """HDF5 would crash the process on a full disk."""
    assert understanding.observation is not None and understanding.action is not None
    arrays = understanding.observation, understanding.action, *understanding.infos.values()
    widths = [array.dtype.itemsize * int(np.prod(array.shape[1:])) for array in arrays]
    num_bytes = ROOM * understanding.num_steps * (sum(widths) + 11) + OF_AN_EPISODE * understanding.num_episodes
    if shutil.disk_usage(folder).free < num_bytes:
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: about {num_bytes / 1e6:,.0f} MB are needed")


@contextlib.contextmanager
def _destination(dataset_id: str) -> Iterator[Path]:
    """A hidden folder of the store to fill; after the block it is the dataset, in the place of one of before."""
    root = minari_root()
    destination, importing = root / dataset_id, root / "importing"
    remove_leftovers(importing)
    # Minari overlooks such folders
    with tempfile.TemporaryDirectory(prefix=".importing.", suffix=f".{os.getpid()}.tmp", dir=root) as hidden:
        folder = Path(hidden, "dataset")
        folder.mkdir()
        yield folder
        destination.parent.mkdir(parents=True, exist_ok=True)
        if destination.exists():
            os.rename(destination, Path(hidden, "before"))
        os.rename(folder, destination)
