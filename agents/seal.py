"""A safetensors file with a checksum of all that it says; equal contents are equal bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

FORMAT = "offline-agents/2"
WITHOUT_CHECKSUM = "offline-agents/1"  # of before, which is read too
UNSEALED = "0" * 64  # stands for the checksum while it is computed


def seal(plain: bytes, metadata: str) -> bytes:
    """A safetensors file with its metadata, in an order of their own that is always the same, and its checksum."""
    header, data = read_header(plain)
    notes = {"format": FORMAT, "sha256": UNSEALED, "metadata": metadata}
    text = json.dumps({"__metadata__": notes, **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of eight
    payload = len(text).to_bytes(8, "little") + text + data
    return payload.replace(UNSEALED.encode(), _checksum(payload).encode(), 1)


def read_header(payload: bytes) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, and the bytes after it."""
    end = 8 + int.from_bytes(payload[:8], "little")
    if payload[8:9] != b"{":
        raise ValueError("it does not begin as a .safetensors file does")
    try:
        return json.loads(payload[8:end]), payload[end:]
    except ValueError as error:  # which speaks of JSON
        raise ValueError("its header cannot be read") from error


def _checksum(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()


def check_seal(payload: bytes, notes: Mapping[str, str]) -> None:
    """Raise a ValueError where a file is not what was written, a KeyError where it does not say."""
    if notes["format"] == WITHOUT_CHECKSUM:
        return
    if _checksum(payload.replace(notes["sha256"].encode(), UNSEALED.encode(), 1)) != notes["sha256"]:
        raise ValueError("its checksum is another than when it was written")
