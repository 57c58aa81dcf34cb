"""Collection: a policy acts in environments, a step of each at a time, and leaves experience.

An episode follows from its seed and the actions in it, as Gymnasium has it of environments. So what a run needs to go
on from any moment is the number of rows and which episodes were running: those are begun again with their seeds, and
the actions in the rows are done once more.

Legend: ``E`` environments, ``O`` observation, ``A`` action.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from agents.environments.environment import EvaluationEnv
from agents.environments.limits import executed_action
from agents.errors import AgentsError, DataError, one_line
from agents.online.experience import Experience

Act = Callable[[NDArray[Any], int], NDArray[Any]]  # observations [E, O], environment steps until then -> actions [E, A]


class Collection:
    """Environments of one kind, each in an episode and a thread of its own, as a context that closes them.

    Args:
        experience: with the rows of before, if there are any.
        episodes: the numbers of the episodes that are running after these; None: there are no rows.
        seed: of the run; episode ``i`` begins with a seed that follows from both.
    """

    def __init__(
        self,
        env: EvaluationEnv,
        act: Act,
        experience: Experience,
        *,
        episodes: Sequence[int] | None = None,
        seed: int = 0,
    ) -> None:
        self.experience, self._act, self._seed = experience, act, seed
        with contextlib.ExitStack() as stack:
            self._envs = [stack.enter_context(contextlib.closing(env.make())) for _ in range(experience.num_envs)]
            self.episodes = [*range(experience.num_envs)] if episodes is None else [*episodes]
            self._next_episode = max(self.episodes) + 1
            self._observations = [self._go_back(e) for e in range(experience.num_envs)]
            self._pool = stack.enter_context(ThreadPoolExecutor(experience.num_envs))
            self._stack = stack.pop_all()

    @property
    def env_step(self) -> int:
        """Steps of all environments together."""
        return self.experience.length

    def step(self) -> None:
        """Do one step in each environment, and begin an episode where one has ended.

        Raises:
            DataError: an environment failed, or gave what is not finite; nothing of the step is kept, and its
                environments are where a collection of the same rows would be, but for those of this object.
        """
        step, observations = self.env_step, np.stack(self._observations)
        actions = self._act(observations, step)
        try:
            step_all = map if len(self._envs) == 1 else self._pool.map  # MuJoCo lets other threads run meanwhile
            outcomes = [*step_all(_step, self._envs, actions)]
            following, rewards, terminated, truncated, executed = (np.stack(values) for values in zip(*outcomes))
            self.experience.append(observations, executed, rewards, terminated, truncated, following)
            self._observations = [*following]
            ended = np.flatnonzero(terminated | truncated).tolist()
            for e in ended:  # all of them before the first reset, which may fail
                self._number_next(e)
            for e in ended:
                self._observations[e] = self._reset(e)
        except AgentsError as error:
            raise DataError(f"at environment step {step + 1:,}: {one_line(error)}") from error

    def _number_next(self, e: int) -> None:
        self.episodes[e] = self._next_episode
        self._next_episode += 1

    def _reset(self, e: int) -> NDArray[np.float32]:
        sequence = np.random.SeedSequence((self._seed, self.episodes[e]))
        observation, _ = self._envs[e].reset(seed=int(sequence.generate_state(1)[0]))
        return np.asarray(observation, np.float32).reshape(-1)

    def _go_back(self, e: int) -> NDArray[np.float32]:
        """The observation of an environment, after the rows of its running episode."""
        observation, rows = self._reset(e), self.experience.running(e).numpy().copy()
        for row, action in zip(rows, self.experience.actions(torch.from_numpy(rows))):
            following, *outcome, executed = _step(self._envs[e], action)
            step = (observation, executed, *outcome, following)
            observation = following
            if not np.array_equal(self.experience.pack(*(np.asarray(part)[None] for part in step))[0], row):
                warnings.warn(
                    "the environment does not repeat an episode from its seed and actions: the one that was running is "
                    "cut off here, and what follows is not exactly what would have followed",
                    stacklevel=2,
                )
                self.experience.cut_off(e)
                self._number_next(e)
                return self._reset(e)
        return observation

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()


def _step(env: gym.Env, action: NDArray[Any]) -> tuple[NDArray[np.float32], float, bool, bool, NDArray[Any]]:
    """Next observation ``[O]``, reward, flags, and the action ``[A]`` that was done."""
    space = env.action_space
    action = np.array(action, dtype=space.dtype).reshape(space.shape)
    observation, reward, terminated, truncated, _ = env.step(action)
    following = np.asarray(observation, np.float32).reshape(-1)
    return following, float(reward), terminated, truncated, executed_action(env, action)
