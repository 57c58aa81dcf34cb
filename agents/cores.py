"""Cores that a process may use: a container or a batch system may have given it one of 64."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

GROUPS, MOUNT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")  # of Linux's control groups


def usable_cores() -> int:
    """Those that the process is bound to, and of these as many as its control groups leave it time for, rounded up."""
    return max(1, math.ceil(min(bound_cores(), quota())))


def bound_cores() -> int:
    """Those that the process is bound to."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quota(groups: Path = GROUPS, mount: Path = MOUNT) -> float:
    """Cores' worth of time that the process gets: the least of its control groups and of those above; inf: no limit.

    Args:
        groups: the file that names the control groups of the process, of version 1 or 2 or both.
        mount: where they are mounted.
    """
    try:
        lines = groups.read_text().splitlines()
    except OSError:  # no Linux, or closed off
        return math.inf
    shares = [share for line in lines if line.count(":") >= 2 for share in _shares(line, mount)]
    return min(shares, default=math.inf)


def _shares(line: str, mount: Path) -> Iterator[float]:
    """Of a line ``number:controllers:path``; a path that is only known outside a container counts as the mount."""
    _, controllers, path = line.split(":", 2)
    if controllers and "cpu" not in controllers.split(","):
        return
    places = ("cpu", "cpu,cpuacct") if controllers else ("", "unified")
    for place in places:
        root = mount / place
        own = root / path.lstrip("/")
        for folder in (own, *own.parents):
            if folder.is_relative_to(root) and (share := _share(folder)) is not None:
                yield share


def _share(folder: Path) -> float | None:
    """Of one control group; None: it has no limit, or is not there."""
    try:
        if (file := folder / "cpu.max").exists():
            limit, period = file.read_text().split()
        else:
            limit, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        share = float(limit) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None  # "max" is no number
    return share if share > 0 else None
