"""Pictures of a log: kept as the JPEG or PNG that they are, and else as PNG, which loses nothing.

Minari decodes what is kept by Pillow, whichever of the two it is. Legend: ``H`` height, ``W`` width, ``C`` colours.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from minari.dataset.minari_storage import is_image_space
from PIL import Image

from agents.data.importers.rows import Array
from agents.errors import DataError, one_line

Picture = bytes | Array  # encoded in a format that Pillow reads, or [H, W] and [H, W, C] of whole numbers
DEPTH = "I;16"  # Pillow's mode of 16 bits
MODES = {"L": (), "RGB": (3,), "RGBA": (4,), DEPTH: ()}  # with the last dimension of their arrays
KEPT = ("JPEG", "PNG")


def part_names(columns: Sequence[str]) -> dict[str, str]:
    """Names as parts of an observation: the last word of a path, where that is enough to tell them apart."""
    short = [re.split(r"[/.]", column)[-1] for column in columns]
    unique = len({*short, "observation"}) > len(short)
    return dict(zip(columns, short if unique else [re.sub(r"[/.]", "_", column) for column in columns]))


def space_of(picture: Picture) -> spaces.Box:
    """The space of pictures like this one; a ValueError where it is none."""
    if isinstance(picture, bytes):
        image = _open(picture)
        mode = image.mode if image.mode in MODES else "RGB"
        shape, dtype = (image.height, image.width, *MODES[mode]), np.uint16 if mode == DEPTH else np.uint8
    else:
        shape, dtype = picture.shape[: 2 if picture.shape[2:] == (1,) else None], picture.dtype.type
        if len(shape) not in (2, 3) or picture.dtype.kind != "u":
            raise ValueError(f"an array of {picture.dtype}{[*picture.shape]} is no picture")
    return spaces.Box(0, np.iinfo(dtype).max, shape, dtype)


def stored(pictures: Iterable[Picture], space: spaces.Box, place: Callable[[int], str]) -> Iterator[Array]:
    """Each as Minari keeps it: the bytes of a file ``[n]``, or its numbers where it keeps those.

    Raises:
        DataError: one is damaged, or of another size than those before.
    """
    encode = is_image_space(space)
    for index, picture in enumerate(pictures):
        try:
            yield np.frombuffer(_encoded(picture, space), np.uint8) if encode else _decoded(picture, space)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(
                f"{place(index)}: a picture {one_line(error)}; leave it out, or set pictures=drop"
            ) from error


def _encoded(picture: Picture, space: spaces.Box) -> bytes:
    if isinstance(picture, bytes):
        image = _open(picture)
        if image.format in KEPT and MODES.get(image.mode) == space.shape[2:]:
            _require_size((image.height, image.width), space)
            return picture
    content = io.BytesIO()
    Image.fromarray(_decoded(picture, space)).save(content, format="PNG", compress_level=1)
    return content.getvalue()


def _decoded(picture: Picture, space: spaces.Box) -> Array:
    if isinstance(picture, bytes):
        mode = next(mode for mode, last in MODES.items() if last == space.shape[2:])
        image = _open(picture)
        array = np.asarray(image if space.dtype == np.uint16 else image.convert(mode))
    else:
        array = picture.reshape(picture.shape[: len(space.shape)])
    _require_size(array.shape[:2], space)
    return array


def _open(picture: bytes) -> Any:
    try:
        return Image.open(io.BytesIO(picture))
    except OSError as error:
        raise ValueError("cannot be read: it is damaged, or in no format that Pillow knows") from error
    except Image.DecompressionBombError as error:
        raise ValueError("is larger than any that Pillow opens") from error


def _require_size(shape: tuple[int, ...], space: spaces.Box) -> None:
    if shape != space.shape[:2]:
        raise ValueError(f"is {' x '.join(map(str, shape))}, those before {' x '.join(map(str, space.shape[:2]))}")
