"""Which environment is meant: by a Gymnasium id, or by a file that came from elsewhere."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import importlib
import io
import json
import re
import sys
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from agents.errors import DataError, one_line

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


@functools.lru_cache
def register_robotics() -> None:
    """Make the ids of Gymnasium-Robotics known; its notice on stderr is what ``d4rl_return`` corrects."""
    with contextlib.redirect_stderr(io.StringIO()):
        import gymnasium_robotics

        gym.register_envs(gymnasium_robotics)


def find_spec(env_id: str) -> EnvSpec:
    """The registered spec of a Gymnasium id; ``module:id`` imports the module that registers it first."""
    register_robotics()
    module, _, name = env_id.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        return gym.spec(name)
    except (gym.error.Error, ImportError, TypeError, ValueError) as error:
        raise DataError(f"unknown environment {env_id!r}: {one_line(error)}") from error


def read_spec(text: Any) -> EnvSpec:
    """The spec that a file holds as JSON, for its facts alone: nothing is imported or called; a ValueError if none."""
    known = {field.name for field in dataclasses.fields(EnvSpec) if field.init}  # older Gymnasium wrote some more
    try:
        values = {name: value for name, value in json.loads(text).items() if name in known}
        spec = EnvSpec.from_json(json.dumps(values))
    except KeyError as error:
        raise ValueError(f"it has no {error.args[0]!r}") from error
    except (AttributeError, RecursionError, TypeError, ValueError, gym.error.Error) as error:
        raise ValueError(one_line(error)) from error
    if not isinstance(spec.kwargs, dict):
        raise ValueError(f"kwargs are no dict, but {_short(spec.kwargs)}")
    if isinstance(spec.max_episode_steps, float) and spec.max_episode_steps.is_integer():
        spec.max_episode_steps = int(spec.max_episode_steps)  # Minari's pointmaze was recorded with 1e6
    if (steps := spec.max_episode_steps) is not None and (type(steps) is not int or steps < 1):
        raise ValueError(f"max_episode_steps is no number of steps, but {_short(steps)}")
    return without_window(spec)


def without_window(spec: EnvSpec) -> EnvSpec:
    """The spec without the way of rendering that it was recorded with: a window aborts a process without a display."""
    kwargs = {name: value for name, value in spec.kwargs.items() if name != "render_mode"}
    return spec if kwargs == spec.kwargs else dataclasses.replace(spec, kwargs=kwargs)


def spec_from_file(spec: str | EnvSpec, owner: str, *, trust: bool = False) -> EnvSpec:
    """The environment that a file names, fit to be made: the one gate between a file and ``gymnasium.make``.

    The file chooses among the registered environments by their id; the registry says what is called for it. From the
    file there are ``max_episode_steps``, and keyword arguments for the environments of ``PACKAGES``: plain JSON without
    anything that names a file. Nothing is imported.

    Args:
        spec: as JSON, or as ``read_spec`` gives it.
        owner: the file or dataset, for the message.
        trust: take the file's spec as it is, and say on stderr what it calls.

    Raises:
        DataError: what is not taken from a file, and the ways out.
    """
    if not isinstance(spec, EnvSpec):
        try:
            spec = read_spec(spec)
        except ValueError as error:
            problem = f"{owner} does not say how its environment is made ({_short(str(error), 200)})"
            raise DataError(f"{problem}; name one by eval_env=ID") from error
    if trust:
        calls = [f"{spec.entry_point!r} is called with {spec.kwargs}"]
        calls += [f"{wrapper.entry_point!r} with {wrapper.kwargs}" for wrapper in spec.additional_wrappers]
        line = f"trust_env: for the environment {spec.id!r} of {owner}, {', then '.join(calls)}"
        print(line, file=sys.stderr, flush=True)
        return spec
    register_robotics()
    registered = gym.registry.get(spec.id)
    if problem := _not_from_a_file(spec, registered):
        raise DataError(
            f"the environment {_short(spec.id)}, which {owner} names, is not made: {problem}; name one by eval_env=ID "
            "(module:ID imports what registers it), or allow what the file says by trust_env=true if you trust it"
        )
    assert registered is not None  # else there was a problem
    kwargs = spec.kwargs if _package(registered.entry_point) in PACKAGES else registered.kwargs
    return dataclasses.replace(registered, kwargs=copy.deepcopy(kwargs), max_episode_steps=spec.max_episode_steps)


def _not_from_a_file(spec: EnvSpec, registered: EnvSpec | None) -> str | None:
    """A thing in the file's spec that only the person at the keyboard may say; None: there is none."""
    if ":" in spec.id:
        return "its id has a module imported"
    if registered is None:
        return "it is not registered here"
    theirs, ours = _package(spec.entry_point), _package(registered.entry_point)
    if spec.entry_point is not None and theirs != ours:
        return f"there it is {_short(spec.entry_point)}, which is not what is registered here"
    if spec.additional_wrappers and not _equal(spec.additional_wrappers, registered.additional_wrappers):
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
    name = getattr(entry_point, "__module__", entry_point)  # of a function or class; a string has none
    return re.split(r"[.:]", name)[0] if isinstance(name, str) else ""


def _equal(one: Any, other: Any) -> bool:
    dumps = functools.partial(json.dumps, sort_keys=True, default=dataclasses.asdict)  # a wrapper's spec is a dataclass
    try:
        return dumps(one) == dumps(other)
    except (TypeError, ValueError, RecursionError):
        return False


def _short(value: Any, length: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}..."
