"""Minari dataset id -> ``OfflineDataset``: float32 transitions, statistics, specs, and a replay buffer over them.

Legend: ``N`` steps of the dataset, ``B`` batch, ``D`` columns of a row, ``O`` observation, ``A`` action.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from tensordict import TensorDict
from torch import Tensor
from torchrl.data import Bounded, Categorical, TensorDictReplayBuffer, TensorSpec, TensorStorage, Unbounded
from torchrl.data.replay_buffers import ImmutableDatasetWriter

from agents.conversion import DEFAULT_KEYS, Cache, DatasetStatistics, Key, Layout, convert
from agents.envs import AdroitTask, EvaluationEnv, Reference
from agents.errors import ConfigError, DataError
from agents.source import Source, open_source

OPTIONAL_KEYS: tuple[Key, ...] = (("next", "truncated"), ("next", "done"))


@dataclass(frozen=True)
class Specs:
    """What a network has to know about the data."""

    observation: TensorSpec  # [O] float32
    action: TensorSpec  # Bounded [A] float32; Unbounded when a bound is infinite; Categorical for discrete actions
    observation_mean: Tensor  # [O] float32, over the N observations (not the next ones)
    observation_std: Tensor  # [O] float32, no epsilon added

    def check_fit(self, env: EvaluationEnv, owner: str) -> None:
        """Refuse an environment with other observations or actions.

        Args:
            owner: what has these specs, for the message.

        Raises:
            DataError: naming both.
        """
        discrete = isinstance(self.action, Categorical)
        action = f"Discrete({self.action.n})" if discrete else f"Box({self.action.shape[-1]},)"
        ours = f"Box({self.observation.shape[-1]},) and {action}"
        with env.borrow(1) as (gym_env,):  # kept for the first evaluation
            theirs = f"{_describe(gym_env.observation_space)} and {_describe(gym_env.action_space)}"
        if theirs != ours:
            raise DataError(
                f"environment {env.spec.id!r} has observations and actions in {theirs}, {owner} in {ours}; "
                "pass one that fits as eval_env=ID"
            )


def _describe(space: gym.Space) -> str:
    return str(space) if isinstance(space, gym.spaces.Discrete) else f"{type(space).__name__}{space.shape or ''}"


class PackedStorage(TensorStorage):
    """Storage over packed rows: one gather per batch, then views of it; half the time of a TensorDict's storage."""

    def __init__(self, dataset: OfflineDataset, keys: Iterable[Key]) -> None:
        super().__init__(dataset.rows, device=dataset.rows.device)
        self._layout = dataset.layout
        self._keys = frozenset(keys)
        self._batch_device = None if dataset.device == dataset.rows.device else dataset.device
        self._ends: Tensor | None = None  # [N, 1] bool
        if self._keys.intersection(OPTIONAL_KEYS):
            self._ends = dataset.last_steps().to(dataset.rows.device)

    def get(self, index: Any) -> TensorDict:
        gather = isinstance(index, Tensor) and index.ndim == 1
        rows = self._storage.index_select(0, index) if gather else self._storage[index]  # [B, D]
        ends = self._ends[index] if self._ends is not None else None
        if self._batch_device is not None:
            rows = rows.to(self._batch_device)
            ends = ends.to(self._batch_device) if ends is not None else None
        parts: dict[Key, Tensor] = dict(zip(DEFAULT_KEYS, rows.split(self._layout.widths, -1)))
        terminated = parts["next", "terminated"] = parts["next", "terminated"] != 0
        if self._layout.discrete:
            parts["action"] = parts["action"].squeeze(-1).long()  # [B, 1] -> [B], as Categorical has it
        if ends is not None:
            parts["next", "done"], parts["next", "truncated"] = ends | terminated, ends & ~terminated
        top = {key: part for key, part in parts.items() if key in self._keys and isinstance(key, str)}
        following = {key[1]: part for key, part in parts.items() if key in self._keys and isinstance(key, tuple)}
        # the checks of TensorDict() would cost as much as everything above
        top["next"] = TensorDict._new_unsafe(following, rows.shape[:-1])
        return TensorDict._new_unsafe(top, rows.shape[:-1])


@dataclass(frozen=True, eq=False)
class OfflineDataset:
    """Every transition of a Minari dataset.

    The last transition of an episode has the episode's true last observation as its next one. ``terminated`` is True
    only where the environment said so: a truncated episode, or one that just stops, is bootstrapped.
    """

    id: str
    layout: Layout
    rows: Tensor  # [N, D] float32, columns as in ``layout``; read-only when memory-mapped
    specs: Specs
    statistics: DatasetStatistics
    reference: Reference | None  # from the dataset's metadata
    env_spec: EnvSpec | None  # for evaluation
    task: AdroitTask | None
    fingerprint: str  # hexadecimal digest of the rows: equal content, equal fingerprint
    device: torch.device  # where batches arrive; the rows are there too unless memory-mapped

    def __len__(self) -> int:
        return len(self.rows)

    def last_steps(self) -> Tensor:
        """Whether a row is the last of its episode, ``[N, 1]`` bool."""
        last = torch.zeros(len(self), 1, dtype=torch.bool)
        last[torch.from_numpy(self.statistics.lengths.cumsum() - 1)] = True
        return last

    def replay_buffer(
        self, batch_size: int, *, seed: int = 0, keys: Iterable[Key] = DEFAULT_KEYS
    ) -> TensorDictReplayBuffer:
        """Uniform sampling with replacement from a generator of its own: its state is all that a resume needs.

        Args:
            keys: entries of a batch, for example a loss module's ``in_keys``; ``OPTIONAL_KEYS`` can be asked for.

        Raises:
            ConfigError: a key that the data do not have.
        """
        keys = tuple(keys)
        if unknown := [key for key in keys if key not in DEFAULT_KEYS + OPTIONAL_KEYS]:
            raise ConfigError(f"offline data have no {unknown[0]!r}; choose from {DEFAULT_KEYS + OPTIONAL_KEYS}")
        generator = torch.Generator(self.rows.device).manual_seed(seed)
        return TensorDictReplayBuffer(
            storage=PackedStorage(self, keys),
            writer=ImmutableDatasetWriter(),
            batch_size=batch_size,
            generator=generator,
        )

    def make_env(self, num_envs: int = 1, env_id: str | None = None) -> EvaluationEnv:
        """The environment to evaluate in: ``env_id``, or the one that the dataset's metadata name.

        Raises:
            DataError: neither is given, the environment is unknown, or ``env_id`` names one of other shapes.
        """
        if env_id is None and self.env_spec is None:
            raise DataError(f"dataset {self.id!r} has no environment metadata; pass eval_env=ID to evaluate")
        other = env_id is not None and self.env_spec is not None and env_id != self.env_spec.id
        reference = None if other else self.reference  # returns of another environment are on another scale
        env = EvaluationEnv(self.env_spec if env_id is None else env_id, num_envs=num_envs, reference=reference)
        if env_id is not None:
            self.specs.check_fit(env, f"dataset {self.id!r}")
        return env


def load_dataset(
    dataset_id: str,
    *,
    device: torch.device | str = "cpu",
    storage: str = "memory",
    clip_actions: bool = False,
    progress: bool = True,
) -> OfflineDataset:
    """Open a Minari dataset: local, built in (``demo/...``), or downloaded; converted at the first time.

    Args:
        device: where batches arrive.
        storage: ``"memory"`` holds the rows on ``device``; ``"memmap"`` leaves them on disk.
        clip_actions: clip actions to the bounds of the action space instead of refusing them.
        progress: on a terminal, show a bar for what takes longer than two seconds.

    Raises:
        DataError: the dataset is unknown, damaged, or of an unsupported kind.
        ConfigError: ``storage`` is neither of the two.
    """
    if storage not in ("memory", "memmap"):
        raise ConfigError(f"unknown storage {storage!r}; choose from memory, memmap")
    source = open_source(dataset_id, progress=progress)
    cache = convert(source, clip_actions=clip_actions, progress=progress)
    device = torch.device(device)
    rows = cache.rows(device, mapped=storage == "memmap")
    return OfflineDataset(
        id=dataset_id,
        layout=cache.layout,
        rows=rows,
        specs=_specs(source, cache),
        statistics=cache.statistics,
        reference=source.reference,
        env_spec=source.env_spec,
        task=source.task,
        fingerprint=cache.fingerprint,
        device=rows.device if storage == "memory" else device,
    )


def _specs(source: Source, cache: Cache) -> Specs:
    if source.discrete:
        action = Categorical(int(source.high[0]) + 1)
    elif np.isfinite(source.low).all() and np.isfinite(source.high).all():
        action = Bounded(torch.from_numpy(source.low), torch.from_numpy(source.high), dtype=torch.float32)
    else:
        action = Unbounded((source.num_actions,), dtype=torch.float32)
    observation = Unbounded((source.num_observations,), dtype=torch.float32)
    return Specs(observation, action, torch.from_numpy(cache.observation_mean), torch.from_numpy(cache.observation_std))
