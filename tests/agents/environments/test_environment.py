"""The score protocols against D4RL's reward functions, recomputed from the simulation."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from agents.environments.adroit import ADROIT_TASKS, PEN_HEIGHT, AdroitTask, adroit_task, d4rl_return, success_held
from agents.environments.environment import EvaluationEnv
from agents.environments.protocols import Reference
from agents.environments.spec import find_spec, read_spec, spec_from_file
from agents.errors import ConfigError, DataError

PEN = ADROIT_TASKS["pen"]


class Simulation:
    """Positions in a running Adroit environment, read from MuJoCo and not from the observation."""

    def __init__(self, env: gym.Env) -> None:
        self.data, self.model = env.unwrapped.data, env.unwrapped.model
        self.unwrapped = env.unwrapped

    def site(self, name: str) -> np.ndarray:
        return self.data.site(name).xpos.copy()

    def body(self, name: str) -> np.ndarray:
        return self.data.body(name).xpos.copy()


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b))


def d4rl_pen(sim: Simulation) -> float:
    env = sim.unwrapped
    off = distance(sim.body("Object"), sim.site("eps_ball"))
    orientation = (sim.site("object_top") - sim.site("object_bottom")) / env.pen_length
    desired = (sim.site("target_top") - sim.site("target_bottom")) / env.tar_length
    similarity = float(orientation @ desired)
    reward = similarity - off
    reward += 10 if off < 0.075 and similarity > 0.9 else 0
    reward += 50 if off < 0.075 and similarity > 0.95 else 0
    return reward - (5 if sim.body("Object")[2] < 0.075 else 0)


def d4rl_hammer(sim: Simulation) -> float:
    hammer, head, nail = sim.body("Object"), sim.site("tool"), sim.site("S_target")
    left = distance(nail, sim.site("nail_goal"))
    reward = -0.1 * distance(sim.site("S_grasp"), hammer) - distance(head, nail) - 10 * left
    reward -= 1e-2 * float(np.linalg.norm(sim.data.qvel))
    reward += 2 if hammer[2] > 0.04 and head[2] > 0.04 else 0
    return reward + (25 if left < 0.020 else 0) + (75 if left < 0.010 else 0)


def d4rl_door(sim: Simulation) -> float:
    hinge = float(sim.data.joint("door_hinge").qpos[0])
    reward = -0.1 * distance(sim.site("S_grasp"), sim.site("S_handle"))
    reward -= 0.1 * (hinge - 1.57) ** 2 + 1e-5 * float(np.sum(sim.data.qvel**2))
    return reward + (2 if hinge > 0.2 else 0) + (8 if hinge > 1.0 else 0) + (10 if hinge > 1.35 else 0)


def d4rl_relocate(sim: Simulation) -> float:
    palm, ball, target = sim.site("S_grasp"), sim.body("Object"), sim.site("target")
    reward = -0.1 * distance(palm, ball)
    if ball[2] > 0.04:
        reward += 1.0 - 0.5 * distance(palm, target) - 0.5 * distance(ball, target)
    return reward + (10 if distance(ball, target) < 0.1 else 0) + (20 if distance(ball, target) < 0.05 else 0)


D4RL_REWARDS = {"pen": d4rl_pen, "hammer": d4rl_hammer, "door": d4rl_door, "relocate": d4rl_relocate}


def rollout(task: AdroitTask, num_steps: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Observations, the environment's rewards, D4RL's rewards and the object's heights, of random actions."""
    rng = np.random.default_rng(seed)
    with EvaluationEnv(task.env_id) as env, env.borrow(1) as (gym_env,):
        observation, _ = gym_env.reset(seed=seed)
        sim = Simulation(gym_env)
        observations, rewards, d4rl_rewards, heights = [observation], [], [], []
        for _ in range(num_steps):
            observation, reward, _, _, _ = gym_env.step(rng.uniform(-1, 1, gym_env.action_space.shape))
            observations.append(observation)
            rewards.append(reward)
            d4rl_rewards.append(D4RL_REWARDS[task.name](sim))
            heights.append(sim.body("Object")[2] if task.name != "door" else np.nan)
    return np.array(observations), np.array(rewards), np.array(d4rl_rewards), np.array(heights)


@pytest.mark.parametrize("name", ["hammer", "door", "relocate"])
def test_d4rl_return_is_the_sum_of_d4rls_reward(name: str) -> None:
    task = ADROIT_TASKS[name]
    observations, rewards, d4rl_rewards, _ = rollout(task, 60, seed=3)
    assert observations.shape == (61, task.num_observations)
    assert d4rl_return(task, observations, rewards) == pytest.approx(d4rl_rewards.sum(), abs=1e-9)
    # each step on its own: an observation off by one step would cancel only in part
    steps = [d4rl_return(task, observations[t : t + 2], rewards[t : t + 1]) for t in range(60)]
    np.testing.assert_allclose(steps, d4rl_rewards, atol=1e-10)
    assert abs(rewards - d4rl_rewards).max() > 0.01  # the environment's own reward is another one


def test_pen_return_stops_with_the_step_that_drops_the_pen() -> None:
    observations, rewards, d4rl_rewards, heights = rollout(PEN, 100, seed=1)
    assert observations.shape == (101, PEN.num_observations)
    np.testing.assert_allclose(rewards, d4rl_rewards, atol=1e-10)
    np.testing.assert_array_equal(observations[1:, PEN_HEIGHT], heights)
    drop = next(t for t, height in enumerate(heights) if height < 0.075)
    assert 0 < drop < 99
    assert rewards[drop] < rewards[drop - 1] - 4.0  # the penalty is in the step that is counted last
    assert d4rl_return(PEN, observations, rewards) == pytest.approx(d4rl_rewards[: drop + 1].sum(), abs=1e-9)


def pen_observations(heights: list[float]) -> np.ndarray:
    observations = np.zeros((len(heights), 45))
    observations[:, PEN_HEIGHT] = heights
    return observations


@pytest.mark.parametrize(
    ("heights", "rewards", "expected"),
    [
        ([0.2] * 201, [1.0] * 200, 100.0),  # D4RL's horizon is 100 steps
        ([0.2] * 31, [1.0] * 30, 30.0),
        ([0.2, 0.2, 0.0, 0.0, 0.0], [1.0, -4.0, 32.0, 64.0], -3.0),  # the drop is counted, nothing after it
        ([0.2, 0.0, 0.2, 0.2], [-4.0, 1.0, 1.0], -4.0),  # a pen that comes back does not
        ([0.0, 0.2, 0.2], [1.0, 2.0], 3.0),  # the state before the first step does not end it
        ([0.2, 0.075, 0.2], [1.0, 2.0], 3.0),  # exactly at the height is not below it
        ([0.2] * 101 + [0.0] * 10, [1.0] * 110, 100.0),
        ([0.2], [], 0.0),
    ],
)
def test_pen_return_of_made_up_episodes(heights: list[float], rewards: list[float], expected: float) -> None:
    assert d4rl_return(PEN, pen_observations(heights), np.array(rewards)) == expected


@pytest.mark.parametrize(("name", "columns"), [("hammer", (33, 36)), ("door", (35, None)), ("relocate", (30, None))])
def test_distance_is_taken_off_for_200_steps(name: str, columns: tuple[int, int | None]) -> None:
    observations = np.zeros((301, 46))
    observations[:, columns[0] : columns[0] + 3] = [3.0, 4.0, 0.0]
    rewards = np.ones(300)
    assert d4rl_return(ADROIT_TASKS[name], observations, rewards) == pytest.approx(200 * (1 - 0.2 * 5))
    if columns[1] is not None:
        observations[:, columns[1] : columns[1] + 3] = [3.0, 4.0, 2.0]
        assert d4rl_return(ADROIT_TASKS[name], observations, rewards) == pytest.approx(200 * (1 - 0.2 * 2))


def test_success_is_held_beyond_the_tasks_number_of_steps() -> None:
    for name, steps in {"pen": 20, "hammer": 25, "door": 25, "relocate": 25}.items():
        task, scattered = ADROIT_TASKS[name], np.zeros(300, dtype=bool)
        scattered[: 4 * steps : 4] = True
        scattered[task.d4rl_horizon :] = True  # after the last step that D4RL and DAPG run
        assert not success_held(task, scattered)
        scattered[task.d4rl_horizon - 1] = True
        assert success_held(task, scattered)


def test_reference_scores_its_own_ends_0_and_100() -> None:
    np.testing.assert_allclose(Reference(-50.0, 150.0).score([-50.0, 50.0, 150.0, 350.0]), [0.0, 50.0, 100.0, 200.0])


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (math.nan, 1.0), (-math.inf, 1.0), (0.0, math.inf)])
def test_reference_refuses_what_cannot_be_a_scale(low: float, high: float) -> None:
    with pytest.raises(DataError, match="min < max"):
        Reference(low, high)


def test_only_the_dense_v1_environments_are_adroit_tasks() -> None:
    assert {task.env_id: adroit_task(task.env_id) for task in ADROIT_TASKS.values()} == {
        f"AdroitHand{name.capitalize()}-v1": ADROIT_TASKS[name] for name in ("pen", "hammer", "door", "relocate")
    }
    assert adroit_task(None) is adroit_task("CartPole-v1") is adroit_task("AdroitHandPen-v2") is None
    assert EvaluationEnv("AdroitHandPenSparse-v1").scorings == {}
    dense = EvaluationEnv("AdroitHandPen-v1").spec
    assert EvaluationEnv(dense).scorings["d4rl"].reference == PEN.d4rl_reference
    assert EvaluationEnv(dataclasses.replace(dense, kwargs={"reward_type": "sparse"})).scorings == {}


@pytest.mark.parametrize("env_id", ["Nope-v1", "AdroitHandPen-v99", "AdroitHandPen-v0", "no_module:X-v0", "a b", ""])
def test_unknown_environment_is_one_line(env_id: str) -> None:
    with pytest.raises(DataError, match="unknown environment") as caught:
        EvaluationEnv(env_id)
    assert "\n" not in str(caught.value) and repr(env_id) in str(caught.value)


@pytest.mark.parametrize(
    "spec",
    [
        EnvSpec("Gone-v0", entry_point="no_such_module:Env"),
        EnvSpec("Gone-v0", entry_point="gymnasium.envs.classic_control:NoSuchEnv"),
        EnvSpec("Gone-v0", entry_point="gymnasium.envs.classic_control:CartPoleEnv", kwargs={"gone": 1}),
    ],
)
def test_spec_that_cannot_be_made_is_one_line(spec: EnvSpec) -> None:
    with pytest.raises(DataError, match="cannot make the environment Gone-v0") as caught:
        EvaluationEnv(spec).make()
    assert "\n" not in str(caught.value)


class Faulty(gym.Env):
    """Fails where it is told to."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,))
    action_space = gym.spaces.Discrete(2)
    observation, reward = np.zeros(2), 1.0

    def __init__(self, fails_at: str = "", render_mode: str | None = None) -> None:
        self.fails_at, self.render_mode = fails_at, render_mode
        self._fail("make")

    def _fail(self, moment: str) -> None:
        if self.fails_at == moment:
            raise SystemExit(3) if moment == "step" else KeyError("mine")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        self._fail("reset")
        return self.observation, {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        self._fail("step")
        return self.observation, self.reward, False, False, {}

    def render(self) -> None:
        self._fail("render")


class OfAnotherShape(Faulty):
    observation = np.zeros(3)


class OfTwoRewards(Faulty):
    reward = np.ones(2)


class OfAnArray(Faulty):
    reward = np.ones(1)


def act(env: gym.Env) -> Any:
    env.reset(seed=0)
    result = env.step(0)
    env.render()
    return result


@pytest.mark.parametrize(
    ("entry_point", "fails_at", "says"),
    [
        (Faulty, "make", r"cannot make the environment F-v0 for dataset 'x': KeyError: 'mine'"),
        (Faulty, "reset", r"the environment F-v0 for dataset 'x' failed at reset: KeyError: 'mine'"),
        (Faulty, "step", r"the environment F-v0 for dataset 'x' failed at a step: SystemExit: 3"),
        (Faulty, "render", r"the environment F-v0 for dataset 'x' cannot be rendered: KeyError: 'mine'"),
        (OfAnotherShape, "", r".* failed at reset: ValueError: an observation of shape \(3,\), but .* of \(2,\)"),
        (OfTwoRewards, "", r".* failed at a step: ValueError: .*"),
    ],
)
def test_whatever_an_environment_raises_is_one_line_with_a_way_out(entry_point: Any, fails_at: str, says: str) -> None:
    env = EvaluationEnv(EnvSpec("F-v0", entry_point, kwargs={"fails_at": fails_at}), owner="dataset 'x'")
    with pytest.raises(DataError, match=f"^{says}; name one that works by eval_env=ID$") as caught:
        act(env.make())
    assert "\n" not in str(caught.value)


def test_a_reward_in_an_array_of_one_is_a_number() -> None:
    _, reward, *_ = act(EvaluationEnv(EnvSpec("F-v0", OfAnArray)).make())
    assert type(reward) is float and reward == 1.0


def test_no_environment_opens_the_window_that_it_was_recorded_with() -> None:
    text = stored("InvertedPendulum-v5", kwargs={"render_mode": "human"})
    own = EnvSpec("F-v0", Faulty, kwargs={"render_mode": "human"})
    for spec in (read_spec(text), spec_from_file(text, "dataset 'x'"), own):
        with EvaluationEnv(spec) as env, env.borrow(1) as (gym_env,):
            assert gym_env.render_mode is None


def test_num_envs_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="num_envs must be at least 1, got 0"):
        EvaluationEnv("CartPole-v1", num_envs=0)


def test_borrowed_environments_are_reused_until_closed() -> None:
    env = EvaluationEnv("CartPole-v1", num_envs=2)
    with env.borrow(2) as first:
        assert first[0] is not first[1]
        lent = set(map(id, first))
    with env.borrow(2) as second:
        assert set(map(id, second)) == lent
        kept = list(second)
    env.close()
    with env.borrow(1) as (third,):
        assert all(third is not old for old in kept)


def test_environments_of_a_failed_block_are_closed_and_not_reused() -> None:
    closed = []
    env = EvaluationEnv("CartPole-v1")
    with pytest.raises(RuntimeError, match="mine"), env.borrow(1) as (lent,):
        lent.unwrapped.close = lambda: closed.append(True)
        raise RuntimeError("mine")
    assert closed == [True]
    with env.borrow(1) as (fresh,):
        assert fresh is not lent


def test_making_an_adroit_environment_does_not_print_its_notice() -> None:
    program = (
        "from agents.environments.environment import EvaluationEnv; EvaluationEnv('AdroitHandDoor-v1').make().close()"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Adroit" not in finished.stdout + finished.stderr


# Environments that a file names --------------------------------------------------------------------------------------

MAZE = [[1, 1, 1, 1, 1], [1, "r", 0, "g", 1], [1, 1, 1, 1, 1]]


def stored(env_id: str, **changes: Any) -> str:
    """The spec of a registered environment as a file has it, with other fields."""
    return json.dumps({**json.loads(find_spec(env_id).to_json()), **changes})


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module on the path whose import writes the file that is returned, and two environments of it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    marker = tmp_path / "ran"
    (tmp_path / "gymnasium_of_mine.py").write_text(
        f"open({str(marker)!r}, 'w').close()\n"
        "from gymnasium.envs.classic_control.pendulum import PendulumEnv as Mine\n"
        "def wrap(env): return env\n"
    )
    gym.register("Mine-v0", "gymnasium_of_mine:Mine", max_episode_steps=9)
    gym.register("MineWithG-v0", "gymnasium_of_mine:Mine", kwargs={"g": 3.0})
    yield marker
    del gym.registry["Mine-v0"], gym.registry["MineWithG-v0"]
    sys.modules.pop("gymnasium_of_mine", None)


POPEN = {"entry_point": "subprocess:Popen", "kwargs": {"args": ["touch", "ran"]}}
WRAPPER = {"name": "wrap", "entry_point": "gymnasium_of_mine:wrap", "kwargs": {}}
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "a command": ("Pendulum-v1", {"id": "Command-v0", **POPEN}, "it is not registered here"),
    "a registered id for a command": ("Pendulum-v1", POPEN, "'subprocess:Popen', which is not what is registered"),
    "a shell": ("Pendulum-v1", {"entry_point": "os:system", "kwargs": {"command": "touch ran"}}, "'os:system'"),
    "a package of a similar name": (
        "Pendulum-v1",
        {"entry_point": "gymnasium_of_mine:Mine"},
        "'gymnasium_of_mine:Mine'",
    ),
    "an entry point that is none": ("Pendulum-v1", {"entry_point": ["os", "system"]}, "['os', 'system']"),
    "a wrapper": ("Pendulum-v1", {"additional_wrappers": [WRAPPER]}, "it has wrappers of its own"),
    "an odd wrapper": ("Pendulum-v1", {"additional_wrappers": [{**WRAPPER, "entry_point": 3}]}, "wrappers of its own"),
    "a module in the id": ("Pendulum-v1", {"id": "gymnasium_of_mine:Pendulum-v1"}, "its id has a module imported"),
    "a module in a namespace": ("Pendulum-v1", {"id": "gymnasium_of_mine:a/Pendulum-v1"}, "a module imported"),
    "an id without a version": ("Pendulum-v1", {"id": "Pendulum"}, "it is not registered here"),
    "settings of an environment of mine": ("Mine-v0", {"kwargs": {"g": 1.0}}, "the keyword argument 'g'"),
    "other settings than those of mine": ("MineWithG-v0", {"kwargs": {"g": 1.0}}, "the keyword argument 'g'"),
    "a compatibility layer": ("GymV26Environment-v0", {"kwargs": {"env_id": "gymnasium_of_mine:X"}}, "'env_id'"),
    "a model": ("Ant-v5", {"kwargs": {"xml_file": "mine"}}, "names a file or something to call, by 'xml_file'"),
    "another key for a model": ("Ant-v5", {"kwargs": {"model_path": "mine"}}, "by 'model_path'"),
    "a path": ("Ant-v5", {"kwargs": {"main_body": "/etc/passwd"}}, "looks like a path, '/etc/passwd'"),
    "a path at home": ("Ant-v5", {"kwargs": {"main_body": "~"}}, "looks like a path"),
    "a Windows path": ("Ant-v5", {"kwargs": {"main_body": "C:\\mine"}}, "looks like a path"),
    "a file": ("Ant-v5", {"kwargs": {"main_body": "mine.xml"}}, "looks like a path"),
    "a path below": ("PointMaze_UMaze-v3", {"kwargs": {"maze_map": [[1, {"a": ["../up"]}]]}}, "looks like a path"),
    "a file's key below": ("Ant-v5", {"kwargs": {"default_camera_config": {"file": 1}}}, "by 'file'"),
    "a line break": ("Ant-v5", {"kwargs": {"main_body": "a\nerror: b"}}, "looks like a path"),
    "what make takes": ("Pendulum-v1", {"kwargs": {"vector_entry_point": "gymnasium_of_mine"}}, "something to call"),
    "wrappers in the settings": ("Pendulum-v1", {"kwargs": {"wrappers": []}}, "something to call"),
    "a deep nest": ("Pendulum-v1", {"kwargs": {"g": [[[[[[[[[[[]]]]]]]]]]]}}, "nested too deeply"),
}
UNREADABLE: dict[str, Any] = {
    "no JSON": "{",
    "a list": "[]",
    "nothing": "",
    "no text": {"id": "Pendulum-v1"},
    "an endless nest": '{"kwargs": ' + "[" * 100_000,
    "settings that are a list": ("kwargs", ["render_mode"]),
    "steps that are none": ("max_episode_steps", "print"),
    "steps below one": ("max_episode_steps", -1),
    "true for steps": ("max_episode_steps", True),
    "an id that is a number": ("id", 5),
    "wrappers that are none": ("additional_wrappers", [1]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_file_may_not_say_is_refused_in_one_line_and_nothing_runs(name: str, mine: Path) -> None:
    env_id, changes, problem = REFUSED[name]
    find_spec("Pendulum-v1")
    text = json.dumps({**json.loads(gym.spec("Pendulum-v1").to_json()), "entry_point": None, "id": env_id, **changes})
    with pytest.raises(DataError) as caught:
        spec_from_file(text, "dataset 'test/x-v0'")
    message = str(caught.value)
    assert problem in message and "dataset 'test/x-v0'" in message and "\n" not in message
    assert "eval_env=ID" in message and "trust_env=true" in message
    assert not mine.exists() and "gymnasium_of_mine" not in sys.modules


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_spec_is_one_line(name: str) -> None:
    text = UNREADABLE[name]
    text = stored("Pendulum-v1", **dict([text])) if isinstance(text, tuple) else text
    with pytest.raises(ValueError):
        read_spec(text)
    with pytest.raises(DataError, match="does not say how its environment is made .* eval_env=ID") as caught:
        spec_from_file(text, "mine.safetensors")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_settings_that_are_not_plain_are_refused() -> None:
    spec = dataclasses.replace(find_spec("Pendulum-v1"), kwargs={"g": object()})
    with pytest.raises(DataError, match="its keyword argument 'g' is not plain JSON, but a object"):
        spec_from_file(spec, "a dataset")


@pytest.mark.parametrize(
    ("env_id", "kwargs", "max_episode_steps"),
    [
        ("FrankaKitchen-v1", {"tasks_to_complete": ["microwave", "bottom burner"], "object_noise_ratio": 0.0}, 280),
        ("PointMaze_UMaze-v3", {"maze_map": MAZE, "reward_type": "dense"}, 100),
        ("AdroitHandPen-v1", {"reward_type": "sparse"}, 200),
        ("AdroitHandPen-v1", {}, None),
        ("Humanoid-v5", {"healthy_z_range": [1.0, math.inf], "frame_skip": 5}, 1000),
        ("Pendulum-v1", {"g": 9.81}, 25),
    ],
)
def test_plain_settings_of_known_packages_and_the_steps_are_the_files(
    env_id: str, kwargs: dict[str, Any], max_episode_steps: int | None
) -> None:
    text = stored(
        env_id, kwargs=kwargs, max_episode_steps=max_episode_steps, vector_entry_point="os:system", reward_threshold=1.0
    )
    spec, registered = spec_from_file(text, "a dataset"), gym.spec(env_id)
    assert spec == dataclasses.replace(registered, kwargs=kwargs, max_episode_steps=max_episode_steps)
    assert spec_from_file(spec.to_json(), "a checkpoint") == spec  # as a checkpoint stores it


def test_the_settings_of_a_file_reach_the_environment() -> None:
    spec = spec_from_file(stored("PointMaze_UMaze-v3", kwargs={"maze_map": MAZE}, max_episode_steps=3), "a dataset")
    with EvaluationEnv(spec) as env, env.borrow(1) as (gym_env,):
        assert gym_env.unwrapped.maze.maze_map == MAZE
        assert gym_env.spec.max_episode_steps == 3


def test_every_registered_environment_passes_as_it_is_registered(mine: Path) -> None:
    find_spec("Pendulum-v1")
    for spec in [spec for spec in gym.registry.values() if isinstance(spec.entry_point, str)]:
        assert spec_from_file(spec.to_json(), "a dataset").to_json() == spec.to_json()
    assert not mine.exists()


def test_the_wrappers_of_a_registration_are_no_foreign_ones(mine: Path) -> None:
    wrapper = gym.envs.registration.WrapperSpec(**WRAPPER)
    gym.registry["Mine-v0"] = dataclasses.replace(gym.registry["Mine-v0"], additional_wrappers=(wrapper,))
    assert spec_from_file(stored("Mine-v0"), "a dataset") == gym.registry["Mine-v0"]


def test_trust_calls_what_the_file_says_and_says_so_first(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = stored("Pendulum-v1", id="Gone-v0", entry_point="gymnasium_of_mine:Mine", kwargs={"g": 2.0},
                  additional_wrappers=[WRAPPER])  # fmt: skip
    spec = spec_from_file(text, "dataset 'test/x-v0'", trust=True)
    assert spec == read_spec(text)
    line, rest = capsys.readouterr().err.split("\n")
    assert rest == "" and not mine.exists()
    for part in ("Gone-v0", "dataset 'test/x-v0'", "gymnasium_of_mine:Mine", "{'g': 2.0}", "gymnasium_of_mine:wrap"):
        assert part in line
    with EvaluationEnv(spec) as env, env.borrow(1) as (gym_env,):
        assert gym_env.unwrapped.g == 2.0
    assert mine.exists()
