"""Data of every family that Minari hosts, as its documentation has their spaces: each trains, or says what to do.

Fast: random samples of the spaces. Slow: data and evaluation in the environments themselves.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

import agents
from agents.environments import mazes
from agents.environments.environment import EvaluationEnv
from agents.environments.spec import find_spec
from tests.agents.handmade import create, load, stacked

pytestmark = pytest.mark.usefixtures("root")

NUM_UPDATES = 20
SUBTASKS = ["microwave", "kettle", "light switch", "slide cabinet"]


def vector(size: int) -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, (size,), np.float64)


def goals(size: int, goal: int = 2) -> spaces.Dict:
    return spaces.Dict({"achieved_goal": vector(goal), "desired_goal": vector(goal), "observation": vector(size)})


def box(size: int, bound: float = 1.0) -> spaces.Box:
    return spaces.Box(-bound, bound, (size,), np.float32)


JOINTS = spaces.Dict(dict(zip(sorted(SUBTASKS), map(vector, (7, 2, 1, 1)))))
KITCHEN = spaces.Dict({"achieved_goal": JOINTS, "desired_goal": JOINTS, "observation": vector(59)})
GRID = spaces.Dict(
    {"direction": spaces.Discrete(4), "image": spaces.Box(0, 255, (7, 7, 3), np.uint8), "mission": spaces.Text(14)}
)
FAMILIES: dict[str, tuple[gym.Space, gym.Space]] = {
    "D4RL/pen": (vector(45), box(24)),
    "D4RL/antmaze": (goals(27), box(8)),
    "D4RL/pointmaze": (goals(4), box(2)),
    "D4RL/kitchen": (KITCHEN, box(9)),
    "mujoco/ant": (vector(105), box(8)),
    "mujoco/halfcheetah": (vector(17), box(6)),
    "mujoco/humanoid": (vector(348), box(17, 0.4)),
    "mujoco/invertedpendulum": (vector(4), box(1, 3.0)),
    "antmaze of the community": (goals(105), box(8)),
    "Fetch": (goals(10, goal=3), box(4)),
    "Taxi": (spaces.Discrete(500), spaces.Discrete(6)),
    "Blackjack": (spaces.Tuple([spaces.Discrete(32), spaces.Discrete(11), spaces.Discrete(2)]), spaces.Discrete(2)),
}


def episodes(observations: gym.Space, actions: gym.Space, num_steps: int = 12) -> list[dict[str, Any]]:
    """Two of random samples."""
    observations.seed(0), actions.seed(1)
    ends, rewards = np.arange(num_steps) == num_steps - 1, np.linspace(-1.0, 0.0, num_steps)
    arrays = {"rewards": rewards, "terminations": ends & False, "truncations": ends}
    return [
        {
            **arrays,
            "observations": stacked(observations, [observations.sample() for _ in range(num_steps + 1)]),
            "actions": stacked(actions, [actions.sample() for _ in range(num_steps)]),
        }
        for _ in range(2)
    ]


def trained(dataset: agents.OfflineDataset) -> agents.Agent:
    """Twenty updates of IQL with tiny networks; its losses are finite."""
    config = agents.ALGORITHMS["discrete_iql" if dataset.specs.discrete else "iql"]()
    parts = {
        name: dataclasses.replace(getattr(config, name), hidden_sizes=[8]) for name in ("actor", "qvalue", "value")
    }
    agent = dataclasses.replace(config, **parts).build(dataset.specs)
    buffer = dataset.replay_buffer(8, **agent.sampling)
    for _ in range(NUM_UPDATES):
        losses = agent.update(buffer.sample())
    assert agent.num_updates == NUM_UPDATES and all(torch.isfinite(loss).all() for loss in losses.values())
    return agent


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_of_numbers_trains(family: str) -> None:
    observations, actions = FAMILIES[family]
    create(*episodes(observations, actions), observation_space=observations, action_space=actions)
    dataset = load()
    assert dataset.specs.observation.shape[-1] == spaces.flatdim(observations)
    trained(dataset)


def test_what_is_beside_pictures_trains() -> None:
    create(*episodes(GRID, spaces.Discrete(7)), observation_space=GRID, action_space=spaces.Discrete(7))
    with pytest.warns(UserWarning, match=r"left out of training: image \(a picture\), mission \(no number\) of its"):
        dataset = load()
    assert dataset.specs.observation_names == tuple(f"direction={number}" for number in range(4))
    trained(dataset)


SCREEN = spaces.Box(0, 255, (20, 16, 3), np.uint8)
TEXTS = spaces.Dict({"clean_html": spaces.Text(9), "utterances": spaces.Text(9)})
REFUSED: dict[str, tuple[gym.Space, gym.Space, str]] = {
    "atari": (SCREEN, spaces.Discrete(18), "'observation' is a picture, a Box of shape .*: use data of vectors"),
    "webagents": (TEXTS, spaces.Text(9), "a Dict of 'clean_html', 'utterances', which is not learned from"),
}


@pytest.mark.parametrize("family", REFUSED)
def test_a_family_without_numbers_is_refused_in_one_line(family: str) -> None:
    observations, actions, says = REFUSED[family]
    create(*episodes(observations, actions), observation_space=observations, action_space=actions)
    with pytest.raises(agents.DataError, match=says):
        load()


MISFITS: dict[str, tuple[gym.Space, gym.Space, str, str]] = {
    "another start": (
        spaces.Discrete(500), spaces.Discrete(6, start=1), "Taxi-v4",
        r"has actions in a Discrete\(6\), dataset .* in a Discrete\(6, start=1\); pass one that fits as eval_env=ID",
    ),
    "another goal": (
        goals(4, goal=3), box(2), "PointMaze_UMaze-v3",
        r"has 'achieved_goal' among its observations in a Box of shape \(2,\), .* in a Box of shape \(3,\)",
    ),
    "a part too few": (
        spaces.Dict({**goals(4).spaces, "speed": box(1)}), box(2), "PointMaze_UMaze-v3",
        "has observations in a Dict of 'achieved_goal', 'desired_goal', 'observation', .* something with 'speed'",
    ),
    "another kind": (vector(4), box(1), "CartPole-v1", r"has actions in a Discrete\(2\), .* in a Box of shape \(1,\)"),
}  # fmt: skip


@pytest.mark.parametrize("difference", MISFITS)
def test_an_environment_that_does_not_fit_is_refused_before_training(difference: str) -> None:
    observations, actions, env_id, says = MISFITS[difference]
    create(*episodes(observations, actions), observation_space=observations, action_space=actions, env=env_id)
    with pytest.raises(agents.DataError, match=f"environment '{env_id}' {says}") as caught:
        load().make_env()
    assert "\n" not in str(caught.value)


def test_other_bounds_than_the_environments_are_said() -> None:
    create(*episodes(goals(4), box(2, 0.5)), observation_space=goals(4), action_space=box(2, 0.5))
    with pytest.warns(
        UserWarning, match=r"other action bounds than .*, \[-1, 1\] and not \[-0.5, 0.5\]: if the data's"
    ):
        load().make_env(env_id="PointMaze_UMaze-v3")


def environment(env_id: str, **changes: Any) -> EnvSpec:
    spec = find_spec(env_id)
    return dataclasses.replace(spec, kwargs={**spec.kwargs, **changes})


def maze(walls: tuple[str, ...], goal: tuple[int, int], start: tuple[int, int] | None = None) -> list[list[Any]]:
    rows: list[list[Any]] = [[*map(int, row)] for row in walls]
    for mark, cell in (("g", goal), ("r", start)):
        if cell is not None:
            rows[cell[0]][cell[1]] = mark
    return rows


# each with the protocols that score it; of none there are reference returns in the metadata
REAL: dict[str, tuple[EnvSpec, set[str]]] = {
    "pointmaze": (environment("PointMaze_UMaze-v3", maze_map=maze(mazes.UMAZE, (1, 1)), reset_target=False), {"d4rl"}),
    "antmaze": (environment("AntMaze_UMaze-v4", maze_map=maze(mazes.UMAZE, (3, 1), (1, 1))), {"d4rl"}),
    "antmaze v5": (environment("AntMaze_Medium-v5"), set()),
    "kitchen": (
        environment("FrankaKitchen-v1", tasks_to_complete=SUBTASKS, remove_task_when_completed=False), {"d4rl"}
    ),
    "Fetch": (environment("FetchPickAndPlace-v4"), set()),
    "Shadow hand": (environment("HandReach-v3"), set()),
    "halfcheetah": (environment("HalfCheetah-v5"), {"d4rl"}),
    "humanoid": (environment("Humanoid-v5"), set()),
    "Taxi": (environment("Taxi-v4"), set()),
    "CliffWalking": (environment("CliffWalking-v1"), set()),  # it has no time limit
    "Blackjack": (environment("Blackjack-v1"), set()),
}  # fmt: skip


def recorded(spec: EnvSpec, num_steps: int = 12) -> list[dict[str, Any]]:
    """Two episodes of random actions, of at most so many steps."""
    made = []
    with EvaluationEnv(spec) as env, env.borrow(1) as (gym_env,):
        gym_env.action_space.seed(0)
        for seed in range(2):
            observations, actions, rewards, flags = [gym_env.reset(seed=seed)[0]], [], [], []
            while len(actions) < num_steps and not any(map(any, flags)):
                actions.append(gym_env.action_space.sample())
                observation, reward, terminated, truncated, _ = gym_env.step(actions[-1])
                observations.append(observation)
                rewards.append(reward)
                flags.append((terminated, truncated or len(actions) == num_steps))
            terminations, truncations = np.array(flags).T
            arrays = {"actions": np.array(actions), "rewards": rewards}
            made.append({**arrays, "terminations": terminations, "truncations": truncations})
            made[-1]["observations"] = stacked(gym_env.observation_space, observations)
        options = {"observation_space": gym_env.observation_space, "action_space": gym_env.action_space}
    create(*made, **options, env=spec)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("family", REAL)
def test_data_of_an_environment_fit_it_and_their_policy_is_evaluated_there(family: str) -> None:
    spec, protocols = REAL[family]
    recorded(spec)
    dataset = load()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of bounds, too
        whole, short = (dataset.make_env(max_episode_steps=steps) for steps in (spec.max_episode_steps or 50, 6))
    with whole, short:
        assert whole.scorings.keys() == protocols
        result = agents.evaluate(trained(dataset).policy, short, 2)
    assert result.lengths.max() <= 6 and not result.scores  # protocols score no shorter evaluations
