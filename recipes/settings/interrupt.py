"""Ctrl-C and SIGTERM: whatever a command is doing, it ends with one line and exit code 130 or 143.

It imports next to nothing: a signal may come while all else is still being imported.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

PARENT = "OFFLINE_AGENTS_PARENT"  # environment variable: number of the process without which this one shall not be
LOOK_EVERY, PATIENCE = 0.5, 10.0  # seconds
NUMBERS = (signal.SIGINT, signal.SIGTERM)
_signals: list[int] = []  # that unwind the command
_at_work = False  # in its main function, where an exception has everything tidied up


def install() -> None:
    """Have a signal end this process with one line from here on, until its command has ended anyway."""
    for number in NUMBERS:
        signal.signal(number, _end)


def stop_with_parent() -> None:
    """Save and stop when the process that :data:`PARENT` names, the parent, is killed, which then cannot say so."""
    if (parent := os.environ.pop(PARENT, None)) is not None:
        threading.Thread(target=_watch, args=(int(parent),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY)
    stop()


def stop() -> None:
    """Signal this process from one of its threads; once more if it is not in a loop that ends soon."""
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE)


@contextlib.contextmanager
def one_line(*, last: bool = False) -> Iterator[None]:
    """Around a command: a signal unwinds what it does, and whatever exception comes of that is one line.

    ``last``: when it ends, all is said, and Python takes itself apart: in a process of its own, signals come too late.
    """
    global _at_work
    before = {number: signal.signal(number, _end) for number in NUMBERS}
    hook, sys.unraisablehook = sys.unraisablehook, _send_again
    _signals.clear()
    _at_work = True
    try:
        yield
    except SystemExit:
        last = True
        raise
    except BaseException:  # a library may have made another one of the KeyboardInterrupt
        _at_work, last = False, True
        if not _signals:
            raise
        _say(_signals[0])
        hook = _say_nothing  # what was half made when the signal came may not be able to say farewell
        sys.exit(128 + _signals[0])
    finally:
        _at_work, sys.unraisablehook = False, hook
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if last and handler is _end else handler)


class Interrupt:
    """Turns the first Ctrl-C or SIGTERM into a flag that a loop reads between updates; a second one stops at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> Interrupt:
        self._previous = {number: signal.signal(number, self._note) for number in NUMBERS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal = number
            return
        if callable(previous := self._previous[signal.Signals(number)]):
            previous(number, frame)
        raise KeyboardInterrupt

    @property
    def exit_code(self) -> int:
        return 128 + (self.signal or 0)


def _end(number: int, frame: FrameType | None) -> None:
    if _at_work and len(_signals) < 2:  # the second one breaks off what tidies up
        _signals.append(number)
        raise KeyboardInterrupt
    for each in NUMBERS:  # another one may come at the same moment
        signal.signal(each, signal.SIG_IGN)
    if not _signals:
        _say(number)
    os._exit(128 + number)  # nothing is begun yet, or it takes too long


def _send_again(unraisable: sys.UnraisableHookArgs) -> None:
    """A signal that came while an object was let go has been lost with the exception that it raised there."""
    if _signals and unraisable.exc_type is KeyboardInterrupt:
        number = _signals.pop()
        threading.Timer(0.01, os.kill, (os.getpid(), number)).start()
    else:
        sys.__unraisablehook__(unraisable)


def _say_nothing(unraisable: sys.UnraisableHookArgs) -> None:
    """All is said."""


def _say(number: int) -> None:
    beginning = "\n" if os.isatty(2) else ""  # a bar may stand in this line
    with contextlib.suppress(OSError):  # not print, which a signal may have broken off
        os.write(2, f"{beginning}stopped by {signal.Signals(number).name}; what was saved before is whole\n".encode())
