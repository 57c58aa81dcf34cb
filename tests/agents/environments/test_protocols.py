"""D4RL's score where it means the same thing, and nowhere else; the rules against the environments' own simulation."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from agents.environments import kitchen, mazes
from agents.environments.environment import EvaluationEnv
from agents.environments.protocols import PROTOCOLS, scorings
from agents.environments.scoring import Scoring
from agents.environments.spec import find_spec, read_spec, spec_from_file

GOALS = [f"{part}.{axis}" for part in ("achieved_goal", "desired_goal") for axis in "01"]
MAZE = [*GOALS, *(f"observation.{index}" for index in range(4))]  # names of PointMaze's observation
KITCHEN = [f"observation.{index}" for index in range(59)]
SUBTASKS = ["microwave", "kettle", "light switch", "slide cabinet"]


def maze_map(walls: tuple[str, ...], **cells: tuple[int, int]) -> list[list[int | str]]:
    """As Minari's metadata have it: 1 is a wall, "r" the start, "g" the goal."""
    rows: list[list[int | str]] = [[int(cell) if cell.isdigit() else cell for cell in row] for row in walls]
    for mark, (i, j) in cells.items():
        rows[i][j] = mark
    return rows


def spec(env_id: str, **kwargs: Any) -> EnvSpec:
    """A registered environment with other keyword arguments, as it comes out of a dataset's metadata."""
    changed = dataclasses.replace(find_spec(env_id), kwargs={**find_spec(env_id).kwargs, **kwargs})
    return spec_from_file(read_spec(changed.to_json()), "a dataset")


def d4rl(spec: EnvSpec, names: list[str] | None = None) -> Scoring | None:
    return scorings(spec, None, names).get("d4rl")


UMAZE, MEDIUM, LARGE = mazes.UMAZE, mazes.MEDIUM, mazes.LARGE
# of d4rl/infos.py at 89141a6, with the steps of its environments
REFERENCES = {
    "HalfCheetah-v4": (spec("HalfCheetah-v4"), None, -280.178953, 12135.0, 1000),
    "HalfCheetah-v5": (spec("HalfCheetah-v5"), None, -280.178953, 12135.0, 1000),
    "Hopper-v4": (spec("Hopper-v4"), None, -20.272305, 3234.3, 1000),
    "Hopper-v5": (spec("Hopper-v5"), None, -20.272305, 3234.3, 1000),
    "Walker2d-v4": (spec("Walker2d-v4"), None, 1.629008, 4592.3, 1000),
    "Ant-v4": (spec("Ant-v4"), None, -325.6, 3879.7, 1000),
    "antmaze-umaze": (spec("AntMaze_UMaze-v4", maze_map=maze_map(UMAZE, r=(1, 1), g=(3, 1))), GOALS, 0.0, 1.0, 700),
    "antmaze-eval-umaze": (
        spec("AntMaze_UMaze-v4", maze_map=maze_map(mazes.UMAZE_MIRRORED, r=(1, 3), g=(3, 3))), GOALS, 0.0, 1.0, 700
    ),
    "antmaze-medium": (spec("AntMaze_Medium-v4", maze_map=maze_map(MEDIUM, r=(1, 1), g=(6, 6))), GOALS, 0, 1, 1000),
    "antmaze-large": (spec("AntMaze_Large-v5", maze_map=maze_map(LARGE, r=(1, 1), g=(7, 9))), GOALS, 0.0, 1.0, 1000),
    "maze2d-umaze": (spec("PointMaze_UMaze-v3", maze_map=maze_map(UMAZE, g=(1, 1))), MAZE, 23.85, 161.86, 300),
    "maze2d-medium": (spec("PointMaze_Medium-v3", maze_map=maze_map(MEDIUM, g=(6, 6))), MAZE, 13.13, 277.39, 600),
    "maze2d-large": (spec("PointMaze_Large-v3", maze_map=maze_map(LARGE, g=(7, 9))), MAZE, 6.7, 273.99, 800),
    "maze2d-umaze-dense": (
        spec("PointMaze_UMazeDense-v3", maze_map=maze_map(UMAZE, g=(1, 1))), MAZE, 68.537689, 193.66285642381482, 300
    ),
    "maze2d-umaze, with the position in another part": (
        spec("PointMaze_UMaze-v3", maze_map=maze_map(UMAZE, g=(1, 1))), MAZE[2:], 23.85, 161.86, 300
    ),
    "kitchen": (spec("FrankaKitchen-v1", tasks_to_complete=SUBTASKS), KITCHEN, 0.0, 4.0, 280),
}  # fmt: skip


@pytest.mark.parametrize("name", REFERENCES)
def test_references_and_steps_are_d4rls(name: str) -> None:
    spec, names, low, high, horizon = REFERENCES[name]
    scoring = d4rl(spec, names)
    assert scoring is not None and (scoring.reference.min, scoring.reference.max) == (low, high)
    assert scoring.horizon == horizon == spec.max_episode_steps


# what looks like an environment of D4RL's, and is another task
OTHERS = {
    "other friction": (spec("Walker2d-v5"), None),
    "contacts cost": (spec("Ant-v5"), None),
    "other weight": (spec("Hopper-v4", healthy_reward=2.0), None),
    "no reference": (spec("Humanoid-v4"), None),
    "random start and goal": (spec("AntMaze_UMaze-v4"), GOALS),
    "several goals": (spec("AntMaze_Large_Diverse_G-v4"), GOALS),
    "random goal": (spec("PointMaze_UMaze-v3"), MAZE),
    "one start": (spec("PointMaze_UMaze-v3", maze_map=maze_map(UMAZE, r=(3, 1), g=(1, 1))), MAZE),
    "two goals": (spec("PointMaze_UMaze-v3", maze_map=maze_map(("11111", "1g001", "11101", "100g1", "11111"))), MAZE),
    "other goal": (spec("PointMaze_UMaze-v3", maze_map=maze_map(UMAZE, g=(3, 1))), MAZE),
    "ends at the goal": (
        spec("PointMaze_UMaze-v3", maze_map=maze_map(UMAZE, g=(1, 1)), continuing_task=False), MAZE
    ),
    "the goal is left out": (spec("PointMaze_UMaze-v3", maze_map=maze_map(UMAZE, g=(1, 1))), MAZE[:2] + MAZE[4:]),
    "no map": (spec("PointMaze_UMaze-v3", maze_map=[1, [2], "g"]), MAZE),
    "seven subtasks": (spec("FrankaKitchen-v1"), KITCHEN),
    "three subtasks": (spec("FrankaKitchen-v1", tasks_to_complete=SUBTASKS[:3]), KITCHEN),
    "no subtasks": (spec("FrankaKitchen-v1", tasks_to_complete=[[1], {"a": 2}]), KITCHEN),
    "kitchen without its joints": (spec("FrankaKitchen-v1", tasks_to_complete=SUBTASKS), KITCHEN[:30]),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_another_task_has_no_such_score(name: str) -> None:
    assert d4rl(*OTHERS[name]) is None


def positions(*distances: float) -> np.ndarray:
    """Observations of PointMaze at these distances from the goal, which is at (1, 2)."""
    rows = np.zeros((len(distances), len(MAZE)))
    rows[:, :4] = 1.0, 2.0, 1.0, 2.0
    rows[:, 0] += distances
    return rows


def test_antmaze_counts_the_goal_once_and_within_its_steps() -> None:
    scoring = d4rl(*REFERENCES["antmaze-umaze"][:2])
    assert scoring is not None
    at_goal = positions(9.0, 3.0, 0.49, 0.1, 0.1)[:, :4]
    assert scoring.episode_return(at_goal, np.array([0.0, 0.0, 1.0, 1.0])) == 1.0  # the environment's own is 2
    assert scoring.episode_return(positions(0.0, 0.51, 0.6)[:, :4], np.zeros(2)) == 0.0  # no step led to the first
    late = positions(*[9.0] * 701, 0.0)[:, :4]
    assert scoring.episode_return(late, np.zeros(701)) == 0.0 and scoring.episode_return(late[1:], np.zeros(700)) == 1.0
    assert scoring.reference.score([0.0, 1.0]).tolist() == [0.0, 100.0]


def test_maze2d_counts_the_steps_near_the_goal() -> None:
    sparse, dense = (d4rl(*REFERENCES[name][:2]) for name in ("maze2d-umaze", "maze2d-umaze-dense"))
    assert sparse is not None and dense is not None
    seen = positions(0.0, 0.7, 0.5, 0.46, 0.0)  # 0.46 and 0.5 are near by D4RL's measure, not by the environment's
    assert sparse.episode_return(seen, np.array([0.0, 0.0, 0.0, 1.0])) == 3.0
    assert dense.episode_return(seen, np.zeros(4)) == pytest.approx(np.exp([-0.7, -0.5, -0.46, 0.0]).sum())
    assert sparse.episode_return(positions(*[0.1] * 400), np.ones(399)) == 300.0


def test_maze2ds_dense_return_is_the_environments_own() -> None:
    spec, _, _, _, _ = REFERENCES["maze2d-umaze-dense"]
    env, rng = gym.make(spec, disable_env_checker=True), np.random.default_rng(0)
    states, rewards = [env.reset(seed=0)[0]], []
    for _ in range(20):
        state, reward, *_ = env.step(rng.uniform(-1, 1, 2))
        states.append(state)
        rewards.append(reward)
    env.close()
    observations = np.array([[*state["achieved_goal"], *state["desired_goal"], *np.zeros(4)] for state in states])
    scoring = d4rl(spec, MAZE)
    assert scoring is not None
    assert scoring.episode_return(observations, np.array(rewards)) == pytest.approx(sum(rewards), abs=1e-12)


def kitchen_rows(*completed: str) -> np.ndarray:
    """Observations of the kitchen, in the order of steps, in which this subtask is completed, or none."""
    rows = np.zeros((len(completed) + 1, len(KITCHEN)))
    for row, name in zip(rows[1:], completed):
        for index, value in kitchen.GOALS.get(name, {}).items():
            row[index] = value
    return rows


def test_kitchen_counts_each_subtask_once() -> None:
    scoring = d4rl(*REFERENCES["kitchen"][:2])
    assert scoring is not None
    rows = kitchen_rows("microwave", "microwave", "", "kettle", "microwave", "bottom burner")
    assert scoring.episode_return(rows, np.array([1.0, 1.0, 0.0, 1.0, 1.0, 0.0])) == 2.0  # the last is none of its four
    late = kitchen_rows(*[""] * 280, "kettle")
    assert scoring.episode_return(late, np.zeros(281)) == 0.0 and scoring.episode_return(late[1:], np.zeros(280)) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("name", SUBTASKS)
def test_kitchen_sees_a_subtask_where_the_environment_does(name: str) -> None:
    """Joints are put where they are to be, as MuJoCo has them; the environment pays 1 for each subtask in that step."""
    spec, _, _, _, _ = REFERENCES["kitchen"]
    with EvaluationEnv(spec) as env, env.borrow(1) as (gym_env,):
        before, _ = gym_env.reset(seed=0)
        for index, value in kitchen.GOALS[name].items():
            gym_env.unwrapped.data.qpos[index - 9] = value  # behind positions of the robot's 9 joints
        after, reward, *_ = gym_env.step(np.zeros(9))
    scoring = d4rl(spec, KITCHEN)
    assert scoring is not None and reward == 1.0
    assert scoring.episode_return(np.array([before["observation"], after["observation"]]), np.array([reward])) == 1.0


def test_kitchens_goals_are_the_environments_own() -> None:
    from gymnasium_robotics.envs.franka_kitchen.kitchen_env import BONUS_THRESH, OBS_ELEMENT_GOALS, OBS_ELEMENT_INDICES

    assert kitchen.COMPLETED == BONUS_THRESH
    for name, goals in kitchen.GOALS.items():
        joints = [index + 9 for index in OBS_ELEMENT_INDICES[name]]  # behind positions and velocities of the robot's 9
        assert (joints, [*goals.values()]) == ([*goals], OBS_ELEMENT_GOALS[name].tolist())


def test_hopper_v5_is_paid_for_the_step_in_which_it_falls() -> None:
    """As v4 is, whose simulation is the same: both fall by the same actions at the same step."""
    returns = {}
    for env_id in ("Hopper-v4", "Hopper-v5"):
        env, rng = gym.make(env_id, disable_env_checker=True), np.random.default_rng(0)
        observations, rewards, terminated = [env.reset(seed=0)[0]], [], False
        while not terminated:
            observation, reward, terminated, _, _ = env.step(rng.uniform(-1, 1, 3))
            observations.append(observation)
            rewards.append(reward)
        env.close()
        scoring = d4rl(find_spec(env_id))
        assert scoring is not None
        returns[env_id] = scoring.episode_return(np.array(observations), np.array(rewards)), sum(rewards)
    (v4, own_v4), (v5, own_v5) = returns.values()
    assert v4 == pytest.approx(own_v4) == pytest.approx(v5) == pytest.approx(own_v5 + 1.0)


@pytest.mark.parametrize("env_id", ["FetchReach-v4", "HandReach-v3"])
def test_robots_with_named_joints_are_made_with_this_mujoco(env_id: str) -> None:
    with EvaluationEnv(env_id) as env, env.borrow(1) as (gym_env,):
        observation, _ = gym_env.reset(seed=0)
        assert np.isfinite(observation["observation"]).all() and observation.keys() == {
            *("observation", "achieved_goal", "desired_goal")
        }


def test_hosted_ids_are_those_of_all_families() -> None:
    hosted = [dataset_id for protocol in PROTOCOLS for dataset_id in protocol.dataset_ids]
    assert len(hosted) == len({*hosted})
    assert {"D4RL/pen/human-v2", "D4RL/antmaze/umaze-v1", "D4RL/kitchen/mixed-v2", "mujoco/hopper/expert-v0"} <= {
        *hosted
    }


@pytest.mark.parametrize(
    ("env_id", "kwargs", "steps"),
    [
        # as the scripts of Minari's datasets make them
        ("PointMaze_UMaze-v3", {"continuing_task": True, "reset_target": True}, 1e6),
        ("PointMaze_Large-v3", {"maze_map": maze_map(LARGE, g=(7, 9)), "reset_target": False}, 800),
        ("AntMaze_Medium_Diverse_GR-v4", {"maze_map": maze_map(MEDIUM, r=(1, 1), g=(6, 6))}, 1000),
        ("FrankaKitchen-v1", {"tasks_to_complete": SUBTASKS, "remove_task_when_completed": False}, 450),
        ("FetchReach-v4", {"reward_type": "sparse"}, 50),
    ],
)
def test_environments_of_minaris_datasets_are_taken_from_a_file(
    env_id: str, kwargs: dict[str, Any], steps: float
) -> None:
    written = dataclasses.replace(find_spec(env_id), kwargs={**find_spec(env_id).kwargs, **kwargs})
    text = json.dumps({**json.loads(written.to_json()), "max_episode_steps": steps})
    taken = spec_from_file(text, "a dataset")
    assert taken.kwargs == written.kwargs and taken.max_episode_steps == int(steps)
    assert isinstance(taken.max_episode_steps, int)
