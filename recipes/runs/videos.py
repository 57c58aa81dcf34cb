"""Videos of an evaluation's worst, median and best episode, with return and success on each frame, and Q and V below.

The episodes are run once more from their initial states, which gives the same episodes: evaluations are deterministic.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import agents
from agents.evaluation.video import Film, Picture, film, open_video
from agents.training.values import critic_values
from recipes.reporting.images import plt

FOLDER = "videos"
WIDTH = 480  # pixels of a video, to which smaller pictures are enlarged
HEADER, CHART = 52, 132  # pixels of the bands above and below the picture
MAX_FPS = 15  # rendering is what takes time, on a CPU a tenth of a second per picture
LAST_FRAME_SECONDS = 1.0  # for which the end stays
BACKGROUND, TEXT, DIM, GOAL = (24, 26, 30), (240, 240, 240), (150, 154, 162), (86, 211, 140)
LINES = {"qvalue": ("Q(s, a)", "#56B4E9"), "state_value": ("V(s)", "#E69F00")}


@dataclass(frozen=True)
class Scene:
    """An episode to film."""

    name: str  # worst, median or best
    episode: int
    num_episodes: int  # among which it is that


def choose(returns: NDArray[np.float64]) -> list[Scene]:
    """Worst, median (of an even number, the lower) and best by return; of fewer than three, the last ones."""
    order = np.argsort(returns, kind="stable")
    places = {"worst": 0, "median": (len(order) - 1) // 2, "best": len(order) - 1}
    distinct = {int(order[place]): name for name, place in places.items()}
    return [Scene(name, episode, len(order)) for episode, name in distinct.items()]


def make(
    folder: Path,
    agent: agents.Agent,
    env: agents.EvaluationEnv,
    returns: NDArray[np.float64],
    *,
    step: int,
    seed: int = 0,
    keep: bool = False,
    reward_scale: float = 1.0,
) -> dict[str, Path]:
    """Film the three episodes of ``agents.evaluate(agent.policy, env, len(returns), seed=seed)``.

    Args:
        folder: of the run; the files are ``videos/step-<step>-<name>.mp4`` in it.
        keep: leave the videos of other steps; else they are removed once the new ones are there.
        reward_scale: by which the agent's values are larger than the returns on the frames.

    Returns:
        The files by the dashboard's names, ``video_worst`` and so on.

    Raises:
        AgentsError: nothing can render here.
    """
    files = {}
    for scene in choose(returns):
        shot = film(agent.policy, env, scene.episode, seed=seed, max_fps=MAX_FPS)
        values = critic_values(agent, shot.episode.observations[:-1], shot.episode.actions)
        values = {name: of_steps / reward_scale for name, of_steps in values.items()}
        path = folder / FOLDER / f"step-{step}-{scene.name}.mp4"
        with open_video(path, shot.fps) as append:
            for frame in frames(shot, values, title(scene, step)):
                append(frame)
        files[f"video_{scene.name}"] = path
    if not keep:
        for old in {*(folder / FOLDER).glob("step-*.mp4")} - {*files.values()}:
            old.unlink(missing_ok=True)
    return files


def title(scene: Scene, step: int) -> str:
    """The heading of every frame."""
    return f"{scene.name} of {scene.num_episodes} episodes, gradient step {step:,}"


def frames(shot: Film, values: Mapping[str, NDArray], heading: str) -> Iterator[Picture]:
    """Every frame, the last one for a while; below it a chart of ``values`` by name, ``[T]`` each, if there are any."""
    success, returns = shot.episode.success, np.concatenate([[0.0], shot.episode.rewards.cumsum()])
    chart = _Chart(values) if values else None
    num_last = 1 + round(LAST_FRAME_SECONDS * shot.fps)
    for picture, step in zip(shot.frames, shot.steps):
        progress = f"step {step} of {len(returns) - 1}    return {returns[step]:,.0f} of {returns[-1]:,.0f}"
        at_goal = None if success is None else step > 0 and bool(success[step - 1])
        below = [chart.at(step)] if chart else []
        frame = np.concatenate([_header(heading, progress, at_goal), _fit(picture), *below])
        yield from [frame] * (num_last if step == shot.steps[-1] else 1)


def _fit(picture: Picture) -> Picture:
    """The picture in the width of the video; its height is made even, as the encoder wants it."""
    height = 2 * round(WIDTH * picture.shape[0] / picture.shape[1] / 2)
    return np.asarray(Image.fromarray(picture).resize((WIDTH, height), Image.Resampling.LANCZOS))


def _header(heading: str, progress: str, at_goal: bool | None) -> Picture:
    image = Image.new("RGB", (WIDTH, HEADER), BACKGROUND)
    draw = ImageDraw.Draw(image)
    draw.text((12, 6), heading, TEXT, _font(15))
    draw.text((12, 29), progress, TEXT, _font(13))
    goal = {None: "", True: "at the goal", False: "not at the goal"}[at_goal]
    draw.text((WIDTH - 12, 29), goal, GOAL if at_goal else DIM, _font(13), anchor="ra")
    return np.asarray(image)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


class _Chart:
    """Lines along the whole episode, drawn once, with a cursor that moves."""

    def __init__(self, values: Mapping[str, NDArray]) -> None:
        dpi = 100
        background, text, dim = ("#{:02x}{:02x}{:02x}".format(*color) for color in (BACKGROUND, TEXT, DIM))
        with plt.rc_context({"font.size": 8.0, "axes.linewidth": 0.6, "axes.edgecolor": "0.5"}):
            figure, axes = plt.subplots(figsize=(WIDTH / dpi, CHART / dpi), dpi=dpi, facecolor=background)
            figure.subplots_adjust(left=0.125, right=0.975, top=0.84, bottom=0.27)
            axes.set_facecolor(background)
            for name, line in values.items():
                label, color = LINES[name]
                axes.plot(line, color=color, linewidth=1.3, label=label)
            axes.set_xlim(0, max(map(len, values.values())))
            axes.locator_params(axis="y", nbins=4)
            axes.set_xlabel("step", color=dim, labelpad=1)
            axes.tick_params(colors=dim, length=2, width=0.6)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(
                loc="lower left", bbox_to_anchor=(-0.01, 0.95), ncols=2, frameon=False, labelcolor=text,
                handlelength=1.2, columnspacing=1.2, borderpad=0.2,
            )  # fmt: skip
            axes.set_title("in units of discounted return", loc="right", fontsize=7.5, color=dim, pad=3)
            canvas = figure.canvas
            assert isinstance(canvas, FigureCanvasAgg)  # recipes.reporting.images chooses it
            canvas.draw()
            self._image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
            corners = axes.transData.transform([(0, axes.get_ylim()[0]), (1, axes.get_ylim()[1])])
            plt.close(figure)
        self._left, self._per_step = corners[0, 0], corners[1, 0] - corners[0, 0]
        self._bottom, self._top = CHART - corners[0, 1], CHART - corners[1, 1]

    def at(self, step: int) -> Picture:
        image = self._image.copy()
        place = self._left + step * self._per_step
        ImageDraw.Draw(image).line([(place, self._top), (place, self._bottom)], TEXT, 1)
        return np.asarray(image)
