"""Generators of random numbers in the place of torch's default ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Generator


def random_generator(device: torch.device) -> Generator:
    """A generator that goes on where torch's default one of the device stands."""
    generator = Generator(device)
    generator.set_state(default_generator(device).get_state())
    return generator


@contextmanager
def drawing_from(generator: Generator) -> Iterator[None]:
    """Use a generator in the place of torch's default one of its device."""
    default = default_generator(generator.device)
    before = default.get_state()
    default.set_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(default.get_state())
        default.set_state(before)


def default_generator(device: torch.device) -> Generator:
    """Torch's own generator of a device."""
    if device.type == "cpu":
        return torch.default_generator
    return torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]
