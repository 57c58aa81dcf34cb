"""Pictures in a video, decoded by PyAV one after the other.

Legend: ``H`` height, ``W`` width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agents.data.importers.rows import Array
from agents.errors import DataError, one_line, optional_package

WAY_OUT = "pictures=drop leaves them out"


def require_decoder() -> None:
    """A ConfigError where PyAV is not installed."""
    with optional_package("video", "the video of a camera, unless pictures=drop,"):
        import av  # noqa: F401  # pyright: ignore


def read_frames(path: Path, times: Sequence[float], tolerance: float) -> Iterator[Array]:
    """The picture ``[H, W, 3]`` closest to each of some growing times in seconds, as LeRobot's own reader chooses it.

    Raises:
        DataError: the video is damaged, of an unknown kind, or has none within the tolerance, in seconds.
    """
    with _opened(path) as container:
        if not container.streams.video:
            raise DataError(f"{path} has no video in it; {WAY_OUT}")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        container.seek(int(times[0] / stream.time_base), stream=stream)  # to a frame before it that stands alone
        frames = container.decode(stream)
        before = after = next(frames, None)
        for time in times:
            while after is not None and after.time < time:
                before, after = after, next(frames, None)
            closest = _closest(time, before, after)
            if closest is None or abs(closest.time - time) > tolerance:
                raise DataError(
                    f"{path} has no picture at {time:.3f} s: it is truncated, or of another episode; {WAY_OUT}"
                )
            yield closest.to_ndarray(format="rgb24")


def _closest(time: float, before: Any, after: Any) -> Any:
    """Of two frames, of which the later may be missing."""
    if after is None or before is None:
        return before
    return before if time - before.time <= after.time - time else after


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import av  # pyright: ignore
    from av.error import FFmpegError  # pyright: ignore

    try:
        with av.open(str(path)) as container:
            yield container
    except (FFmpegError, OSError, ValueError, TypeError, RuntimeError) as error:
        problem = f"({one_line(error)[:200]}): it is truncated, damaged, or in a codec that PyAV has no decoder for"
        raise DataError(f"the video {path} cannot be read {problem}; {WAY_OUT}") from error
