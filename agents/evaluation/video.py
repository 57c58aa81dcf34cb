"""Films of episodes, without a display."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from agents.environments.environment import EvaluationEnv
from agents.environments.headless import choose_gl_backend
from agents.environments.recording import Episode
from agents.errors import AgentsError
from agents.evaluation.rollouts import Policy, one_deterministic_thread, prepare, rollout

Picture = NDArray[np.uint8]  # [height, width, 3]


@dataclass(frozen=True)
class Film:
    """An episode in pictures."""

    episode: Episode
    frames: tuple[Picture, ...]
    steps: tuple[int, ...]  # made before each frame; the last frame is of the end
    fps: float  # frames per second of simulated time


def film(policy: Policy, env: EvaluationEnv, episode: int, *, seed: int = 0, max_fps: int = 25) -> Film:
    """Run an episode of ``evaluate(policy, env, seed=seed)`` once more, with all pictures of it in memory.

    Args:
        episode: its index in the evaluation, whatever the number of episodes was.
        max_fps: most frames per second; states in between are left out.
    """
    frames: dict[int, Picture] = {}
    with _rendering(env) as gym_env, one_deterministic_thread():
        fps, camera = _camera(gym_env, max_fps, frames.__setitem__)
        recording = rollout(gym_env, prepare(policy, gym_env), seed, episode, camera)
        frames[len(recording.rewards)] = _picture(gym_env)
    return Film(recording, tuple(frames.values()), tuple(frames), fps)


def record_video(
    policy: Policy, env: EvaluationEnv, path: str | Path, *, num_episodes: int = 1, seed: int = 0, max_fps: int = 25
) -> Path:
    """Film the first episodes of ``evaluate(policy, env, seed=seed)`` as one mp4 in real time.

    Args:
        max_fps: most frames per second, for which states in between are left out; a smoother film takes longer to make.

    Raises:
        AgentsError: nothing can render here; the message says what to install.
    """
    with _rendering(env) as gym_env:
        fps, camera = _camera(gym_env, max_fps, lambda _, picture: append(picture))
        with open_video(path, fps) as append, one_deterministic_thread():
            begin = prepare(policy, gym_env)
            for episode in range(num_episodes):
                rollout(gym_env, begin, seed, episode, camera)
    return Path(path)


def check_rendering(env: EvaluationEnv) -> None:
    """Render one picture, to know before a long run whether that works: an AgentsError says what to install."""
    with _rendering(env) as gym_env:
        gym_env.reset(seed=0)
        _picture(gym_env)


@contextlib.contextmanager
def _rendering(env: EvaluationEnv) -> Iterator[gym.Env]:
    gym_env = env.make(render_mode="rgb_array")
    try:
        choose_gl_backend(gym_env)
        yield gym_env
    finally:
        gym_env.close()


def _camera(gym_env: gym.Env, max_fps: int, keep: Callable[[int, Picture], object]) -> tuple[float, Callable[[], None]]:
    """Frames per second of simulated time, and an ``on_state`` that keeps pictures with the number of their state."""
    fps, states = gym_env.metadata.get("render_fps", max_fps), itertools.count()
    every = math.ceil(fps / max_fps)

    def shoot() -> None:
        state = next(states)
        if state % every == 0:
            keep(state, _picture(gym_env))

    return fps / every, shoot


def _picture(gym_env: gym.Env) -> Picture:
    picture: Any = gym_env.render()
    if np.ndim(picture) != 3:
        raise AgentsError(f"cannot render {gym_env.spec and gym_env.spec.id}: it draws no pictures")
    return picture


@contextlib.contextmanager
def open_video(path: str | Path, fps: float) -> Iterator[Callable[[Picture], object]]:
    """A function that appends frames to an mp4, which appears whole, after the block, or not at all."""
    from imageio import v2 as imageio  # here, because only videos need it

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.mp4")
    try:
        writer: Any = imageio.get_writer(partial, fps=fps, macro_block_size=2)
        with contextlib.closing(writer):  # its own exit leaks ffmpeg on errors
            yield writer.append_data
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
