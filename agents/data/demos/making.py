"""The list of built-in datasets, and how one comes into the local store."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tqdm import tqdm

from agents.data.demos import adroit, mountain_car, pointmaze, taxi
from agents.data.demos.demo import Demo, digest
from agents.data.demos.writing import write
from agents.environments.adroit import ADROIT_TASKS
from agents.errors import DataError
from agents.files import remove_leftovers

DEMOS: dict[str, Callable[[], Demo]] = {
    **{f"demo/{task}/{kind}-v1": partial(adroit.demo, task, kind) for task in ADROIT_TASKS for kind in adroit.KINDS},
    **{f"demo/pointmaze/{maze}-v1": partial(pointmaze.demo, maze) for maze in pointmaze.MAZES},
    "demo/taxi/mixed-v1": taxi.demo,
    "demo/mountaincar/mixed-v1": mountain_car.demo,
}
DIGESTS = {  # of what is recorded, by dataset
    "demo/pen/expert-v1": "d6fb61f175dff068",
    "demo/pen/mixed-v1": "2e32b36a8a137df5",
    "demo/hammer/expert-v1": "44b3fe5705205602",
    "demo/hammer/mixed-v1": "5b1cc9dee5c77ee0",
    "demo/door/expert-v1": "7ced5023465db912",
    "demo/door/mixed-v1": "3fc6f696a1cb4e00",
    "demo/relocate/expert-v1": "76580ae76b9f4df4",
    "demo/relocate/mixed-v1": "b763c3c5ecbd655f",
    "demo/pointmaze/umaze-v1": "003be31e150ba606",
    "demo/pointmaze/medium-v1": "6724d0c0f6a9a7b2",
    "demo/taxi/mixed-v1": "df9c784900785a33",
    "demo/mountaincar/mixed-v1": "02c6e979cf94e6b9",
}


def dataset_ids() -> list[str]:
    return [*DEMOS]


def make(dataset_id: str, *, progress: bool = True) -> None:
    """Make a built-in dataset in the local store, with a bar on a terminal; it appears there whole or not at all."""
    if dataset_id not in DEMOS:
        raise DataError(f"no built-in dataset {dataset_id!r}; there are {', '.join(DEMOS)}")
    demo = DEMOS[dataset_id]()
    bar = tqdm(total=demo.num_episodes, desc=f"making {dataset_id}", unit="episode", disable=not progress or None)
    try:
        with _destination(dataset_id) as staging, demo.env, bar:
            episodes = demo.record(demo.env, bar.update)
            write(staging, dataset_id, demo, episodes)
    except OSError as error:
        advice = "free some space or set MINARI_DATASETS_PATH"
        raise DataError(f"could not write {dataset_id}: {error}; {advice}") from error
    if digest(episodes) != DIGESTS[dataset_id]:
        warnings.warn(
            f"{dataset_id} came out other than where its figures were made (a processor without fused multiply-add, "
            "another C library, mujoco or gymnasium-robotics): scores on it are not to be compared with those",
            stacklevel=2,
        )


@contextlib.contextmanager
def _destination(dataset_id: str) -> Iterator[Path]:
    """A hidden folder of the store to fill, since Minari writes in place; after the block, it becomes the dataset."""
    from minari.storage.datasets_root_dir import get_dataset_path

    destination = get_dataset_path(dataset_id)
    making = Path(get_dataset_path(), "making")
    remove_leftovers(making)
    # Minari overlooks such folders
    with tempfile.TemporaryDirectory(prefix=".making.", suffix=f".{os.getpid()}.tmp", dir=making.parent) as hidden:
        staging = Path(hidden, "dataset")
        staging.mkdir()
        yield staging
        destination.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(staging, destination)
        except OSError:
            if not (destination / "data").is_dir():  # else another process was faster: its dataset is the same
                raise
