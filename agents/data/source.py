"""A dataset in the local store and what its metadata say: Minari id -> ``Source``.

Legend: ``O`` observation, ``A`` action.
"""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import minari
import numpy as np
from gymnasium.envs.registration import EnvSpec
from minari.dataset.minari_storage import MinariStorage
from numpy.typing import NDArray

from agents.data import demos
from agents.data.layout import Layout
from agents.data.store import download, is_here, minari_root, refuse_if_open_elsewhere, remedy
from agents.environments.protocols import scorings
from agents.environments.scoring import Reference, Scoring
from agents.environments.spec import read_spec
from agents.errors import DataError, one_line


@dataclass(frozen=True)
class Source:
    """A dataset in the local store, as far as its metadata describe it."""

    id: str
    path: Path  # the dataset's data folder
    format: str
    num_episodes: int
    num_steps: int  # as announced; for the progress bar only
    num_observations: int  # O
    num_actions: int  # A; 1 when discrete
    discrete: bool  # actions are the numbers from 0 to high[0]
    low: NDArray[np.float32]  # [A]
    high: NDArray[np.float32]  # [A]
    reference: Reference | None
    env_spec: EnvSpec | None
    own_bounds: bool = False  # low and high are infinite: the smallest and largest actions of the data are the bounds

    def without_bounds(self) -> Source:
        """The same, bounded by its own actions; discrete ones have no other bounds."""
        if self.discrete:
            return self
        infinite = np.full_like(self.high, np.inf)
        return replace(self, low=-infinite, high=infinite, own_bounds=True)

    @functools.cached_property
    def scorings(self) -> dict[str, Scoring]:
        """How its episodes are scored, by protocol."""
        return scorings(self.env_spec, self.reference, self.num_observations)

    @property
    def layout(self) -> Layout:
        """The columns that it has when converted."""
        return Layout(self.num_observations, self.num_actions, self.discrete)

    @property
    def horizon(self) -> int | None:
        """Steps after which the environment cuts an evaluation off; None where that is not known."""
        return None if self.env_spec is None else self.env_spec.max_episode_steps

    def error(self, episode: int, problem: str, way_out: str | None = None) -> DataError:
        return DataError(f"dataset {self.id!r}, episode {episode}: {problem}; {way_out or self.remedy}")

    @property
    def remedy(self) -> str:
        """How to come by a whole copy of a damaged dataset."""
        return remedy(self.id, self.path.parent)


def open_source(dataset_id: str, *, progress: bool) -> Source:
    """Find a dataset, which is made or downloaded when it is not there yet, and read its metadata, not its data.

    Raises:
        DataError: the dataset is unknown, its metadata are damaged or of an unsupported version, or its spaces are not
            supported.
    """
    if Path(dataset_id).is_absolute() or ".." in Path(dataset_id).parts:
        raise DataError(
            f"{dataset_id!r} is a path, not the id of a dataset such as D4RL/pen/human-v2; for another store "
            "set MINARI_DATASETS_PATH"
        )
    root = minari_root()
    if not is_here(dataset_id):
        if dataset_id in demos.dataset_ids():
            demos.make(dataset_id, progress=progress)
        else:
            download(dataset_id, root, check=_read_metadata)
    return _read_metadata(dataset_id, root / dataset_id / "data")


def _read_metadata(dataset_id: str, path: Path) -> Source:
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
    spaces: dict[str, Any] = {"observations": storage.observation_space, "actions": storage.action_space}
    _check_spaces(dataset_id, spaces)
    observation, action = spaces.values()
    discrete = isinstance(action, gym.spaces.Discrete)
    low, high = ([0], [action.n - 1]) if discrete else (action.low, action.high)
    return Source(
        dataset_id,
        path,
        metadata["data_format"],
        *counts,
        num_observations=observation.shape[0],
        num_actions=len(low),
        discrete=discrete,
        low=np.array(low, np.float32),
        high=np.array(high, np.float32),
        reference=_read_reference(dataset_id, metadata),
        env_spec=_read_env_spec(dataset_id, metadata),
    )


def _check_spaces(dataset_id: str, spaces: dict[str, gym.Space]) -> None:
    for name, space in spaces.items():
        flat = isinstance(space, gym.spaces.Box) and len(space.shape) == 1
        indices = name == "actions" and isinstance(space, gym.spaces.Discrete) and space.start == 0
        if not flat and not indices:
            raise DataError(
                f"dataset {dataset_id!r} has {name} in {_describe(space)}; supported are a one-dimensional Box, and "
                f"Discrete actions from 0 on: {_way_out(name, space)}"
            )


def _describe(space: gym.Space) -> str:
    """The space with its keys, start or shape, by which one knows it."""
    if isinstance(space, gym.spaces.Dict):
        return f"a Dict of {', '.join(map(repr, space.spaces))}"
    if isinstance(space, (gym.spaces.Discrete, gym.spaces.MultiDiscrete)):
        return f"a {space}"
    return f"a {type(space).__name__}" + (f" of shape {space.shape}" if space.shape is not None else "")


def _way_out(name: str, space: gym.Space) -> str:
    """What to do about a space: flattening keeps the meaning of observations, and of continuous actions."""
    if name == "observations" and space.is_np_flattenable:
        return "write the dataset again with gymnasium.spaces.flatten of each, its environment in FlattenObservation"
    if isinstance(space, gym.spaces.Discrete) and name == "actions":
        return (
            f"write the dataset again with {space.start} subtracted from its actions, and evaluate in an environment "
            "whose actions begin at 0 too (a gymnasium.ActionWrapper), by eval_env=module:ID"
        )
    if isinstance(space, gym.spaces.Box):
        return "write the dataset again with one vector per action"
    return "write the dataset again with each combination of actions as one number, or as a vector in a Box"


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
