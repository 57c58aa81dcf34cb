"""Errors meant for the person at the keyboard: one line that says what is wrong and what to do.

The recipes print such an error without a traceback and exit with code 2; every other exception is a bug.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator


class AgentsError(Exception):
    """Base of every error that a user can cause and mend."""


class ConfigError(AgentsError, ValueError):
    """A setting is unknown, out of range, or does not fit the data."""


class DataError(AgentsError):
    """A dataset or environment is missing, broken or of an unsupported kind."""


class CheckpointError(AgentsError):
    """A checkpoint file is missing, truncated, foreign or of another run."""


class PolicyError(AgentsError, ValueError):
    """An exported policy is missing, damaged or of another version, or was given what it does not take."""


class WriteError(AgentsError):
    """A file could not be written; what was there before is untouched."""


class NonFiniteLossError(AgentsError):
    """A loss became NaN or infinite; the parameters were left as they were before the update."""


def printable(text: str) -> str:
    """A text from a file for a terminal, which would obey the control characters in it: they are escaped."""
    return "".join(c if c.isprintable() or c in "\t\n" else c.encode("unicode_escape").decode() for c in text)


def one_line(error: BaseException) -> str:
    """The message of another library's exception, or at least its type."""
    return printable(" ".join(str(error).split())) or type(error).__name__


@contextlib.contextmanager
def optional_package(extra: str, feature: str) -> Iterator[None]:
    """Around imports that only a feature needs: one that fails is a ConfigError with the extra to install."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(f"{feature} needs a package: pip install 'offline-agents[{extra}]'") from error


def require(holds: bool, name: str, demand: str, value: object) -> None:
    """Refuse a setting out of range. Write the range as what must hold: a NaN then fails it.

    Raises:
        ConfigError: ``<name> must <demand>, got <value>``.
    """
    if not holds:
        raise ConfigError(f"{name} must {demand}, got {value!r}")


def require_memory(num_bytes: int, name: str, value: object) -> None:
    """Refuse a size for which this machine has not the memory, given the bytes that it needs at the very least.

    Raises:
        ConfigError: ``<name>=<value> needs at least <bytes>, and this machine has <bytes>``.
    """
    if hasattr(os, "sysconf"):  # not so on Windows
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if num_bytes > total:
            sizes = f"{num_bytes / 2**30:,.0f} GiB of memory, and this machine has {total / 2**30:,.0f}"
            raise ConfigError(f"{name}={value} needs at least {sizes}; choose a smaller one")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: of Python or NumPy, of a GPU, or of torch on a CPU, which has no type for it."""
    named = any(cls.__name__ == "OutOfMemoryError" for cls in type(error).__mro__)
    return isinstance(error, MemoryError) or named or "DefaultCPUAllocator" in str(error)


def require_choice(name: str, value: str, known: Iterable[str]) -> None:
    """Refuse a name that is not among the known ones.

    Raises:
        ConfigError: ``unknown <name> <value>; choose from <known>``.
    """
    if value not in known:
        raise ConfigError(f"unknown {name} {value!r}; choose from {', '.join(known)}")
