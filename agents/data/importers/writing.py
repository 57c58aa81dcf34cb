"""Episodes -> a Minari dataset in the local store, which appears there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import minari
import numpy as np
from minari.dataset.minari_dataset import parse_dataset_id
from minari.dataset.minari_storage import MinariStorage, is_image_space

from agents.data.importers.explanation import explain
from agents.data.importers.meaning import Episode
from agents.data.importers.minari_hdf5 import Parts, Pictures, append_episodes
from agents.data.importers.pictures import Picture, stored
from agents.data.importers.rows import Array
from agents.data.importers.understanding import Understanding
from agents.data.store import BEFORE, IMPORTING, minari_root, put_back
from agents.data.units import ACTION, OBSERVATION, RATE
from agents.errors import ConfigError, DataError, one_line
from agents.files import remove_leftovers

ROOM = 1.2  # bytes needed for one of data
OF_AN_EPISODE = 4_000  # bytes that HDF5 needs for each beside its data: 2,100 measured, and more with pictures
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
                folder / "data", understanding.observation_space(), understanding.action_space()
            )
            parts = (_parts(episode, understanding) for episode in episodes)
            num_episodes, num_steps = append_episodes(folder / "data" / "main_data.hdf5", parts)
            storage.update_metadata(
                {
                    **_metadata(dataset_id, understanding, digest),
                    "total_episodes": num_episodes,
                    "total_steps": num_steps,
                    "dataset_size": storage.get_size(),
                }
            )
    except OSError as error:
        raise DataError(
            f"could not write {dataset_id} ({one_line(error)}); make room in {minari_root()}, or set "
            "MINARI_DATASETS_PATH to another disk: nothing is half-written"
        ) from error


def _metadata(dataset_id: str, understanding: Understanding, digest: str | None) -> dict[str, Any]:
    names, choices = understanding.names["observation"], understanding.choices("observation")
    return {
        **understanding.headers.metadata,
        RATE: understanding.rate,
        OBSERVATION: [unit for index, unit in enumerate(understanding.units["observation"]) if index not in choices],
        ACTION: understanding.units["action"],
        "dataset_id": dataset_id,
        "minari_version": minari.__version__,
        "description": f"imported by offline-agents from {understanding.source} ({understanding.headers.title})",
        "observation_names": [name for index, name in enumerate(names) if index not in choices],
        "observation_categories": {understanding.part_names[names[index]]: words for index, words in choices.items()},
        "action_names": understanding.names["action"],
        "action_categories": [*understanding.choices("action").values()],
        RECORD: {"source": understanding.source, "digest": digest, "meaning": dict(explain(understanding))},
    }


def _parts(episode: Episode, understanding: Understanding) -> Parts:
    """An episode as Minari's file has it."""
    last = np.arange(episode.num_steps) == episode.num_steps - 1
    vectors = _vectors(episode, understanding)
    success = {} if episode.success is None else {"success": episode.success}
    return {
        "observations": _observations(episode, understanding) if understanding.part_names else vectors,
        "actions": understanding.stored_actions(episode.actions),
        "rewards": episode.rewards,
        "terminations": last & episode.terminated,
        "truncations": last & (not episode.terminated),
        "infos": {**success, **episode.infos},
    }


def _vectors(episode: Episode, understanding: Understanding) -> Array:
    assert understanding.observation is not None
    return episode.observations.astype(understanding.observation.dtype, copy=False)


def _observations(episode: Episode, understanding: Understanding) -> dict[str, Array | Pictures]:
    """Numbers, categories and pictures."""
    parts: dict[str, Array | Pictures] = {}
    vectors, choices = _vectors(episode, understanding), understanding.choices("observation")
    if not choices:
        parts["observation"] = vectors
    elif understanding.numbers:
        parts["observation"] = vectors[:, understanding.numbers]
    for index in choices:
        name = understanding.part_names[understanding.names["observation"][index]]
        parts[name] = understanding.places("observation", index, vectors[:, index])
    for column, space in understanding.pictures.items():
        contents = stored(_with_last(episode.pictures[column], episode.num_steps + 1), space, episode.place)
        name = understanding.part_names[column]
        parts[name] = Pictures(episode.num_steps + 1, contents) if is_image_space(space) else np.stack([*contents])
    return parts


def _with_last(pictures: Iterable[Picture], count: int) -> Iterator[Picture]:
    """The pictures, and the last once more where it is missing: behind a termination."""
    picture: Picture | None = None
    for picture in pictures:
        yield picture
        count -= 1
    if picture is not None and count > 0:
        yield picture


def _require_room(folder: Path, understanding: Understanding) -> None:
    """HDF5 would crash the process on a full disk."""
    assert understanding.observation is not None and understanding.action is not None
    arrays = understanding.observation, understanding.action, *understanding.infos.values()
    widths = [array.dtype.itemsize * int(np.prod(array.shape[1:])) for array in arrays]
    num_bytes = ROOM * understanding.num_steps * (sum(widths) + 11) + OF_AN_EPISODE * understanding.num_episodes
    num_bytes += ROOM * understanding.num_picture_bytes
    if shutil.disk_usage(folder).free < num_bytes:
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: about {num_bytes / 1e6:,.0f} MB are needed")


@contextlib.contextmanager
def _destination(dataset_id: str) -> Iterator[Path]:
    """A hidden folder of the store to fill; after the block it is the dataset, in the place of one of before.

    No system renames two folders at once: a kill in between leaves the one of before aside, until :func:`put_back`.
    """
    root = minari_root()
    put_back(root)
    remove_leftovers(root / IMPORTING)
    # Minari overlooks such folders
    with tempfile.TemporaryDirectory(prefix=f".{IMPORTING}.", suffix=f".{os.getpid()}.tmp", dir=root) as hidden:
        folder, destination, before = Path(hidden, "dataset"), root / dataset_id, Path(hidden, BEFORE, dataset_id)
        folder.mkdir()
        yield folder
        destination.parent.mkdir(parents=True, exist_ok=True)
        before.parent.mkdir(parents=True)
        try:
            if destination.exists():
                os.rename(destination, before)
            os.rename(folder, destination)
        finally:  # whatever stopped it, Ctrl-C too: the hidden folder goes, and what it holds
            if before.exists() and not destination.exists():
                os.rename(before, destination)
