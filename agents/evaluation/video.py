"""Films of episodes, without a display."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from agents.environments.environment import EvaluationEnv
from agents.environments.headless import choose_gl_backend
from agents.errors import AgentsError
from agents.evaluation.result import Episode
from agents.evaluation.rollouts import Policy, one_deterministic_thread, prepare, rollout


@dataclass(frozen=True)
class Film:
    """An episode and what it looked like."""

    episode: Episode
    frames: tuple[NDArray[np.uint8], ...]  # [height, width, 3] each
    steps: tuple[int, ...]  # made before each frame; the last frame is of the end
    fps: float  # frames per second of simulated time


def film(policy: Policy, env: EvaluationEnv, episode: int, *, seed: int = 0, max_fps: int = 25) -> Film:
    """Run an episode of ``evaluate(policy, env, seed=seed)`` once more, with pictures of it, without a display.

    Args:
        episode: its index in the evaluation, whatever the number of episodes was.
        max_fps: most frames per second; states in between are left out. All frames are in memory.

    Raises:
        AgentsError: nothing can render here; the message says what to install.
    """
    frames: dict[int, NDArray[np.uint8]] = {}
    states = itertools.count()
    with _rendering(env) as gym_env, one_deterministic_thread():
        fps = gym_env.metadata.get("render_fps", max_fps)
        every = math.ceil(fps / max_fps)

        def shoot() -> None:
            step = next(states)
            if step % every == 0:
                frames[step] = _picture(gym_env)

        recorded = rollout(gym_env, prepare(policy, gym_env), seed, episode, on_state=shoot)
        frames[len(recorded.rewards)] = _picture(gym_env)
    return Film(recorded, tuple(frames.values()), tuple(frames), fps / every)


def check_rendering(env: EvaluationEnv) -> None:
    """Render one picture, to know before a long run whether that works.

    Raises:
        AgentsError: it does not; the message says what to install.
    """
    with _rendering(env) as gym_env:
        gym_env.reset(seed=0)
        _picture(gym_env)


def _picture(gym_env: gym.Env) -> NDArray[np.uint8]:
    picture = gym_env.render()
    if np.ndim(picture) != 3:
        raise AgentsError(f"cannot render {gym_env.spec.id}: it draws no pictures")
    return picture


@contextlib.contextmanager
def _rendering(env: EvaluationEnv) -> Iterator[gym.Env]:
    gym_env = env.make(render_mode="rgb_array")
    try:
        choose_gl_backend(gym_env)
        yield gym_env
    except gym.error.Error as error:
        raise AgentsError(f"cannot render {env.spec.id}: {error}") from error
    finally:
        gym_env.close()


def record_video(
    policy: Policy, env: EvaluationEnv, path: str | Path, *, num_episodes: int = 1, seed: int = 0, max_fps: int = 25
) -> Path:
    """Film the first episodes of ``evaluate(policy, env, seed=seed)`` as one mp4 in real time, without a display.

    Args:
        max_fps: most frames per second; states in between are left out. Raise it for a smoother, slower to make film.

    Raises:
        AgentsError: nothing can render here; the message says what to install.
    """
    states = itertools.count()
    with _rendering(env) as gym_env:
        fps = gym_env.metadata.get("render_fps", max_fps)
        every = math.ceil(fps / max_fps)
        with open_video(path, fps / every) as append, one_deterministic_thread():

            def shoot() -> None:
                if next(states) % every == 0:
                    append(_picture(gym_env))

            begin = prepare(policy, gym_env)
            for episode in range(num_episodes):
                rollout(gym_env, begin, seed, episode, on_state=shoot)
    return Path(path)


@contextlib.contextmanager
def open_video(path: str | Path, fps: float) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """What appends frames ``[height, width, 3]`` to an mp4, which appears whole, after the block, or not at all."""
    from imageio import v2 as imageio  # here, because only videos need it

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.mp4")
    try:
        writer = imageio.get_writer(partial, fps=fps, macro_block_size=2)
        with contextlib.closing(writer):  # its own exit leaks ffmpeg on errors
            yield writer.append_data
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
