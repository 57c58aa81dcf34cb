"""The programs in three languages that act by an exported policy: those that can run here act alike."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import agents

CONSUMERS = Path(agents.__file__).parents[1] / "examples/consumers"


@pytest.mark.slow
def test_programs_in_three_languages_act_alike(environment) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    done = subprocess.run(
        [sys.executable, "compare.py"], cwd=CONSUMERS, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr + done.stdout
    said = [line.partition(": ")[0] for line in done.stdout.splitlines()]
    assert sorted(said) == ["c++", "node", "python"]  # one that is not installed is named, and skipped
    assert "python: 50 actions, largest difference" in done.stdout
