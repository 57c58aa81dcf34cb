"""The sign of the distance from palm to object in recorded Adroit rewards: it says which version wrote them.

D4RL's environments, gymnasium-robotics 1.2.0 and the v2 environments subtract 0.1 x that distance from the reward of
door, hammer and relocate; gymnasium-robotics 1.2.1 to 1.4.2 adds it. The other terms follow from the observation, up to
what speed costs, so that the coefficient of the distance can be fitted.

Shapes: ``T`` steps of an episode, ``O`` observation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from agents.environments.scoring import Remark
from agents.environments.spec import register_robotics

Array = NDArray[np.float64]
COEFFICIENT = 0.1  # of the distance, plus or minus; per metre
TOLERANCE = 0.03  # how far a fit may be from it
SIGNS = {  # what the sign is, what it means, what to do about it
    1: (
        "plus, as gymnasium-robotics 1.2.1 to 1.4.2",
        "The rewards are those of gymnasium-robotics 1.2.1 to 1.4.2, which add 0.1 x that distance where D4RL "
        "subtracts it: both scores of this dataset are what they say.",
        None,
    ),
    -1: (
        "minus, as D4RL, gymnasium-robotics 1.2.0 and v2",
        "The rewards are D4RL's (also of gymnasium-robotics 1.2.0 and of v2): the environment that evaluates here adds "
        "0.1 x that distance where they subtract it. The recorded returns are already D4RL's; the d4rl score of this "
        "dataset shown here subtracts the distance once more.",
        "compare eval/d4rl_score with the mean of the recorded returns; the differences are below a point",
    ),
    None: (
        "neither plus nor minus 0.1",
        "The rewards are neither those of gymnasium-robotics 1.2.1 to 1.4.2 nor D4RL's: scaled or shaped anew. Neither "
        "score of this dataset means anything.",
        "compare evaluations with each other only",
    ),
}
HAMMER_HEAD = np.array([-0.2, 0.0, -0.04])  # in the hammer's frame, metres
NAIL_FROM_GOAL = np.array([-0.0848155504, -0.0329745617, 0.0])  # at reset, metres; the board only moves up and down


class DistanceFit:
    """Least squares of what the other terms leave of the rewards, by palm-to-object distance, speed and a constant.

    Args:
        task: door, hammer or relocate; pen's reward has no such term.
        palm_to_object: the offset in an observation, ``[T, O] -> [T, 3]``, metres.
    """

    def __init__(self, task: str, palm_to_object: Callable[[Array], Array]) -> None:
        self._other_terms, self._palm_to_object = OTHER_TERMS[task], palm_to_object
        self._products, self._target = np.zeros((3, 3)), np.zeros(3)

    def add(self, observations: NDArray, rewards: NDArray) -> None:
        """An episode, ``[T + 1, O]`` and ``[T]``."""
        observations, rewards = (np.asarray(values, dtype=np.float64) for values in (observations, rewards))
        distance = np.linalg.norm(self._palm_to_object(observations[1:]), axis=1)
        explained, speed = self._other_terms(observations)
        left = np.atleast_2d(rewards - explained)  # [K, T] of K possibilities: the one that explains most is taken
        left = np.take_along_axis(left, np.abs(left).argmin(0)[None], 0)[0]
        inputs = np.stack([distance, speed, np.ones_like(distance)])  # [3, T]
        known = np.isfinite(inputs).all(0) & np.isfinite(left)
        self._products += inputs[:, known] @ inputs[:, known].T
        self._target += inputs[:, known] @ left[known]

    @property
    def coefficient(self) -> float:
        """Of the distance, per metre."""
        return float((np.linalg.pinv(self._products, hermitian=True) @ self._target)[0])

    def remark(self) -> Remark:
        return remark(self.coefficient)


def remark(coefficient: float) -> Remark:
    """The coefficient, and which rewards it speaks for."""
    text, name = f"{coefficient:+.3f} per metre", "palm-to-object distance"
    value = {"coefficient": coefficient, "sign": sign(coefficient)}
    which, says, advice = SIGNS[value["sign"]]
    basis = f"the coefficient of the {name} in the recorded rewards, fitted from the observations: {text}"
    return Remark(name, value, f"{text}: {which}", "warning" if advice else "note", says, basis, advice)


def sign(coefficient: float) -> int | None:
    """1 for gymnasium-robotics 1.2.1 to 1.4.2, -1 for D4RL, 1.2.0 and v2; None: neither, such as scaled rewards."""
    return next((s for s in (1, -1) if abs(coefficient - s * COEFFICIENT) <= TOLERANCE), None)


def _door(observations: Array) -> tuple[Array, Array]:
    hinge = observations[1:, 28]  # radians
    bonus = 2.0 * (hinge > 0.2) + 8.0 * (hinge > 1.0) + 10.0 * (hinge > 1.35)
    speed = np.square(np.diff(observations[:, :27], axis=0)).sum(1)
    return bonus - 0.1 * (hinge - 1.57) ** 2, speed


def _hammer(observations: Array) -> tuple[Array, Array]:
    register_robotics()  # which imports it in silence
    from gymnasium_robotics.utils.rotations import euler2mat

    after = observations[1:]
    head = after[:, 36:39] + euler2mat(after[:, 39:42]) @ HAMMER_HEAD
    nail = after[:, 42:45]
    to_go = np.linalg.norm(nail - (observations[0, 42:45] - NAIL_FROM_GOAL), axis=1)
    lifted = (after[:, 38] > 0.04) & (head[:, 2] > 0.04)
    bonus = 2.0 * lifted + 25.0 * (to_go < 0.02) + 75.0 * (to_go < 0.01)
    speed = np.linalg.norm(np.diff(observations[:, :26], axis=0), axis=1)
    return bonus - np.linalg.norm(head - nail, axis=1) - 10.0 * to_go, speed


def _relocate(observations: Array) -> tuple[Array, Array]:
    """Both that the ball lies on the table and that it is lifted, ``[2, T]``: its height is not observed."""
    palm_to_target, ball_to_target = (np.linalg.norm(observations[1:, i : i + 3], axis=1) for i in (33, 36))
    bonus = 10.0 * (ball_to_target < 0.1) + 20.0 * (ball_to_target < 0.05)
    lifted = 1.0 - 0.5 * palm_to_target - 0.5 * ball_to_target
    lifted[np.abs(lifted) < 0.5] = np.nan  # which of both it was cannot be told there
    return np.stack([bonus + 0.0 * lifted, bonus + lifted]), np.zeros_like(bonus)


# what the other terms give, [T] or [K, T], and what of the hand's speed is left to fit, [T]
OTHER_TERMS = {"door": _door, "hammer": _hammer, "relocate": _relocate}
