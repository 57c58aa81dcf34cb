"""The Adroit tasks with their two score protocols, and the environment that a policy is evaluated in.

Gymnasium-Robotics and D4RL score the same simulation differently; both are computed from one rollout:

* ``minari``: the environment's own return over the whole episode (200 steps, nothing ends it early), against the
  reference scores in the dataset's metadata.
* ``d4rl``: ``d4rl_return`` below, against the reference returns of the D4RL paper (arXiv 2004.07219).

Shapes: ``T`` steps of an episode, ``O`` observation, ``E`` episodes.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import importlib
import io
import json
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import ArrayLike, NDArray

from agents.errors import ConfigError, DataError, one_line

PEN_HEIGHT = 26  # column of the pen's height in the pen observation, metres
PEN_DROPPED = 0.075  # D4RL ends the episode below this height, metres

# whose environments take keyword arguments from a file: those of others may do anything with them
PACKAGES = ("gymnasium", "gymnasium_robotics", "minigrid", "ale_py", "ogbench")
OF_MAKE = (
    "id", "env_id", "entry_point", "vector_entry_point", "additional_wrappers", "wrappers", "namespace", "num_envs",
    "vectorization_mode", "vector_kwargs", "max_episode_steps", "disable_env_checker", "order_enforce", "autoreset",
    "apply_step_compatibility", "apply_api_compatibility",
)  # fmt: skip
NAMES_A_FILE = re.compile(
    r"file|path|folder|directory|xml|mjcf|urdf|(?<!agent_start)_dirs?(?:_|$)|^dirs?(?:_|$)"
    r"|(?:^|_)(?:roms?|game|models?|assets?|ur[li]|modules?|imports?|wrappers?)(?:_|$)",
    re.IGNORECASE,
)
LOOKS_LIKE_A_PATH = re.compile(r"[/\\~:\x00-\x1f\x7f]|\.\.|\.\w*[A-Za-z]")  # separators, or an ending as in .xml
NESTING = 8  # of lists and dicts in a keyword argument


@dataclass(frozen=True)
class Reference:
    """Two returns that fix a normalised scale: ``min`` scores 0, ``max`` scores 100."""

    min: float
    max: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.min) and math.isfinite(self.max) and self.min < self.max):
            raise DataError(f"reference returns must be finite with min < max, got {self.min} and {self.max}")

    def score(self, returns: ArrayLike) -> NDArray[np.float64]:
        return 100.0 * (np.asarray(returns, dtype=np.float64) - self.min) / (self.max - self.min)


@dataclass(frozen=True)
class AdroitTask:
    """What D4RL and DAPG (arXiv 1709.10087) fix about one Adroit task; facts of ``AdroitHand*-v1``, dense reward."""

    name: str
    env_id: str
    num_observations: int  # size of the observation that the columns below are taken from
    d4rl_min: float  # mean return of a random policy under D4RL's protocol
    d4rl_max: float  # mean return of the DAPG expert under D4RL's protocol
    d4rl_horizon: int = 200  # steps
    success_steps: int = 25  # an episode counts as solved with more steps than this at the goal
    hand: int | None = None  # first of three observation columns: the palm's position, or palm minus object
    object: int | None = None  # first of three observation columns: the object's position; None if subtracted already

    @property
    def d4rl_reference(self) -> Reference:
        return Reference(self.d4rl_min, self.d4rl_max)


ADROIT_TASKS: dict[str, AdroitTask] = {
    task.name: task
    for task in (
        AdroitTask("pen", "AdroitHandPen-v1", 45, 96.262799, 3076.8331017826877, d4rl_horizon=100, success_steps=20),
        AdroitTask("hammer", "AdroitHandHammer-v1", 46, -274.856578, 12794.134825156867, hand=33, object=36),
        AdroitTask("door", "AdroitHandDoor-v1", 39, -56.512833, 2880.5693087298737, hand=35),
        AdroitTask("relocate", "AdroitHandRelocate-v1", 39, -6.425911, 4233.877797728884, hand=30),
    )
}


def adroit_task(env_id: str | None) -> AdroitTask | None:
    """The task of a Gymnasium id; None for anything but the four dense-reward v1 environments."""
    return next((task for task in ADROIT_TASKS.values() if task.env_id == env_id), None)


def d4rl_return(task: AdroitTask, observations: NDArray[Any], rewards: NDArray[Any]) -> float:
    """Return of one recorded episode under D4RL's protocol.

    Pen: at most 100 steps, and the step after which the pen lies below 0.075 m is the last one counted. The others:
    200 steps of the reward minus 0.2 x the distance from palm to object, because gymnasium-robotics 1.2.1 to 1.4.2
    adds 0.1 x that distance where D4RL subtracts it. Rewards are those of that environment, dense and unscaled.

    Args:
        observations: shape ``[T + 1, O]``; row ``t + 1`` is what reward ``t`` was computed from.
        rewards: shape ``[T]``.
    """
    rewards = np.asarray(rewards, dtype=np.float64)[: task.d4rl_horizon]
    after = np.asarray(observations, dtype=np.float64)[1 : len(rewards) + 1]  # [T, O]
    if task.hand is None:
        dropped = np.flatnonzero(after[:, PEN_HEIGHT] < PEN_DROPPED)
        return float(rewards[: dropped[0] + 1].sum() if dropped.size else rewards.sum())
    return float((rewards - 0.2 * np.linalg.norm(palm_to_object(task, after), axis=1)).sum())


def palm_to_object(task: AdroitTask, observations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Offset from the object to the palm, metres, ``[T, O] -> [T, 3]``; not for pen, whose observation has none."""
    offset = observations[:, task.hand : task.hand + 3]
    return offset if task.object is None else offset - observations[:, task.object : task.object + 3]


def success_held(task: AdroitTask, success: ArrayLike) -> bool:
    """DAPG's criterion: more than ``task.success_steps`` steps up to D4RL's horizon (``[T]`` bool) are at the goal."""
    return int(np.count_nonzero(np.asarray(success)[: task.d4rl_horizon])) > task.success_steps


@functools.lru_cache
def register_robotics() -> None:
    """Make the ids of Gymnasium-Robotics known; its notice on stderr is what ``d4rl_return`` corrects."""
    with contextlib.redirect_stderr(io.StringIO()):
        import gymnasium_robotics

        gym.register_envs(gymnasium_robotics)


class EvaluationEnv:
    """A kind of environment, and up to ``num_envs`` instances of it that evaluations reuse.

    Args:
        spec: a Gymnasium id, or a spec, whose entry point is called: one from a file only as :func:`spec_from_file`
            gives it.
        num_envs: how many episodes run at the same time; changes the speed, never the result.
        reference: the dataset's reference returns, which the ``minari`` score needs.

    Raises:
        DataError: the environment is unknown or cannot be made.
    """

    def __init__(self, spec: str | EnvSpec, *, num_envs: int = 1, reference: Reference | None = None) -> None:
        if num_envs < 1:
            raise ConfigError(f"num_envs must be at least 1, got {num_envs}")
        self.spec = find_spec(spec) if isinstance(spec, str) else spec
        self.num_envs = num_envs
        self.reference = reference
        self._idle: list[gym.Env] = []

    @property
    def task(self) -> AdroitTask | None:
        dense = self.spec.kwargs.get("reward_type", "dense") == "dense"
        return adroit_task(self.spec.id) if dense else None

    def make(self, **kwargs: Any) -> gym.Env:
        """A new instance that the caller closes; keyword arguments as for ``gymnasium.make``."""
        register_robotics()
        try:
            return gym.make(self.spec, disable_env_checker=True, **kwargs)
        except (
            gym.error.Error, ImportError, AttributeError, TypeError, ValueError, LookupError, OSError, AssertionError,
        ) as error:  # fmt: skip
            raise DataError(f"cannot make the environment {self.spec.id}: {one_line(error)}") from error

    @contextlib.contextmanager
    def borrow(self, count: int) -> Iterator[list[gym.Env]]:
        """``count`` instances, kept for the next borrower unless the block raises."""
        envs: list[gym.Env] = []
        try:
            while len(envs) < count:
                envs.append(self._idle.pop() if self._idle else self.make())
            yield envs
        except BaseException:
            _close_all(envs)
            raise
        self._idle.extend(envs)

    def close(self) -> None:
        _close_all(self._idle)

    def __enter__(self) -> EvaluationEnv:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def find_spec(env_id: str) -> EnvSpec:
    """The registered spec of a Gymnasium id; ``module:id`` imports the module that registers it first.

    Raises:
        DataError: no such environment.
    """
    register_robotics()
    module, _, name = env_id.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        return gym.spec(name)
    except (gym.error.Error, ImportError, TypeError, ValueError) as error:
        raise DataError(f"unknown environment {env_id!r}: {one_line(error)}") from error


def read_spec(text: Any) -> EnvSpec:
    """The spec that a file holds as JSON, for its facts alone: nothing that it names is imported or called.

    Raises:
        ValueError: it is none.
    """
    known = {field.name for field in dataclasses.fields(EnvSpec) if field.init}  # older Gymnasium wrote some more
    try:
        values = {name: value for name, value in json.loads(text).items() if name in known}
        spec = EnvSpec.from_json(json.dumps(values))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError, gym.error.Error) as error:
        raise ValueError(one_line(error)) from error
    steps = spec.max_episode_steps
    if not isinstance(spec.kwargs, dict):
        raise ValueError(f"kwargs are no dict, but {_short(spec.kwargs)}")
    if steps is not None and (type(steps) is not int or steps < 1):
        raise ValueError(f"max_episode_steps is no number of steps, but {_short(steps)}")
    return spec


def spec_from_file(spec: str | EnvSpec, owner: str, *, trust: bool = False) -> EnvSpec:
    """The environment that a file names, fit to be made: the one gate between a file and ``gymnasium.make``.

    The file chooses among the registered environments by their id; the registry says what is called for it. From the
    file there are ``max_episode_steps``, and keyword arguments for the environments of ``PACKAGES``: plain JSON without
    anything that names a file. Nothing is imported.

    Args:
        spec: as JSON, or as :func:`read_spec` gives it.
        owner: the file or dataset, for the message.
        trust: take the file's spec as it is, and say on stderr what it calls.

    Raises:
        DataError: in one line, what is not taken from a file, and the ways out.
    """
    if not isinstance(spec, EnvSpec):
        try:
            spec = read_spec(spec)
        except ValueError as error:
            problem = f"{owner} does not say how its environment is made ({_short(str(error), 200)})"
            raise DataError(f"{problem}; name one by eval_env=ID") from error
    if trust:
        wrappers = "".join(
            f", then {wrapper.entry_point!r} with {wrapper.kwargs}" for wrapper in spec.additional_wrappers
        )
        print(
            f"trust_env: for the environment {spec.id!r} of {owner}, {spec.entry_point!r} is called with {spec.kwargs}"
            f"{wrappers}",
            file=sys.stderr,
            flush=True,
        )
        return spec
    register_robotics()
    registered = gym.registry.get(spec.id)
    if problem := _not_from_a_file(spec, registered):
        raise DataError(
            f"the environment {_short(spec.id)}, which {owner} names, is not made: {problem}; name one by eval_env=ID "
            "(module:ID imports what registers it), or allow what the file says by trust_env=true if you trust it"
        )
    kwargs = spec.kwargs if _package(registered.entry_point) in PACKAGES else registered.kwargs
    return dataclasses.replace(registered, kwargs=copy.deepcopy(kwargs), max_episode_steps=spec.max_episode_steps)


def _not_from_a_file(spec: EnvSpec, registered: EnvSpec | None) -> str | None:
    """One thing in the file's spec that only the person at the keyboard may say; None: there is none."""
    if ":" in spec.id:
        return "its id has a module imported"
    if registered is None:
        return "it is not registered here"
    theirs, ours = _package(spec.entry_point), _package(registered.entry_point)
    if spec.entry_point is not None and theirs != ours:
        return f"there it is {_short(spec.entry_point)}, which is not what is registered here"
    if spec.additional_wrappers and not _equal(
        *([dataclasses.asdict(wrapper) for wrapper in each.additional_wrappers] for each in (spec, registered))
    ):
        return f"it has wrappers of its own, {_short(spec.additional_wrappers[0].entry_point)}"
    for name, value in spec.kwargs.items():
        if name in registered.kwargs and _equal(value, registered.kwargs[name]):
            continue
        if not isinstance(registered.entry_point, str) or ours not in PACKAGES:
            return f"it has the keyword argument {_short(name)}, which a file may give to those of known packages alone"
        if problem := _not_plain({name: value}):
            return f"its keyword argument {_short(name)} {problem}"
    return None


def _not_plain(value: Any, depth: int = 0) -> str | None:
    """Why a keyword argument from a file is not used; None: it is plain JSON and names no file."""
    if value is None or isinstance(value, (bool, int, float)):
        return None
    if isinstance(value, str):
        return f"looks like a path, {_short(value)}" if LOOKS_LIKE_A_PATH.search(value) else None
    if not isinstance(value, (list, tuple, dict)):
        return f"is not plain JSON, but a {type(value).__name__}"
    if depth > NESTING:
        return "is nested too deeply"
    for name in value if isinstance(value, dict) else ():
        if not isinstance(name, str) or name in OF_MAKE or NAMES_A_FILE.search(name) or LOOKS_LIKE_A_PATH.search(name):
            return f"names a file or something to call, by {_short(name)}"
    members = value.values() if isinstance(value, dict) else value
    return next(filter(None, (_not_plain(member, depth + 1) for member in members)), None)


def _package(entry_point: Any) -> str:
    """The top-level module of an entry point."""
    if callable(entry_point):
        entry_point = getattr(entry_point, "__module__", None)
    return re.split(r"[.:]", entry_point)[0] if isinstance(entry_point, str) else ""


def _equal(one: Any, other: Any) -> bool:
    try:
        return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        return False


def _short(value: Any, length: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}..."


def _close_all(envs: list[gym.Env]) -> None:
    while envs:
        envs.pop().close()
