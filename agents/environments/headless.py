"""Rendering without a display: an OpenGL backend that works here, and MuJoCo imported whatever ``MUJOCO_GL`` says."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any

from agents.errors import AgentsError

if TYPE_CHECKING:
    import gymnasium as gym

GL_BACKENDS = ("egl", "osmesa", "glfw")  # glfw last: it needs a display
GL_PROBE = """
import importlib, sys, mujoco
context = importlib.import_module("mujoco." + sys.argv[1]).GLContext(64, 64)
context.make_current()
mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), mujoco.mjtFontScale.mjFONTSCALE_100)
"""


class WithoutBackend(MetaPathFinder):
    """Imports MuJoCo, and that only when it is asked for, as if ``MUJOCO_GL`` were not set.

    The import fails where the variable names a broken backend, and TorchRL imports MuJoCo. A renderer reads it later.
    """

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        spec = PathFinder.find_spec(fullname, path, target) if fullname == "mujoco" else None
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module
            spec.loader.exec_module = lambda module: _without_backend(execute, module)
        return spec


def _without_backend(execute: Callable[[ModuleType], None], module: ModuleType) -> None:
    backend = os.environ.pop("MUJOCO_GL", None)
    try:
        execute(module)
    finally:
        if backend is not None:
            os.environ["MUJOCO_GL"] = backend


sys.meta_path.insert(0, WithoutBackend())


def choose_gl_backend(gym_env: gym.Env) -> None:
    """Point MuJoCo's renderer, if the environment has one, at an OpenGL backend that works."""
    if hasattr(gym_env.unwrapped, "mujoco_renderer"):
        os.environ["MUJOCO_GL"] = gl_backend(os.environ.get("MUJOCO_GL"))


@functools.cache
def gl_backend(name: str | None = None) -> str:
    """The OpenGL backend of this name, or else the first one that works; an AgentsError says what to install."""
    candidates = (name,) if name else GL_BACKENDS
    for backend in candidates:
        # in a process of its own: a broken driver may abort, and OpenGL cannot be loaded twice
        with contextlib.suppress(subprocess.SubprocessError):
            command = [sys.executable, "-c", GL_PROBE, backend]
            environment = {**os.environ, "MUJOCO_GL": backend}
            subprocess.run(command, env=environment, capture_output=True, timeout=60, check=True)
            return backend
    others = "unset MUJOCO_GL to try others, or " if name else ""
    raise AgentsError(
        f"cannot render: no OpenGL backend works here (tried {', '.join(candidates)}); {others}"
        "install one, on Debian or Ubuntu: apt-get install libegl1 libegl-mesa0, or: apt-get install libosmesa6"
    )
