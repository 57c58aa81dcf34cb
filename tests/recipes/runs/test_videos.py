"""Videos of the worst, the median and the best episode: the right ones, legible, and none left from before."""

from __future__ import annotations

import csv

import gymnasium as gym
import imageio.v2 as imageio
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

import agents
from agents.environments.recording import Episode
from agents.evaluation.video import Film
from recipes.runs import videos
from recipes.runs.videos import Scene, choose

RUN = "runs/iql/test/pendulum-v0/seed0"
NAMES = ("worst", "median", "best")
# pendulum's own pictures need a package that is not there
PAINTED = """
from gymnasium.envs.classic_control import PendulumEnv
import numpy
PendulumEnv.render = lambda self: numpy.full((40, 60, 3), 120, numpy.uint8)
"""
FILMED = ("eval_videos=true", "num_eval_episodes=3")


def shot(success: list[bool] | None = None, num_steps: int = 10, size: tuple[int, int] = (60, 80)) -> Film:
    """Grey pictures of every fifth step."""
    goals = None if success is None else np.array(success)
    episode = Episode(np.zeros((num_steps + 1, 3)), np.zeros((num_steps, 1)), np.full(num_steps, 12.0), goals)
    steps = (*range(0, num_steps, 5), num_steps)
    return Film(episode, tuple(np.full((*size, 3), 120, np.uint8) for _ in steps), steps, fps=5.0)


def made(film: Film, values: dict | None = None) -> list[np.ndarray]:
    return [*videos.frames(film, values or {}, "best of 3 episodes, gradient step 20")]


@pytest.mark.parametrize(
    ("returns", "expected"),
    [
        ([3.0, 1.0, 2.0, 5.0], {"worst": 1, "median": 2, "best": 3}),
        ([3.0, 1.0, 2.0], {"worst": 1, "median": 2, "best": 0}),
        ([3.0, 1.0], {"median": 1, "best": 0}),
        ([3.0], {"best": 0}),
        ([2.0, 2.0, 2.0], {"worst": 0, "median": 1, "best": 2}),
    ],
)
def test_the_episodes_are_chosen_by_return(returns, expected) -> None:
    chosen = choose(np.array(returns))
    assert {each.name: each.episode for each in chosen} == expected
    assert all(each.num_episodes == len(returns) for each in chosen)


def test_the_title_says_which_episode_of_which_evaluation() -> None:
    assert videos.title(Scene("worst", 4, 20), 20_000) == "worst of 20 episodes, gradient step 20,000"


@pytest.mark.parametrize("size", [(60, 80), (33, 70), (480, 480), (900, 800)])
def test_every_frame_has_the_same_even_size_and_the_end_stays(size) -> None:
    for values in ({}, {"qvalue": np.arange(10.0)}):
        frames = made(shot(size=size), values)
        assert len({frame.shape for frame in frames}) == 1 and frames[0].dtype == np.uint8
        height, width, _ = frames[0].shape
        assert width == videos.WIDTH and height % 2 == 0
        assert height - videos.HEADER - (videos.CHART if values else 0) == pytest.approx(
            width * size[0] / size[1], abs=1
        )
        assert len(frames) == 3 + 5 and all((frame == frames[2]).all() for frame in frames[3:])


def test_the_header_changes_with_step_return_and_success() -> None:
    without, failed, reached = (made(shot(success)) for success in (None, [False] * 10, [False] * 5 + [True] * 5))
    band = np.s_[: videos.HEADER]
    assert (failed[0][band] == reached[0][band]).all() and (failed[1][band] == reached[1][band]).all()
    assert (failed[2][band] != reached[2][band]).any() and (failed[0][band] != failed[1][band]).any()
    green = (reached[2][band] == videos.GOAL).all(-1)
    assert green.any() and not (failed[2][band] == videos.GOAL).all(-1).any()
    assert not np.array_equal(without[0][band], failed[0][band])


def test_the_chart_has_a_line_per_value_and_a_cursor_that_moves() -> None:
    chart = np.s_[-videos.CHART :]
    of_one = made(shot(), {"qvalue": np.linspace(0.0, 9.0, 10)})
    of_both = made(shot(), {"qvalue": np.linspace(0.0, 9.0, 10), "state_value": np.linspace(5.0, 1.0, 10)})
    orange = np.array([0xE6, 0x9F, 0x00])
    assert (np.abs(of_both[0][chart].astype(int) - orange).max(-1) < 30).any()
    assert not (np.abs(of_one[0][chart].astype(int) - orange).max(-1) < 30).any()
    cursors = []
    for frame in of_both[:3]:
        columns = (frame[chart] == videos.TEXT).all(-1).sum(0)
        cursors.append(int(columns.argmax()))
        assert columns.max() > 0.4 * videos.CHART  # from top to bottom of the axes
    assert cursors[0] < cursors[1] < cursors[2]
    assert cursors[2] - cursors[1] == pytest.approx(cursors[1] - cursors[0], abs=1)


class Painted(gym.Env):
    """Three steps; a return that is the action, from an initial state that is the seed."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = gym.spaces.Box(-np.inf, np.inf, (5,))
    action_space = gym.spaces.Box(np.float32([-1.0, -2.0, 0.0]), np.float32([1.0, 0.5, 4.0]))

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        self.seed, self.steps = seed, 0
        return np.full(5, seed, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.full(5, self.seed, np.float32), float(-((self.seed - 11) ** 2)), self.steps == 3, False, {}

    def render(self):
        return np.full((64, 64, 3), 20 * (self.seed - 9), np.uint8)


@pytest.mark.parametrize(("algorithm", "chart"), [(agents.IQLConfig, True), (agents.BCConfig, False)])
def test_the_episodes_of_the_evaluation_are_filmed_again(algorithm, chart, specs, tmp_path) -> None:
    agent = algorithm(actor=agents.ActorConfig([8])).build(specs)
    with agents.EvaluationEnv(EnvSpec("Painted-v0", entry_point=Painted)) as env:
        returns = agents.evaluate(agent.policy, env, 3, seed=10).returns  # of seeds 10, 11, 12, where 11 is the best
        first = videos.make(tmp_path, agent, env, returns, step=5, seed=10)
        second = videos.make(tmp_path, agent, env, returns, step=10, seed=10)
        assert {path.name for path in (tmp_path / "videos").iterdir()} == {f"step-10-{name}.mp4" for name in NAMES}
        videos.make(tmp_path, agent, env, returns, step=15, seed=10, keep=True)
    assert len([*(tmp_path / "videos").iterdir()]) == 6
    assert first.keys() == second.keys() == {f"video_{name}" for name in NAMES}
    for name, seed in (("best", 11), ("worst", 10), ("median", 12)):
        frames = imageio.mimread(second[f"video_{name}"])
        assert frames[0].shape == (videos.HEADER + 480 + (videos.CHART if chart else 0), 480, 3)
        assert frames[0][300, 240].mean() == pytest.approx(20 * (seed - 9), abs=6)


# The recipe ----------------------------------------------------------------------------------------------------------


def test_training_films_each_evaluation_keeps_the_last_and_logs_them(train, tmp_path, read_wandb) -> None:
    done = train(*FILMED, "logger=wandb", before=PAINTED)
    assert done.code == 0, done.err
    folder = tmp_path / RUN
    assert {path.name for path in (folder / "videos").iterdir()} == {f"step-20-{name}.mp4" for name in NAMES}
    items = [record["history"]["item"] for record in read_wandb(folder) if record["type"] == "history"]
    logged = [item for item in items if any(key.startswith("eval/video_") for key in item)]
    assert [item["eval/step"] for item in logged] == [10, 20]
    assert {key.split(".")[0] for key in logged[0] if key.startswith("eval/v")} == {
        f"eval/video_{name}" for name in NAMES
    }


def test_training_keeps_all_videos_when_asked_and_its_numbers_do_not_change(train, tmp_path, usual, read_log) -> None:
    assert train(*FILMED, "num_eval_episodes=2", "keep_videos=true", before=PAINTED).code == 0
    names = {path.name for path in (tmp_path / RUN / "videos").iterdir()}
    assert names == {f"step-{step}-{name}.mp4" for step in (10, 20) for name in ("median", "best")}
    for log in ("metrics.csv", "evaluations.csv"):
        assert read_log(tmp_path / RUN / log) == read_log(usual / log)


def test_where_nothing_renders_training_does_not_begin(train, tmp_path) -> None:
    blind = "from gymnasium.envs.classic_control import PendulumEnv\nPendulumEnv.render = lambda self: None"
    assert train(*FILMED, before=blind).refusal() == "cannot render Pendulum-v1: it draws no pictures"
    assert not (tmp_path / RUN).exists()


def test_a_film_that_fails_later_ends_no_training(train, tmp_path) -> None:
    lost = "import agents\nfrom recipes.runs import videos\ndef film(*_, **__): raise agents.AgentsError('lost')\n"
    lost = f"{PAINTED}\n{lost}videos.film = film"
    done = train(*FILMED, before=lost)
    assert done.code == 0 and "warning: no videos of step 20: lost" in done.err
    with open(tmp_path / RUN / "evaluations.csv") as file:
        assert len([*csv.DictReader(file)]) == 2
