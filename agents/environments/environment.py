"""The environment that a policy is evaluated in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from agents.environments.adapter import Spaces
from agents.environments.guard import Guard, one_line_of
from agents.environments.limits import Limits
from agents.environments.protocols import scorings
from agents.environments.robotics import mend_joint_types
from agents.environments.scoring import Reference, Scoring
from agents.environments.spec import find_spec, register_robotics, without_window
from agents.errors import DataError, require


class EvaluationEnv:
    """A kind of environment, and up to ``num_envs`` instances of it that evaluations reuse.

    Args:
        spec: a Gymnasium id, or a spec, whose entry point is called: one from a file only as ``spec_from_file``
            gives it.
        num_envs: how many episodes run at the same time; changes the speed, never the result.
        reference: the dataset's reference returns, which the ``minari`` score needs.
        owner: the dataset or file that it is to fit, for messages.
        spaces: how its observations and actions become numbers, which it has to fit; None: it is taken as it is.
        bounds: lowest and highest actions ``[A]``, where its own are infinite.
    """

    def __init__(
        self,
        spec: str | EnvSpec,
        *,
        num_envs: int = 1,
        reference: Reference | None = None,
        owner: str | None = None,
        spaces: Spaces | None = None,
        bounds: tuple[NDArray[Any], NDArray[Any]] | None = None,
    ) -> None:
        require(num_envs >= 1, "num_envs", "be at least 1", num_envs)
        self.spec = without_window(find_spec(spec) if isinstance(spec, str) else spec)
        self._name = f"the environment {self.spec.id}" + (f" for {owner}" if owner else "")
        self.num_envs = num_envs
        self.reference = reference
        self._owner, self._spaces, self._bounds = owner, spaces, bounds
        self._idle: list[gym.Env] = []
        self._limits: dict[str, Any] = {}
        self.action_limits: tuple[NDArray[Any], NDArray[Any]] | None = None  # bounds of what is done, where limited

    @property
    def scorings(self) -> dict[str, Scoring]:
        """How its episodes are scored, by protocol; all of them from the same rollout."""
        names = None if self._spaces is None else self._spaces.observations.names
        return scorings(self.spec, self.reference, names)

    def make(self, **kwargs: Any) -> gym.Env:
        """A new instance that the caller closes; keyword arguments as for ``gymnasium.make``.

        Raises:
            DataError: it cannot be made, or does not fit; later, whatever it raises at a reset, a step or a picture.
        """
        register_robotics()
        with one_line_of(f"cannot make {self._name}"):
            if str(self.spec.entry_point).startswith("gymnasium_robotics"):
                mend_joint_types()
            env = gym.make(self.spec, disable_env_checker=True, **kwargs)
        if self._spaces is None:
            return self._limited(Guard(env, self._name))
        if mismatch := self._spaces.mismatch(env):
            env.close()
            what, theirs, ours = mismatch
            raise DataError(
                f"environment {self.spec.id!r} has {what} in {theirs}, {self._owner} in {ours}; pass one that fits as "
                "eval_env=ID"
            )
        return self._limited(Guard(self._spaces.adapt(env, bounds=self._bounds), self._name))

    def limit(self, **limits: Any) -> None:
        """Have every instance do the nearest action inside :class:`~agents.environments.limits.Limits`, from now on.

        Raises:
            ConfigError: there is no such action, or actions are indices.
        """
        self.close()
        self._limits = limits
        with self.borrow(1) as (env,):
            assert isinstance(env, Limits)
            self.action_limits = env.low, env.high

    def _limited(self, env: gym.Env) -> gym.Env:
        return Limits(env, **self._limits) if self._limits else env

    @contextlib.contextmanager
    def borrow(self, count: int) -> Iterator[list[gym.Env]]:
        """``count`` instances, kept for the next borrower unless the block raises."""
        envs: list[gym.Env] = []
        with contextlib.ExitStack() as stack:
            while len(envs) < count:
                envs.append(self._idle.pop() if self._idle else self.make())
                stack.callback(envs[-1].close)
            yield envs
            stack.pop_all()  # they stay open
        self._idle.extend(envs)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> EvaluationEnv:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
