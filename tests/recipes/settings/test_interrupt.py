"""A signal, or two, at whatever moment: the command ends with one line, and what was saved stays."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from agents import checkpoint
from recipes import train
from tests.recipes.conftest import QUICK, REPOSITORY, RUN, small

pytestmark = pytest.mark.slow

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}
AT = """
import os
import {module} as module
at = module.{name}
def signalled(*arguments, **options):
    if {condition}:
        for number in {signals}: os.kill(os.getpid(), number)
    return at(*arguments, **options)
module.{name} = signalled
"""
MOMENTS = {
    "start": ("recipes.train", "load_data", "True"),
    "compilation": ("agents.training.trace", "leaves", "True"),
    "a film": ("recipes.runs.videos", "frames", f"os.path.exists('{RUN}/checkpoints')"),
    "evaluation": ("agents", "evaluate", f"os.path.exists('{RUN}/checkpoints')"),
    "saving": ("agents.checkpoint", "save", f"os.path.exists('{RUN}/checkpoints')"),
    "the end": ("recipes.runs.console", "table", "True"),
    "closing the logger": ("recipes.tracking.loggers", "close", "True"),
}


SETTINGS = {"compilation": ("compile=trace",), "a film": ("eval_videos=true",)}
PAINTED = """
from gymnasium.envs.classic_control import PendulumEnv
import numpy
PendulumEnv.render = lambda self: numpy.zeros((40, 60, 3), numpy.uint8)  # the real one needs a package
"""
FAREWELL = """
import os, signal, time
from recipes.settings import interrupt
class Half:
    def __del__(self): self.never_made
with interrupt.one_line():
    half = Half()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)
"""


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("signals", [(2,), (15, 2)])
def test_a_signal_at_a_moment_ends_a_run_with_one_line(moment, signals, train, tmp_path) -> None:
    module, name, condition = MOMENTS[moment]
    before = PAINTED + AT.format(module=module, name=name, condition=condition, signals=signals)
    stopped = train("logger=csv", *SETTINGS.get(moment, ()), before=before)
    assert stopped.code in {SIGNALS[number] for number in signals}, stopped.err
    assert_one_line(stopped.out, stopped.err)
    if moment == "start":
        assert not (tmp_path / RUN).exists()
    elif moment != "compilation":  # which nothing is saved before
        checkpoint.load(tmp_path / RUN / "checkpoints" / "last.safetensors")


def test_what_was_half_made_when_a_signal_came_says_nothing() -> None:
    command = [sys.executable, "-c", FAREWELL]
    ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True)
    assert ended.returncode == 143
    assert_one_line(ended.stdout, ended.stderr)


def test_a_signal_at_any_time_ends_a_process_with_one_line(tmp_path, environment) -> None:
    settings = [*QUICK, *small("iql"), "gradient_steps=100000", "eval_every=100", "log_every=100"]
    rng = random.Random(0)
    for index in range(4):
        process = start(tmp_path, *settings, f"run_dir=run{index}")
        threading.Event().wait(rng.uniform(0.2, 6.0))
        for number in rng.choices([*SIGNALS], k=rng.choice([1, 2])):
            process.send_signal(number)
            time.sleep(rng.choice([0.0, 0.02]))
        out, err = process.communicate(timeout=60)
        assert process.returncode in SIGNALS.values(), err
        assert_one_line(out, err)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, train.__file__, *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def assert_one_line(out: str, err: str) -> None:
    assert len([line for line in (out + err).splitlines() if line.startswith("stopped ")]) == 1, out + err
    assert "Traceback" not in err and "Exception" not in err, err
