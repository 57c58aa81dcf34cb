"""The presets of algorithms: what differs from their dataclasses."""

from __future__ import annotations

import os

from agents.algorithms.registry import ALGORITHMS

CONF = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "conf")


def presets() -> set[str]:
    return preset_files() | ALGORITHMS.keys()


def preset_files() -> set[str]:
    return {name.removesuffix(".yaml") for name in os.listdir(os.path.join(CONF, "algorithm"))}
