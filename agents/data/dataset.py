"""A dataset: float32 transitions, statistics, specs, and a replay buffer over them.

Legend: ``N`` steps of the dataset, ``E`` episodes, ``B`` batch, ``K`` steps of a window, ``D`` columns of a row, ``O``
observation, ``A`` action.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray
from torch import Tensor
from torchrl.data import TensorDictReplayBuffer
from torchrl.data.replay_buffers import ImmutableDatasetWriter

from agents.data.dataset_statistics import DatasetStatistics
from agents.data.infos import has_info, read_infos
from agents.data.layout import (
    DEFAULT_KEYS,
    DISCOUNTED_RETURN,
    NEXT_ACTION,
    OPTIONAL_KEYS,
    WINDOW_KEYS,
    Key,
    Layout,
)
from agents.data.rewards import LearnerRewards, discounted_returns, learner_rewards
from agents.data.settings import RewardsConfig
from agents.data.specs import Specs
from agents.data.split import split
from agents.data.storage import PackedStorage, first_rows, rows_of_steps
from agents.environments.environment import EvaluationEnv
from agents.environments.protocols import Reference
from agents.environments.spec import find_spec, spec_from_file
from agents.errors import ConfigError, DataError, require


@dataclass(frozen=True, eq=False)
class OfflineDataset:
    """Every transition of a Minari dataset, or of those of its episodes that :meth:`split` gives.

    The last transition of an episode has the episode's true last observation as its next one. ``terminated`` is True
    only where the environment said so: a truncated episode, or one that just stops, is bootstrapped.
    """

    id: str
    layout: Layout
    rows: Tensor  # [N + E, D] float32, as in ``layout``: below an episode its end; read-only when memory-mapped
    specs: Specs
    statistics: DatasetStatistics
    reference: Reference | None  # from the dataset's metadata
    env_spec: EnvSpec | None  # for evaluation, as the metadata say it: spec_from_file before it is made
    fingerprint: str  # hexadecimal digest of all rows and episodes: equal content, equal fingerprint
    device: torch.device  # where batches arrive; the rows are there too unless memory-mapped
    recorded_elsewhere: bool = False  # by the metadata, in another environment than env_spec
    starts: Tensor | None = None  # [E] int64, rows of the episodes' first steps; None: they follow each other
    whole: OfflineDataset | None = None  # of which this is a part

    def __len__(self) -> int:
        return self.statistics.num_steps

    def split(self, share: float, seed: int = 0) -> tuple[OfflineDataset, OfflineDataset]:
        """Whole episodes to train on and others, held out, to measure on: two views of the same rows.

        Which episodes are held out follows from the dataset's fingerprint and the seed, everywhere and in every
        version; of two shares, those of the smaller are among those of the larger. Each part has the statistics of its
        own episodes, and both have the specs of the first: from mean, standard deviation and largest return of what is
        held out nothing is learned. Bounds of actions stay those of all data.

        Args:
            share: of the episodes that are held out, in (0, 1), rounded, at least one and never all.
            seed: of the choice, any whole number; not the one of a run, so that runs share what is held out.

        Raises:
            ConfigError: a share out of range.
            DataError: the dataset has a single episode.
        """
        return split(self, share, seed)

    def has_infos(self, name: str) -> bool:
        """Whether the data keep something under a name beside any of their steps."""
        return has_info(self.id, name)

    def infos(self, name: str) -> NDArray[Any]:
        """What the data keep beside each of the steps under a name, ``[N, ...]``, such as ``"action_probability"``.

        Raises:
            DataError: they do not.
        """
        infos = read_infos(self.id, name)
        if self.starts is not None:
            firsts = first_rows(torch.tensor([len(values) for values in infos])).tolist()
            by_row = dict(zip(firsts, infos))
            infos = [by_row.get(row, np.zeros(0)) for row in self.starts.tolist()]
        if [len(values) for values in infos] != self.statistics.lengths.tolist():
            raise DataError(f"dataset {self.id!r} has been written anew since it was loaded; load it again")
        return np.concatenate(infos)

    def replay_buffer(
        self,
        batch_size: int | None,
        *,
        seed: int = 0,
        keys: Iterable[Key] = DEFAULT_KEYS,
        best_episodes: float | None = None,
        context_length: int | None = None,
        gamma: float | None = None,
        rewards: LearnerRewards | None = None,
    ) -> TensorDictReplayBuffer:
        """Uniform sampling with replacement from a generator of its own: its state is all that a resume needs.

        What an agent trains on is known to the agent: ``dataset.replay_buffer(256, **agent.sampling)``.

        Args:
            batch_size: of every batch; None: ``sample(batch_size)`` says it each time.
            keys: entries of a batch, for example a loss module's ``in_keys``. With ``("next", "action")``, the data's
                action at the next observation, steps at which an episode was cut off are left out, since they have
                none; where an episode terminated, it is there and means nothing.
            best_episodes: in (0, 1]: draw only from this share of the episodes, rounded, at least one, those with the
                largest undiscounted returns; None: from all.
            context_length: K >= 1: a batch ``[B, K]`` of windows, which begin at any step and stay in their episode;
                what is beyond its end repeats the last step and is False in ``mask [B, K]``. Then there are also
                ``return_to_go [B, K, 1]``, the undiscounted sum of the rewards from a step to the end of the episode,
                and ``step_count [B, K, 1]``, the steps of the episode before it. None: single steps.
            gamma: discount in [0, 1], None: 1, of the entry ``discounted_return [B, 1]``, which ``keys`` may name: the
                learner's rewards from a step to the end of its episode, truncated or not.
            rewards: in the place of the data's, see :meth:`learner_rewards`; where they are of several steps, the next
                observation and ``terminated`` are those after these, and a batch has ``steps_to_next_obs [B, 1]``.

        Raises:
            ConfigError: a key that the data do not have, or a share or length out of range.
            DataError: no step is left to draw from.
        """
        keys = tuple(keys)
        _check_entries(keys, context_length, gamma)
        generator = torch.Generator(self.rows.device).manual_seed(seed)
        num_steps_ahead = None if rewards is None else rewards.num_steps_ahead
        storage = PackedStorage(
            self.rows,
            self.layout,
            torch.from_numpy(self.statistics.lengths),
            keys,
            arrival=self.device,
            starts=self.starts,
            subset=self._subset(keys, best_episodes, num_steps_ahead),
            context_length=context_length,
            rewards=None if rewards is None else rewards.values,
            num_steps_ahead=num_steps_ahead,
            discounted_returns=self._discounted_returns(rewards, gamma) if DISCOUNTED_RETURN in keys else None,
        )
        return TensorDictReplayBuffer(
            storage=storage, writer=ImmutableDatasetWriter(), batch_size=batch_size, generator=generator
        )

    def learner_rewards(self, config: RewardsConfig, *, n_step: int = 1, gamma: float = 1.0) -> LearnerRewards:
        """What a learner gets for the rewards of these data, for :meth:`replay_buffer`; the data stay as they are.

        Args:
            n_step: n >= 1, steps of which the rewards are summed, as far as the episode goes.
            gamma: discount of these sums in [0, 1], which is to be the learner's.

        Raises:
            ConfigError: rewards or returns are all equal, and so have no scale, or become too large for float32.
        """
        rewards, terminated = self._rewards_and_ends()
        return learner_rewards(rewards, terminated, self.statistics, config, n_step=n_step, gamma=gamma)

    def _discounted_returns(self, rewards: LearnerRewards | None, gamma: float | None) -> Tensor:
        recorded, terminated = self._rewards_and_ends()
        values = recorded if rewards is None else rewards.of_single_steps
        lengths = torch.from_numpy(self.statistics.lengths).to(values.device)
        return discounted_returns(values, terminated, lengths, 1.0 if gamma is None else gamma)

    def _rewards_and_ends(self) -> tuple[Tensor, Tensor]:
        """What each step earned, and whether its episode terminated there, ``[N]`` both."""
        rewards, terminated = self.rows[:, -2:][self._rows_of_steps().to(self.rows.device)].unbind(-1)
        return rewards, terminated != 0

    def _subset(
        self, keys: tuple[Key, ...], best_episodes: float | None, num_steps_ahead: Tensor | None
    ) -> Tensor | None:
        """The steps to draw from, ``[M]``; None: all of them."""
        if best_episodes is None and NEXT_ACTION not in keys:
            return None
        among, lengths = torch.ones(len(self), dtype=torch.bool), self.statistics.lengths  # [N], [E]
        if best_episodes is not None:
            require(0.0 < best_episodes <= 1.0, "best_episodes", "lie in (0, 1]", best_episodes)
            order = np.argsort(-self.statistics.returns, kind="stable")  # of equal ones, the first
            best = np.isin(np.arange(len(lengths)), order[: max(1, round(best_episodes * len(lengths)))])
            among &= torch.from_numpy(best.repeat(lengths))
        if NEXT_ACTION in keys:
            ends = torch.from_numpy(lengths.cumsum() - 1)  # [E], steps
            rows = self._rows_of_steps()[ends]
            cut_off = torch.zeros(len(self), dtype=torch.bool)
            cut_off[ends] = (self.rows[rows.to(self.rows.device), -1] == 0).cpu()
            last = torch.arange(len(self)) + (0 if num_steps_ahead is None else num_steps_ahead.cpu() - 1)
            among &= ~cut_off[last]
        if not among.any():
            raise DataError(f"dataset {self.id!r} has no step with a next one; this algorithm needs longer episodes")
        return among.nonzero().squeeze(-1).to(self.rows.device)

    def _rows_of_steps(self) -> Tensor:
        """The row of each step, ``[N]`` int64."""
        return rows_of_steps(torch.from_numpy(self.statistics.lengths), self.starts)

    def names_another_env(self, env_id: str | None = None, max_episode_steps: int | None = None) -> bool:
        """Whether the metadata name another environment or time limit for evaluations: its references are no measure.

        ``compares`` says whether the data's own returns are.
        """
        ours = self.env_spec
        if ours is None:
            return False
        theirs = ours if env_id is None else find_spec(env_id)
        limit = max_episode_steps or theirs.max_episode_steps
        return (ours.id, ours.kwargs, ours.max_episode_steps) != (theirs.id, theirs.kwargs, limit)

    def compares(self, env_id: str | None = None, max_episode_steps: int | None = None) -> bool:
        """Whether returns of the data and of evaluations are of as many steps in the same task, as far as is known."""
        horizon = None if self.env_spec is None else self.env_spec.max_episode_steps
        in_pieces = self.statistics.in_pieces(horizon)
        return not (self.recorded_elsewhere or in_pieces or self.names_another_env(env_id, max_episode_steps))

    def make_env(
        self,
        num_envs: int = 1,
        env_id: str | None = None,
        *,
        max_episode_steps: int | None = None,
        trust: bool = False,
    ) -> EvaluationEnv:
        """The environment to evaluate in: ``env_id``, or the one that the dataset's metadata name.

        Args:
            max_episode_steps: after which its episodes are cut off; None: after its own limit, or where it has none
                after as many as the longest episode of the data has.
            trust: call what the metadata name, whatever it is; else only what ``spec_from_file`` lets through.

        Raises:
            DataError: there is none, it is unknown or cannot be made, it has other shapes than the data, or is not
                taken from a file.
        """
        owner = f"dataset {self.id!r}"
        if env_id is not None:
            spec = find_spec(env_id)
        elif self.env_spec is not None:
            spec = spec_from_file(self.env_spec, owner, trust=trust)
        else:
            raise DataError(f"{owner} has no environment metadata; pass eval_env=ID to evaluate")
        reference = None if self.names_another_env(env_id, max_episode_steps) else self.reference
        spec = dataclasses.replace(spec, max_episode_steps=max_episode_steps or self._time_limit(spec))
        return self.specs.environment(spec, num_envs=num_envs, reference=reference, owner=owner)

    def _time_limit(self, spec: EnvSpec) -> int:
        """Evaluations that nothing cuts off may never end; those of the data did."""
        if spec.max_episode_steps is not None:
            return spec.max_episode_steps
        limit = int(self.statistics.lengths.max())
        text = (
            f"environment {spec.id!r} has no time limit: evaluations are cut off after {limit} steps, as many as the "
            f"longest episode of dataset {self.id!r} has; max_episode_steps=N for another limit"
        )
        warnings.warn(text, stacklevel=3)
        return limit


def _check_entries(keys: tuple[Key, ...], context_length: int | None, gamma: float | None) -> None:
    if unknown := [key for key in keys if key not in DEFAULT_KEYS + OPTIONAL_KEYS]:
        raise ConfigError(f"offline data have no {unknown[0]!r}; choose from {DEFAULT_KEYS + OPTIONAL_KEYS}")
    require(context_length is None or context_length >= 1, "context_length", "be at least 1", context_length)
    if context_length is None and (of_windows := [key for key in keys if key in WINDOW_KEYS]):
        raise ConfigError(f"only windows have {of_windows[0]!r}; give a context_length")
    require(gamma is None or 0.0 <= gamma <= 1.0, "gamma", "lie in [0, 1]", gamma)
