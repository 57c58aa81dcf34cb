"""A dataset by its id, made or downloaded where it is not in the local store, and what its metadata say of it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import minari
import numpy as np
from gymnasium.envs.registration import EnvSpec
from minari.dataset.minari_storage import MinariStorage
from numpy.typing import NDArray

from agents.data import demos
from agents.data.source import Source
from agents.data.store import download, is_here, minari_root, refuse_if_open_elsewhere, remedy
from agents.environments.adapter import Spaces
from agents.environments.parts import WHOLE, Actions, Observations
from agents.environments.scoring import Reference
from agents.environments.spaces import actions_of, bounds_of, observations_of
from agents.environments.spec import read_spec
from agents.errors import AgentsError, DataError, one_line


def open_source(dataset_id: str, *, include: Sequence[str] = (), exclude: Sequence[str] = (), progress: bool) -> Source:
    """Find a dataset, which is made or downloaded when it is not there yet, and read its metadata, not its data.

    Args:
        include: names of parts of its observations to learn from; (): of all.
        exclude: of parts not to learn from.

    Raises:
        ConfigError: a part that there is not, or none is left.
        DataError: the dataset is unknown, its metadata are damaged or of an unsupported version, or its spaces are not
            supported.
    """
    if Path(dataset_id).is_absolute() or ".." in Path(dataset_id).parts:
        raise DataError(
            f"{dataset_id!r} is a path, not the id of a dataset such as D4RL/pen/human-v2: import_dataset of agents "
            "makes one of a log, and MINARI_DATASETS_PATH names another store"
        )
    root = minari_root()
    if not is_here(dataset_id):
        if dataset_id in demos.dataset_ids():
            demos.make(dataset_id, progress=progress)
        else:
            download(dataset_id, root, check=_read_metadata)
    return _read_metadata(dataset_id, root / dataset_id / "data", include=include, exclude=exclude)


def _read_metadata(dataset_id: str, path: Path, *, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Source:
    try:
        metadata = MinariStorage.read_raw_metadata(path)
        version = metadata["minari_version"]
        if absent := [name for name in ("observation_space", "action_space") if metadata.get(name) is None]:
            raise ValueError(f"no {absent[0]}")  # Minari would make the environment that the metadata name
        supported = version in minari.supported_dataset_versions
        storage = MinariStorage.read(path) if supported else None
        counts = int(metadata["total_episodes"]), int(metadata["total_steps"])
    except Exception as error:  # hand-made metadata break Minari in every way
        refuse_if_open_elsewhere(dataset_id, path, error)
        raise DataError(
            f"dataset {dataset_id!r} cannot be opened ({one_line(error)}): metadata.json or a data file is missing or "
            f"damaged; {remedy(dataset_id, path.parent)}"
        ) from error
    if storage is None:
        raise DataError(
            f"dataset {dataset_id!r} was written by Minari {version}, which the installed {minari.__version__} cannot "
            "read; use another version of the dataset, or of Minari"
        )
    try:
        observations, left_out = observations_of(storage.observation_space, include=include, exclude=exclude)
        actions = actions_of(storage.action_space)
    except AgentsError as error:
        raise type(error)(f"dataset {dataset_id!r}: {error}") from error
    if left_out:
        what = f"{', '.join(left_out)} of its observations"
        warnings.warn(f"dataset {dataset_id!r}: left out of training: {what}", stacklevel=3)
    low, high = _bounds(storage.action_space, actions)
    env_spec = _read_env_spec(dataset_id, metadata)
    return Source(
        dataset_id,
        path,
        metadata["data_format"],
        *counts,
        spaces=_with_names(metadata, observations, actions),
        low=low,
        high=high,
        reference=_read_reference(dataset_id, metadata),
        env_spec=env_spec,
        recorded_elsewhere=_recorded_elsewhere(metadata, env_spec),
        chosen_parts=bool(include or exclude),
    )


def _with_names(metadata: dict[str, Any], observations: Observations, actions: Actions) -> Spaces:
    """With the names that an import wrote into the metadata, if they are as many as the dimensions of the vector."""

    def labels(entry: str, size: int) -> tuple[str, ...]:
        names = metadata.get(entry)
        if isinstance(names, list) and len(names) == size and all(isinstance(name, str) for name in names):
            return tuple(names)
        return ()

    parts = [
        replace(part, labels=labels("observation_names", part.width)) if part.path in ((), (WHOLE,)) else part
        for part in observations.parts
    ]
    categories = metadata.get("observation_categories")
    if isinstance(categories, dict):
        parts = [replace(part, words=_words([categories.get(part.name)], part.categories)) for part in parts]
    named = replace(actions, labels=labels("action_names", actions.size))
    words = _words(metadata.get("action_categories"), actions.categories)
    return Spaces(Observations(tuple(parts)), replace(named, words=words))


def _words(names: Any, counts: Sequence[int]) -> tuple[str, ...]:
    """Of the categories of each index, one behind the other, if they are as many as there are categories."""
    lists = names if isinstance(names, list) and all(isinstance(each, list) for each in names) else []
    words = [word for each in lists for word in each]
    fit = [len(each) for each in lists] == [*counts] and all(isinstance(word, str) for word in words)
    return tuple(words) if fit else ()


def _bounds(space: Any, actions: Actions) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if actions.categories:
        return np.zeros(actions.size, np.float32), np.array(actions.categories, np.float32) - 1
    return bounds_of(space)


def _read_reference(dataset_id: str, metadata: dict[str, Any]) -> Reference | None:
    low, high = metadata.get("ref_min_score"), metadata.get("ref_max_score")
    try:
        return None if low is None or high is None else Reference(float(low), float(high))
    except (DataError, TypeError, ValueError) as error:
        warnings.warn(f"dataset {dataset_id!r}: reference scores ignored: {error}", stacklevel=2)
        return None


def _read_env_spec(dataset_id: str, metadata: dict[str, Any]) -> EnvSpec | None:
    text = metadata.get("eval_env_spec") or metadata.get("env_spec")
    try:
        return None if text is None else read_spec(text)
    except ValueError as error:
        warnings.warn(f"dataset {dataset_id!r}: environment metadata ignored: {one_line(error)}", stacklevel=2)
        return None


def _recorded_elsewhere(metadata: dict[str, Any], evaluated: EnvSpec | None) -> bool:
    """Whether the data are of another task than evaluations; the time limit of a recording says nothing of that."""
    try:
        recorded = read_spec(metadata.get("env_spec"))
    except ValueError:
        return False
    return evaluated is not None and (recorded.id, recorded.kwargs) != (evaluated.id, evaluated.kwargs)
