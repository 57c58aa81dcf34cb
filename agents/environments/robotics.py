"""Gymnasium-Robotics together with MuJoCo 4, which it is older than."""

from __future__ import annotations

import functools
import types


@functools.lru_cache
def mend_joint_types() -> None:
    """Let kitchen, Fetch and the Shadow hand be made, which end in an AssertionError otherwise.

    Up to 1.4.2 they ask whether a joint's type, of NumPy, is ``in`` a tuple of MuJoCo's enum. An entry of MuJoCo 4's is
    equal to a NumPy number only from the right. Their module gets the entries as numbers; MuJoCo's stay what they are.
    """
    import mujoco
    from gymnasium_robotics.utils import mujoco_utils

    joints = {name: int(value) for name, value in mujoco.mjtJoint.__members__.items()}
    mujoco_utils.mujoco = types.SimpleNamespace(**{**vars(mujoco), "mjtJoint": types.SimpleNamespace(**joints)})
