"""Gymnasium-Robotics together with MuJoCo 4, which it is older than."""

from __future__ import annotations

import functools
import importlib
import types
from typing import Any


@functools.lru_cache
def mend_joint_types() -> None:
    """Let kitchen, Fetch and the Shadow hand be made, which end in an AssertionError otherwise.

    Up to 1.4.2 they ask whether a joint's type, of NumPy, is ``in`` a tuple of MuJoCo's enum. An entry of MuJoCo 4's is
    equal to a NumPy number only from the right. Their module gets the entries as numbers; MuJoCo's stay what they are.
    """
    from gymnasium_robotics.utils import mujoco_utils

    mujoco: Any = importlib.import_module("mujoco")  # whose compiled modules have no types
    names = [name for name in dir(mujoco.mjtJoint) if name.startswith("mjJNT_")]
    joints = {name: int(getattr(mujoco.mjtJoint, name)) for name in names}
    mujoco_utils.mujoco = types.SimpleNamespace(**{**vars(mujoco), "mjtJoint": types.SimpleNamespace(**joints)})
