"""Runs that are forked from a process with torch in it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from safetensors.torch import load_file

from recipes.many import forks, pool
from recipes.many.pool import ONE_THREAD, Job, run_jobs
from tests.recipes.conftest import DATASET, QUICK, small

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


WAITS = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, lambda *_: (Path(sys.argv[1], "stopped").touch(), sys.exit(0)))
Path(sys.argv[1], "started").touch()
while True:
    time.sleep(0.05)
"""
POOL = """
import os, sys
from pathlib import Path
from recipes.many.forks import Fork
forks = [Fork([sys.argv[1], folder], Path(folder, "output"), {**os.environ}) for folder in sys.argv[2:]]
print(*(fork._process.pid for fork in forks), flush=True)
sys.stdin.read()
from multiprocessing.forkserver import _forkserver
os.kill(_forkserver._forkserver_pid, 9)
print(forks[0].poll(), flush=True)
forks[0].send_signal(15)
while forks[0].poll() is None:
    pass
print(forks[0].poll(), flush=True)
os.kill(os.getpid(), 9)
"""


def wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        threading.Event().wait(0.1)
    raise AssertionError(f"no {path.name}")


def test_a_run_outlives_what_it_was_forked_from_and_stops_with_the_pool(tmp_path) -> None:
    script = tmp_path / "waits.py"
    script.write_text(WAITS)
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    command = [sys.executable, "-c", POOL, str(script), *map(str, folders)]
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for folder in folders:
        wait_for(folder / "started")
    lines, _ = started.communicate()
    _, alive, code = lines.splitlines()
    assert (alive, code) == ("None", "255")  # no one knows how it ended
    assert (folders[0] / "stopped").exists()
    wait_for(folders[1] / "stopped")  # the pool was killed


COMPARE = """
import sys
from recipes import compare
from recipes.many import forks
forks.ARE_SAFE = {forked}
sys.argv[0] = compare.__file__
compare.main()
"""


@pytest.mark.parametrize("forked", [True, False])
def test_a_comparison_that_was_killed_goes_on_to_the_same_files(forked, tmp_path, read_log) -> None:
    settings = (*QUICK, *small("iql")[1:], "gradient_steps=1000", "eval_every=500", "checkpoint_every=50")
    arguments = ("algorithms=iql", f"datasets={DATASET}", "seeds=0,1", "workers=2", *settings[1:])

    def start(runs: str) -> subprocess.Popen[str]:
        places = f"runs={runs}", f"output={runs}/out"
        command = [sys.executable, "-c", COMPARE.format(forked=forked), *arguments, *places]
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    whole, killed = start("whole"), start("killed")
    place = Path("iql", DATASET, "seed0")
    wait_for(tmp_path / "killed" / place / "checkpoints" / "last.safetensors")
    killed.kill()
    killed.communicate()
    again = start("killed")
    for process in (whole, again):
        printed, _ = process.communicate()
        assert process.returncode == 0, printed
    for seed in ("seed0", "seed1"):
        ours, theirs = (tmp_path / runs / place.with_name(seed) for runs in ("killed", "whole"))
        for log in ("metrics.csv", "evaluations.csv"):
            assert read_log(ours / log) == read_log(theirs / log)
        tensors, same = (load_file(folder / "checkpoints" / "last.safetensors") for folder in (ours, theirs))
        assert all(tensors[name].equal(same[name]) for name in same)
