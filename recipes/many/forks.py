"""A script as a process that is forked from one which has imported all that the script needs.

It runs as ``python script.py`` does, in a session of its own and with the same results, and is ready at once.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import runpy
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from recipes.settings import interrupt

PRELOADED = ["recipes.train", "recipes.many.preload"]
# elsewhere a process that has loaded torch cannot be forked safely, or at all; before Python 3.11, the one to be forked
# would look for its modules in the user's folder first
ARE_SAFE = sys.platform == "linux" and sys.version_info >= (3, 11)
LOST = 255  # what multiprocessing says of a process if the one that it was forked from was killed: it may live on


class Fork:
    """The process of a script and its arguments, which prints to a file."""

    def __init__(self, arguments: Sequence[str], output: Path, environment: Mapping[str, str]) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self._process = context.Process(target=_run, args=(arguments, output, environment))
        with _environment({**environment, "PYTHONSAFEPATH": "1"}):  # of the process to be forked
            self._process.start()  # the first one starts that too

    def poll(self) -> int | None:
        code = self._process.exitcode
        if code != LOST or not _lives(self._process.pid):
            return code
        return None

    def send_signal(self, number: int, /) -> None:
        if self.poll() is None and self._process.pid is not None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(self._process.pid, number)


def _lives(pid: int | None) -> bool:
    with contextlib.suppress(OSError):
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()  # a zombie has ended
    return False


def _run(arguments: Sequence[str], output: Path, environment: Mapping[str, str]) -> None:
    os.setsid()
    interrupt.install()
    with open(output, "a") as out:
        for number in (1, 2):  # standard output and errors
            os.dup2(out.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_stop_with_the_pool, daemon=True).start()
    sys.argv = [*arguments]
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves them out


def _stop_with_the_pool() -> None:
    """Save and stop when the pool is killed, which then cannot say so: its next call is to find no run at work."""
    pool = multiprocessing.parent_process()
    assert pool is not None
    pool.join()
    interrupt.stop()


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {**os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
