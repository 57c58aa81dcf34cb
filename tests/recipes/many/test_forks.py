"""Runs that are forked from a process with torch in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from recipes.many import forks, pool
from recipes.many.pool import ONE_THREAD, Job, run_jobs
from tests.recipes.conftest import QUICK, small

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not forks.ARE_SAFE, reason="no safe forks here"),
]


def test_what_is_forked_has_one_thread_and_no_temporary_folder_of_wandb(tmp_path) -> None:
    code = "import os, sys; print(len(os.listdir('/proc/self/task')), 'wandb' in sys.modules)"
    command = [sys.executable, "-c", f"import {', '.join(forks.PRELOADED)}; {code}"]
    variables = {**os.environ, **ONE_THREAD, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}  # where nothing is compiled yet
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1 False\n", "")


def test_a_forked_run_is_the_run_in_a_fresh_process(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(pool, "user_script", lambda: ())

    def run(name: str) -> tuple[bytes, dict]:
        folder: Path = tmp_path / name
        settings = (*QUICK, *small("iql"), "compile=inductor")
        outcomes = run_jobs([Job(name, folder, settings, 20)], show=False)
        assert outcomes.jobs[name].state == "done", (folder / "output.log").read_text()
        return (folder / "evaluations.csv").read_bytes(), load_file(folder / "checkpoints" / "last.safetensors")

    evaluations, tensors = run("forked")
    monkeypatch.setattr(forks, "ARE_SAFE", False)
    same_evaluations, same_tensors = run("fresh")
    assert evaluations == same_evaluations
    assert tensors.keys() == same_tensors.keys()
    assert all(tensors[name].equal(same_tensors[name]) for name in tensors)
