"""Applies the changes of ``mutants.py``, each to a copy of the project, and runs the tests that have to notice it.

``make mutate``, or ``make mutate ARGS='iql bounds'`` for the files with one of these words in their path. A mutant is
caught when a test fails; that no test fails without a change is seen first. Each is a fork of this process, which has
the frameworks imported and nothing of the project.
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
PARTS = ("agents", "recipes", "tests", "benchmarks", "pyproject.toml")
SECONDS = 900  # that a mutant's tests may take, on a machine that does other things too
OUTCOMES = {0: "SURVIVED", 1: "caught", -signal.SIGALRM: "HUNG"}


def main(words: list[str]) -> int:
    """Run what the words choose; returns the exit code: 1 if a mutant survived, or could not be tried."""
    mutants = [mutant for mutant in MUTANTS if not words or any(word in mutant.file for word in words)]
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tests = sorted({(mutant.tests, mutant.file) for mutant in mutants})
        as_is = [Mutant(file, "", "", of_file) for of_file, file in dict(tests).items()]
        outcomes = run_all(as_is, Path(folder, "as-is"))
        broken = [mutant.tests for mutant, code in outcomes if code != 0]
        if broken:
            print(f"these tests fail without any change: {', '.join(broken)}", file=sys.stderr)
            return 1
        print(f"{len(as_is)} sets of tests pass without a change ({time.monotonic() - start:.0f} s)", flush=True)
        outcomes = run_all(mutants, Path(folder, "mutants"))
    caught = sum(code == 1 for _, code in outcomes)
    print(f"{caught} of {len(mutants)} mutants caught ({time.monotonic() - start:.0f} s)")
    return int(caught < len(mutants))


def run_all(mutants: list[Mutant], folder: Path) -> list[tuple[Mutant, int]]:
    """Every mutant with the exit code of its tests, as many at a time as there are cores; says which is not caught."""
    waiting, running, outcomes = [*enumerate(mutants)], dict[int, tuple[Mutant, Path]](), []
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            index, mutant = waiting.pop(0)
            place = folder / str(index)
            running[start_tests(mutant, place)] = mutant, place
        pid, status = os.wait()
        mutant, place = running.pop(pid)
        code = os.waitstatus_to_exitcode(status)
        outcomes.append((mutant, code))
        if code != 1 and mutant.old:
            print(f"{OUTCOMES.get(code, 'BROKEN')}: {mutant.file}: {mutant.old!r} -> {mutant.new!r}", flush=True)
        elif code != 0 and not mutant.old:
            print(f"exit code {code}\n{(place / 'output').read_text()[-3000:]}", file=sys.stderr)
        shutil.rmtree(place, ignore_errors=True)
    return outcomes


def start_tests(mutant: Mutant, place: Path) -> int:
    """Fork a process that tests a copy of the project with this change; returns its number."""
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
        (place / part).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / part, place / part)
    mutant.apply(place)
    if pid := os.fork():
        return pid
    code = 2
    with contextlib.suppress(BaseException):
        output = os.open(place / "output", os.O_WRONLY | os.O_CREAT)
        for number in (1, 2):
            os.dup2(output, number)
        signal.alarm(SECONDS)
        os.chdir(place)
        sys.path[0] = str(place)
        sys.dont_write_bytecode = True  # of a change within a second that keeps the size, the file would be out of date
        code = pytest.main(
            ["-x", "-q", "-p", "no:cacheprovider", f"--basetemp={place}/tmp", *shlex.split(mutant.tests)]
        )
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
