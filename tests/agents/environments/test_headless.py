"""Rendering without a display, and imports where ``MUJOCO_GL`` names a backend that does not work."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import agents
from agents.errors import AgentsError

IMPORT = """
import os, sys
import agents
assert not {"mujoco", "torch"} & sys.modules.keys()
agents.Agent  # imports TorchRL, and that MuJoCo
assert "mujoco" in sys.modules and os.environ["MUJOCO_GL"] == "nonsense"
print("imported")
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MUJOCO_GL": "nonsense"}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_torchrl_is_imported_though_the_variable_names_no_backend() -> None:
    assert "invalid value for environment variable MUJOCO_GL" in run("import mujoco").stderr
    done = run(IMPORT)
    assert done.stdout == "imported\n", done.stderr


def test_a_backend_that_does_not_work_is_one_line_that_says_what_to_install() -> None:
    with pytest.raises(
        AgentsError, match=r"no OpenGL backend works here \(tried nonsense\); unset MUJOCO_GL.*install one.*libosmesa6"
    ):
        agents.gl_backend("nonsense")
