"""Rollouts of a policy: exactly ``num_episodes`` episodes with fixed seeds, scored under every protocol.

Each worker thread runs whole episodes in an environment of its own; MuJoCo releases the interpreter lock while it
steps. The policy only ever sees one observation at a time: products of different batch sizes differ in the last bit,
contacts amplify that, and the result would depend on the number of workers.

A policy may remember the episode. What it reads and writes under the same key, such as ``memory``, is given back to it
at the next step, beside the ``reward`` that came in between; at the first step of an episode there is neither.

Shapes: ``E`` episodes, ``T`` steps of an episode, ``O`` observation, ``A`` action.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictModuleBase
from torchrl.envs.utils import ExplorationType, set_exploration_type

from agents.environments.environment import EvaluationEnv
from agents.environments.protocols import PROTOCOLS
from agents.environments.recording import Episode, Step, record, record_all
from agents.errors import DataError, require
from agents.evaluation.numpy_forward import as_numpy

Act = Callable[[NDArray[Any], np.random.Generator], Any]  # observation [O], the episode's own generator -> action [A]
Begin = Callable[[], Step]  # at the start of an episode


@runtime_checkable
class Episodic(Protocol):
    """A policy of another kind that remembers the episode."""

    def begin(self) -> Step:
        """How it acts in an episode that begins; the workers call it at the same time."""
        ...


Policy = TensorDictModuleBase | Act | Episodic


@dataclass(frozen=True)
class EvalResult:
    """Returns, scores and successes; every array has an entry per episode, ``[E]``, in the order of the seeds.

    A protocol that the environment does not have, or that asks for longer episodes, is in none of the mappings.
    """

    returns: NDArray[np.float64]  # the environment's own, undiscounted
    lengths: NDArray[np.int64]  # steps
    success: NDArray[np.bool_] | None  # at the goal at any step; None where no info says so, as the next one
    success_last: NDArray[np.bool_] | None  # at the goal at the last step
    scores: Mapping[str, NDArray[np.float64]]  # by protocol
    protocol_returns: Mapping[str, NDArray[np.float64]]  # by protocol, undiscounted
    protocol_success: Mapping[str, NDArray[np.bool_]]  # by the protocols that have a criterion, if success is known
    episodes: tuple[Episode, ...] | None = None  # only if they were to be recorded
    success_key: str | None = None  # of the infos that say whether the goal is reached: success or is_success

    def summary(self) -> str:
        """Two lines for a person: mean and standard deviation over episodes."""
        parts = [f"return {_spread(self.returns)}", f"length {_spread(self.lengths)}"]
        parts += [f"{name} score {_spread(scores)}" for name, scores in self.scores.items()]
        held = {protocol.success: self.protocol_success.get(protocol.name) for protocol in PROTOCOLS}
        shares = {"any step": self.success, **held, "last step": self.success_last}
        known = [f"{name} {100 * share.mean():.0f} %" for name, share in shares.items() if share is not None]
        first = f"{len(self.returns)} episodes: {', '.join(parts)}"
        return f"{first}\n{self.success_key or 'success'}: {', '.join(known)}" if known else first


def evaluate(
    policy: Policy, env: EvaluationEnv, num_episodes: int = 20, *, seed: int = 0, record: bool = False
) -> EvalResult:
    """Run whole episodes, ``env.num_envs`` at a time, which does not change the result.

    Args:
        policy: ``observation [1, O] float32 -> action [1, A]``, evaluated as a copy on the CPU in eval mode, without
            exploration noise, in NumPy where ``as_numpy`` can. Or a callable ``Act``, which the workers share. Or an
            ``Episodic``.
        seed: episode ``i`` is reset with ``seed + i``; callables draw from ``default_rng((seed, i))``.
        record: keep the episodes in ``EvalResult.episodes``.

    Raises:
        AgentsError: the policy returned a NaN or infinite action.
    """
    require(num_episodes >= 1, "num_episodes", "be at least 1", num_episodes)
    with env.borrow(min(env.num_envs, num_episodes)) as gym_envs, one_deterministic_thread():
        workers = [(gym_env, prepare(policy, gym_env)) for gym_env in gym_envs]
        episodes = record_all(workers, num_episodes, lambda worker, *episode: rollout(*worker, seed, *episode))
    scorings, limit = env.scorings, env.spec.max_episode_steps or math.inf
    returns = {
        name: np.array([scoring.episode_return(episode.observations, episode.rewards) for episode in episodes])
        for name, scoring in scorings.items()
        if limit >= scoring.horizon
    }
    held = {name: _goals(episodes, scoring.success) for name, scoring in scorings.items() if scoring.success}
    return EvalResult(
        returns=np.array([episode.rewards.sum() for episode in episodes]),
        lengths=np.array([len(episode.rewards) for episode in episodes]),
        success=_goals(episodes, np.any),
        success_last=_goals(episodes, operator.itemgetter(-1)),
        scores={name: scorings[name].reference.score(values) for name, values in returns.items()},
        protocol_returns=returns,
        protocol_success={name: goals for name, goals in held.items() if goals is not None},
        episodes=tuple(episodes) if record else None,
        success_key=next((episode.success_key for episode in episodes if episode.success_key), None),
    )


def random_policy(env: EvaluationEnv) -> Act:
    """The baseline that acts uniformly at random in the action space.

    Raises:
        DataError: the action space is neither a bounded Box nor made of categories.
    """
    with env.borrow(1) as (gym_env,):
        space = gym_env.action_space
    if isinstance(space, gym.spaces.Discrete):
        return lambda observation, rng: space.start + rng.integers(space.n)
    if isinstance(space, gym.spaces.MultiDiscrete):
        return lambda observation, rng: space.start + rng.integers(space.nvec)
    if isinstance(space, gym.spaces.MultiBinary):
        return lambda observation, rng: rng.integers(2, size=space.shape)
    if isinstance(space, gym.spaces.Box) and space.is_bounded():
        return lambda observation, rng: rng.uniform(space.low, space.high)
    raise DataError(f"a random policy needs a bounded Box or Discrete action space, {env.spec.id} has {space}")


@torch.inference_mode()
def rollout(gym_env: gym.Env, begin: Begin, seed: int, index: int, on_state: Callable[[], None]) -> Episode:
    """Episode ``index`` of an evaluation with this seed."""
    rng = np.random.default_rng((seed, index))
    return record(gym_env, begin(), rng, seed=seed + index, index=index, on_state=on_state)


def prepare(policy: Policy, gym_env: gym.Env) -> Begin:
    if not isinstance(policy, TensorDictModuleBase):
        if isinstance(policy, Episodic):
            return policy.begin
        return lambda: lambda observation, reward, rng: policy(observation, rng)
    return begin_of(policy, gym_env.observation_space.shape or ())


def begin_of(policy: TensorDictModuleBase, shape: tuple[int, ...]) -> Begin:
    """A policy as it is evaluated, on observations of this shape."""
    policy = copy.deepcopy(policy).to("cpu").eval()  # the caller's stays in its mode, on its device
    if type(policy) is TensorDictModule and policy.in_keys == ["observation"] and policy.out_keys == ["action"]:
        network: Any = policy.module  # called directly: a TensorDict per step would cost twice as much as the network
        forward = as_numpy(network, shape)
        if forward is not None:
            return lambda: lambda observation, reward, rng: forward(np.asarray(observation, dtype=np.float32))
        return lambda: lambda observation, reward, rng: network(_batch_of_one(observation)).numpy()
    return functools.partial(_begin, policy)


def _begin(policy: TensorDictModuleBase) -> Step:
    memory: dict[Any, Any] = {}

    def act(observation: NDArray[Any], reward: float | None, rng: np.random.Generator) -> NDArray[Any]:
        before = {} if reward is None else {"reward": torch.tensor([[reward]], dtype=torch.float32)}
        step = policy(TensorDict({"observation": _batch_of_one(observation), **before, **memory}, batch_size=[1]))
        memory.update({key: step[key] for key in policy.in_keys if key in policy.out_keys})
        return step["action"].numpy()

    return act


def _batch_of_one(observation: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.asarray(observation, dtype=np.float32)).unsqueeze(0)  # [O] -> [1, O]


@contextlib.contextmanager
def one_deterministic_thread() -> Iterator[None]:
    """One torch thread and no exploration noise; both settings are global, new threads inherit them."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with set_exploration_type(ExplorationType.DETERMINISTIC):
            yield
    finally:
        torch.set_num_threads(num_threads)


def _goals(episodes: list[Episode], measure: Callable[[NDArray[np.bool_]], bool]) -> NDArray[np.bool_] | None:
    """``measure`` of each episode's success ``[T]``; an episode without the info failed if another one has it."""
    if all(episode.success is None for episode in episodes):
        return None
    return np.array([episode.success is not None and bool(measure(episode.success)) for episode in episodes])


def _spread(values: NDArray[Any]) -> str:
    return f"{values.mean():.1f} ± {values.std():.1f}"
