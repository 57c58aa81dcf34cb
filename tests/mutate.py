"""Applies the changes of ``mutants.py``, each to a copy of the project, and runs the tests that have to notice it.

``make mutate``, or ``make mutate ARGS='iql bounds'`` for the files with one of these words in their path. A mutant is
caught when a test fails; that none fails without a change is seen first. Each is a fork of this process, which has
imported the frameworks and nothing of the project.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import hydra  # noqa: F401  (as the next ones: a fork has them already)
import matplotlib.pyplot  # noqa: F401
import minari  # noqa: F401
import pytest
import torchrl.envs  # noqa: F401
import torchrl.modules  # noqa: F401
import torchrl.objectives  # noqa: F401
from mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[1]
PARTS = ("agents", "benchmarks", "recipes", "tests", "pyproject.toml")
SECONDS = 900  # that a mutant's tests may take, on a machine that does other things too
OUTCOMES = {0: "SURVIVED", 1: "caught", -signal.SIGALRM: "HUNG"}  # by exit code; any other: BROKEN

Job = tuple[str, Mutant | None]  # arguments of pytest, and the change to make first


def main(words: list[str]) -> int:
    """Try the mutants that the words choose; returns the exit code: 1 if one was not caught."""
    start = time.monotonic()
    mutants = [mutant for mutant in MUTANTS if not words or any(word in mutant.file for word in words)]
    failing = 0
    for (tests, _), code, output in outcomes([(tests, None) for tests in all_tests(mutants)]):
        if code != 0:
            failing += 1
            print(f"{output}\nexit code {code} without any change: {tests}", file=sys.stderr)
    if failing:
        return 1
    print(f"without a change, no test fails ({time.monotonic() - start:.0f} s)", flush=True)
    caught = 0
    for (_, mutant), code, _ in outcomes([(mutant.tests, mutant) for mutant in mutants]):
        caught += code == 1
        if mutant is not None and code != 1:
            print(f"{OUTCOMES.get(code, 'BROKEN')}: {mutant.file}: {mutant.old!r} -> {mutant.new!r}", flush=True)
    print(f"{caught} of {len(mutants)} mutants caught ({time.monotonic() - start:.0f} s)")
    return int(caught < len(mutants))


def all_tests(mutants: Sequence[Mutant]) -> list[str]:
    """Arguments of pytest by which every test of the mutants is run once, those of a word alone by that word."""
    chosen = dict.fromkeys(mutant.tests for mutant in mutants)
    words = dict.fromkeys(word for tests in chosen if " -k " not in tests for word in shlex.split(tests))
    whole = [word for word in words if not any(word.startswith((f"{other}/", f"{other}::")) for other in words)]
    return [*map(shlex.quote, whole), *(tests for tests in chosen if " -k " in tests)]


def outcomes(jobs: Sequence[Job]) -> Iterator[tuple[Job, int, str]]:
    """Each job with its exit code and the end of its output; as many run at a time as there are cores."""
    waiting, running = list(enumerate(jobs)), dict[int, tuple[Job, Path]]()
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as folder:
        try:
            while waiting or running:
                while waiting and len(running) < (os.cpu_count() or 1):
                    number, job = waiting.pop(0)
                    place = Path(folder, str(number))
                    place.mkdir()
                    running[start_tests(job, place)] = job, place
                pid, status = os.wait()
                end(pid)
                job, place = running.pop(pid)
                output = (place / "output").read_text(errors="replace")[-3000:]
                shutil.rmtree(place, ignore_errors=True)
                yield job, os.waitstatus_to_exitcode(status), output
        finally:
            for pid in running:
                end(pid)


def end(pid: int) -> None:
    """Kill what is left of a process and of those that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def start_tests(job: Job, place: Path) -> int:
    """Fork a process that tests a copy of the project in this folder; returns its number."""
    if pid := os.fork():
        return pid
    code = 2
    try:
        os.setpgid(0, 0)  # what a mutant ends is its own
        output = os.open(place / "output", os.O_WRONLY | os.O_CREAT)
        for number in (1, 2):
            os.dup2(output, number)
        signal.alarm(SECONDS)
        code = run_tests(*job, place)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def run_tests(tests: str, mutant: Mutant | None, place: Path) -> int:
    """The exit code of pytest in a changed copy; without a change in the project itself, where bytecode stays."""
    root = ROOT if mutant is None else place
    if mutant is not None:
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
            copy(ROOT / part, place / part)
        mutant.apply(place)
    # after a change of the same length in the same second, it would be out of date
    sys.dont_write_bytecode = mutant is not None
    os.chdir(root)
    sys.path[0] = str(root)
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", f"--basetemp={place}/tmp", *shlex.split(tests)]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
