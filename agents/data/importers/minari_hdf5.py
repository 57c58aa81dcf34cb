"""Episodes in Minari's HDF5 file, laid out as Minari's own writer does, but in a sixth of its room for each.

Minari's writer makes arrays that could grow, which costs 15 kB for each episode, and encodes pictures anew, with loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from agents.data.importers.rows import Array

AT_ONCE = 256  # episodes; until it is closed, an HDF5 file keeps memory for all that was ever opened in it
VERSION = ("v108", "v108")  # of the file format: HDF5 1.8 of 2008 and later read it, and groups take less room
Parts = Mapping[str, "Array | Parts | Pictures"]


class Pictures:
    """Encoded pictures of an episode, which are written one after the other."""

    def __init__(self, count: int, contents: Iterator[Array]) -> None:
        self.count, self.contents = count, contents


def append_episodes(path: Path, episodes: Iterable[Parts]) -> tuple[int, int]:
    """Write the episodes, each when it is made, behind those of the file; the numbers of episodes and steps."""
    import h5py

    num_episodes = num_steps = 0
    episodes = iter(episodes)
    for first in episodes:
        with h5py.File(path, "a", track_order=True, libver=VERSION) as file:
            for parts in chain([first], islice(episodes, AT_ONCE - 1)):
                length = len(parts["rewards"])  # pyright: ignore
                group = file.create_group(f"episode_{num_episodes}")
                group.attrs["id"], group.attrs["total_steps"] = num_episodes, length
                _write(group, parts)
                num_episodes, num_steps = num_episodes + 1, num_steps + length
    return num_episodes, num_steps


def _write(group: Any, parts: Parts) -> None:
    import h5py

    for name, part in parts.items():
        if isinstance(part, Mapping):
            _write(group.create_group(name), part)
        elif isinstance(part, Pictures):
            files = group.create_dataset(name, (part.count,), h5py.vlen_dtype(np.uint8))
            for index, content in enumerate(part.contents):
                files[index] = content
        elif part.dtype.kind == "O":
            group.create_dataset(name, data=part, dtype=h5py.string_dtype())
        else:
            group.create_dataset(name, data=part)
