"""Evaluation on real Adroit environments and on small ones that end early, never, or without success."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from tensordict.nn import ProbabilisticTensorDictModule, ProbabilisticTensorDictSequential, TensorDictModule
from torch import Tensor, nn
from torchrl.modules.distributions import IndependentNormal

from agents.environments import recording
from agents.environments.adapter import Spaces
from agents.environments.adroit import ADROIT_TASKS
from agents.environments.environment import EvaluationEnv
from agents.environments.protocols import Reference
from agents.environments.recording import record
from agents.environments.spaces import actions_of, observations_of
from agents.errors import AgentsError, ConfigError, DataError
from agents.evaluation.rollouts import EvalResult, evaluate, random_policy
from agents.evaluation.video import check_rendering, film, record_video
from tests.worlds import WORLDS, environment_id


class Countdown(gym.Env):
    """Ends itself after ``seed % 5 + 2`` steps with a reward of 1 each; the observation is the steps left."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (3,))
    action_space = gym.spaces.Box(-2.0, 1.0, (2,))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.left = (seed or 0) % 5 + 2
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert action in self.action_space
        self.left -= 1
        return self._observation(), 1.0, self.left == 0, False, {}

    def _observation(self) -> np.ndarray:
        return np.full(3, self.left, dtype=np.float32)


class Endless(Countdown):
    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return self._observation(), 1.0, False, False, {}


class Drawn(Countdown):
    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def render(self) -> np.ndarray:
        return np.full((32, 32, 3), 40 * self.left, dtype=np.uint8)


class Scripted(Countdown):
    """Success of each step as scripted for the seed."""

    form: ClassVar[Callable[[bool], Any]] = bool
    script: ClassVar = {
        0: [False, True, False],
        1: [False, False, False],
        2: [True] * 20 + [False],
        3: [True] * 21 + [False],
        4: [False] * 5 + [True],
    }

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        observation, info = super().reset(seed=seed)
        self.success = list(self.script[seed or 0])
        return observation, info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        success = self.success.pop(0)
        return self._observation(), 0.0, not self.success, False, {"success": self.form(success)}


class InArrays(Scripted):
    form = np.array


class OfBothGoals(Scripted):
    """Names it as Fetch does, by a flag for each of two goals, of which the first is always reached."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        *result, info = super().step(action)
        return *result, {"is_success": np.array([True, info["success"]])}


def small(env_class: type[gym.Env], num_envs: int = 1) -> EvaluationEnv:
    return EvaluationEnv(EnvSpec(f"{env_class.__name__}-v0", entry_point=env_class), num_envs=num_envs)


def adroit(name: str, num_envs: int = 1, max_episode_steps: int = 200, **kwargs: Any) -> EvaluationEnv:
    spec = dataclasses.replace(EvaluationEnv(ADROIT_TASKS[name].env_id).spec, max_episode_steps=max_episode_steps)
    return EvaluationEnv(spec, num_envs=num_envs, **kwargs)


def network(num_observations: int = 45, num_actions: int = 24, dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(7)
    layers = [nn.Linear(num_observations, 64), nn.ReLU(), nn.Dropout(dropout), nn.Linear(64, num_actions), nn.Tanh()]
    return nn.Sequential(*layers)


def pen_policy(dropout: float = 0.0) -> TensorDictModule:
    return TensorDictModule(network(dropout=dropout), in_keys=["observation"], out_keys=["action"])


def torch_policy() -> TensorDictModule:
    """One that NumPy cannot take over."""
    return TensorDictModule(network().append(nn.Softsign()), in_keys=["observation"], out_keys=["action"])


def zeros(observation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.zeros(2)


def assert_same(first: EvalResult, second: EvalResult) -> None:
    for field in dataclasses.fields(EvalResult):
        if isinstance(getattr(first, field.name), np.ndarray):
            np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))


@pytest.fixture
def threads() -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


@pytest.mark.parametrize("make", [pen_policy, torch_policy])
def test_result_does_not_depend_on_the_number_of_environments(make: Callable[[], TensorDictModule]) -> None:
    policy, results = make(), []
    for num_envs in (1, 2, 3):
        with adroit("pen", num_envs, max_episode_steps=100) as env:
            results.append(evaluate(policy, env, 4, seed=11))
            results.append(evaluate(policy, env, 4, seed=11))  # in environments that have been used
    assert len(set(results[0].returns)) == 4
    for result in results[1:]:
        assert_same(results[0], result)


class Remembering(nn.Module):
    """Acts by what it saw and was paid so far in the episode."""

    def forward(
        self, observation: Tensor, reward: Tensor | None = None, memory: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        assert (reward is None) == (memory is None)
        seen = observation[:, :1] / 100 if memory is None else memory + observation[:, :1] / 100 + reward / 10
        return seen.sin().expand(-1, 2), seen


@pytest.mark.parametrize("num_envs", [1, 3])
def test_a_policy_may_remember_the_episode_and_nothing_before_it(num_envs: int) -> None:
    module = Remembering()
    policy = TensorDictModule(module, in_keys=["observation", "reward", "memory"], out_keys=["action", "memory"])
    with small(Countdown, num_envs) as env:
        result = evaluate(policy, env, 5, seed=3, record=True)
    for episode in result.episodes:
        expected, memory = [], 0.0
        for step, observation in enumerate(episode.observations[:-1]):
            memory += observation[0] / 100 + (0.1 if step else 0.0)
            expected.append([np.sin(memory)] * 2)
        np.testing.assert_allclose(episode.actions, expected, rtol=1e-5)


@pytest.mark.parametrize("make", [pen_policy, torch_policy])
def test_actions_are_the_modules_own(make: Callable[[], TensorDictModule]) -> None:
    policy = make()
    with adroit("pen", num_envs=2) as env:
        result = evaluate(policy, env, 2, record=True)
    for episode in result.episodes:
        assert np.abs(episode.actions).max() > 0.2
        with torch.no_grad():
            actions = policy.module(torch.from_numpy(episode.observations[:-1]).float())
        np.testing.assert_allclose(episode.actions, actions, rtol=0.0, atol=1e-5)


class Silent(Scripted):
    """Says nothing of success in long episodes."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        *outcome, info = super().step(action)
        return *outcome, {} if len(self.script[self.index]) > 6 else info

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self.index = seed or 0
        return super().reset(seed=seed)


def test_an_episode_that_says_nothing_of_success_failed_if_others_speak_of_it() -> None:
    with small(Silent) as env:
        result = evaluate(zeros, env, 5)
    assert result.success.tolist() == [True, False, False, False, True]


class Reusing(gym.Env):
    """Writes each observation into the array of the one before; the reward of step t is -t."""

    observation_space, action_space = gym.spaces.Box(-9.0, 9.0, (1,)), gym.spaces.Box(-1.0, 1.0, (1,))

    def reset(self, **_: object) -> tuple[np.ndarray, dict]:
        self.state = np.zeros(1, np.float32)
        return self.state, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.state += 1.0
        return self.state, -float(self.state[0]), False, self.state[0] == 3.0, {}


def test_a_recording_holds_what_the_environment_said_at_each_step() -> None:
    rng = np.random.default_rng(0)
    episode = record(Reusing(), lambda *_: [0.5], rng, seed=0, index=0, on_state=lambda: None)
    assert episode.observations.tolist() == [[0.0], [1.0], [2.0], [3.0]]
    assert episode.rewards.tolist() == [-1.0, -2.0, -3.0] and episode.actions.tolist() == [[0.5]] * 3
    assert (episode.terminated, episode.truncated, episode.success) == (False, True, None)


def test_seed_fixes_the_episodes() -> None:
    with adroit("relocate", num_envs=2, max_episode_steps=20) as env:
        policy = TensorDictModule(network(39, 30), in_keys=["observation"], out_keys=["action"])
        first, again, shifted = (evaluate(policy, env, 4, seed=seed) for seed in (5, 5, 7))
    assert_same(first, again)
    assert not np.isin(first.returns[:2], shifted.returns).any()
    np.testing.assert_array_equal(first.returns[2:], shifted.returns[:2])  # episode i is reset with seed + i


@pytest.mark.parametrize(("num_envs", "num_episodes"), [(1, 1), (2, 7), (5, 3)])
def test_exactly_num_episodes_run_and_end_where_the_environment_ends_them(num_envs: int, num_episodes: int) -> None:
    with small(Countdown, num_envs) as env:
        result = evaluate(zeros, env, num_episodes, seed=3, record=True)
    expected = [(3 + i) % 5 + 2 for i in range(num_episodes)]
    assert result.lengths.tolist() == result.returns.tolist() == expected
    assert result.episodes is not None
    assert [episode.observations[:, 0].tolist() for episode in result.episodes] == [
        list(range(length, -1, -1)) for length in expected
    ]
    assert all(episode.actions.shape == (len(episode.rewards), 2) for episode in result.episodes)


def test_what_the_environment_cannot_tell_is_none() -> None:
    with small(Countdown) as env:
        result = evaluate(zeros, env, 3)
    assert result.success is result.success_last is result.episodes is None
    assert result.scores == result.protocol_returns == result.protocol_success == {}
    assert result.summary().startswith("3 episodes: return 3.0 ± 0.8") and "success" not in result.summary()


@pytest.mark.parametrize("scripted", [Scripted, InArrays, OfBothGoals])
def test_success_at_any_step_held_and_at_the_last_step(scripted) -> None:
    spec = EnvSpec("AdroitHandPen-v1", entry_point=scripted, max_episode_steps=30)  # pen's rule: more than 20 steps
    with EvaluationEnv(spec, num_envs=2) as env:
        result = evaluate(zeros, env, 5)
    assert result.success.tolist() == [True, False, True, True, True]
    assert result.protocol_success["d4rl"].tolist() == [False, False, False, True, False]
    assert result.success_last.tolist() == [False, False, False, False, True]
    key = "is_success" if scripted is OfBothGoals else "success"
    assert result.summary().endswith(f"\n{key}: any step 80 %, held 20 %, last step 20 %")
    with small(Scripted) as env:
        assert evaluate(zeros, env, 5).protocol_success == {}  # DAPG defines it for its own four tasks


def test_an_episode_that_nothing_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_STEPS", 50)
    ends = "has not ended after 50 steps.* give one by max_episode_steps=N"
    with small(Endless) as env, pytest.raises(DataError, match=ends):
        evaluate(zeros, env, 1)


def test_both_scores_are_those_of_the_recorded_rollout() -> None:
    with adroit("pen", num_envs=2, reference=Reference(-500.0, 8000.0)) as env:
        result = evaluate(random_policy(env), env, 2, seed=1, record=True)
    for i, episode in enumerate(result.episodes):
        assert len(episode.rewards) == result.lengths[i] == 200
        assert result.scores["minari"][i] == pytest.approx(100 * (sum(episode.rewards) + 500.0) / 8500.0)
        total = 0.0
        for reward, after in zip(episode.rewards[:100], episode.observations[1:101], strict=True):
            total += reward
            if after[26] < 0.075:
                break
        assert result.scores["d4rl"][i] == pytest.approx(100 * (total - 96.262799) / (3076.8331017826877 - 96.262799))
    with adroit("hammer", reference=Reference(-300.0, 12000.0)) as env:
        result = evaluate(random_policy(env), env, 1, seed=1, record=True)
    (episode,) = result.episodes
    off = [np.linalg.norm(after[33:36] - after[36:39]) for after in episode.observations[1:]]
    total = sum(episode.rewards) - 0.2 * sum(off)
    assert result.scores["minari"][0] == pytest.approx(100 * (sum(episode.rewards) + 300.0) / 12300.0)
    assert result.scores["d4rl"][0] == pytest.approx(100 * (total + 274.856578) / (12794.134825156867 + 274.856578))


def test_episodes_cut_before_d4rls_horizon_have_no_d4rl_score() -> None:
    with adroit("pen", max_episode_steps=99) as env:
        assert "d4rl" not in evaluate(random_policy(env), env, 1).scores
    with adroit("pen", max_episode_steps=100) as env:
        assert "d4rl" in evaluate(random_policy(env), env, 1).scores


def test_policy_is_called_with_one_observation_on_one_thread_in_eval_mode(threads: int) -> None:
    seen = []

    class Probe(nn.Module):
        def forward(self, observation: torch.Tensor) -> torch.Tensor:
            seen.append((tuple(observation.shape), observation.dtype, torch.get_num_threads(), self.training))
            return observation[:, :2] * 0.0

    policy = TensorDictModule(Probe(), in_keys=["observation"], out_keys=["action"]).train()
    with small(Countdown, num_envs=2) as env:
        evaluate(policy, env, 4)
    assert set(seen) == {((1, 3), torch.float32, 1, False)}
    assert policy.training and torch.get_num_threads() == threads


def test_dropout_is_off_and_the_callers_policy_stays_in_training_mode() -> None:
    policy = pen_policy(dropout=0.5).train()
    with adroit("pen", max_episode_steps=20) as env:
        result = evaluate(policy, env, 1)
        assert policy.training and policy.module[2].training
        assert_same(result, evaluate(pen_policy(dropout=0.0), env, 1))


def test_stochastic_actor_acts_with_its_mode() -> None:
    class Actor(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            loc = self.net(observation)
            return loc, torch.ones_like(loc)

    actor = ProbabilisticTensorDictSequential(
        TensorDictModule(Actor(), in_keys=["observation"], out_keys=["loc", "scale"]),
        ProbabilisticTensorDictModule(
            in_keys=["loc", "scale"],
            out_keys=["action"],
            distribution_class=IndependentNormal,
            default_interaction_type="random",
        ),
    )
    with adroit("pen", num_envs=2, max_episode_steps=20) as env:
        result = evaluate(actor, env, 3, record=True)
    for episode in result.episodes:
        with torch.no_grad():
            modes = network()(torch.from_numpy(episode.observations[:-1]).float())
        np.testing.assert_allclose(episode.actions, modes, rtol=0.0, atol=1e-5)


def test_global_random_states_are_untouched() -> None:
    policy = pen_policy(dropout=0.5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    with adroit("pen", num_envs=2, max_episode_steps=10) as env:
        evaluate(policy, env, 3)
        evaluate(random_policy(env), env, 3)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]


def test_random_policy_is_fixed_by_the_seed_and_fills_the_action_space() -> None:
    results = []
    for num_envs, seed in ((1, 4), (3, 4), (1, 9)):
        with small(Countdown, num_envs) as env:
            results.append(evaluate(random_policy(env), env, 40, seed=seed, record=True))
    actions = [[episode.actions for episode in result.episodes] for result in results]
    for first, again in zip(actions[0], actions[1], strict=True):
        np.testing.assert_array_equal(first, again)
    assert not np.array_equal(actions[0][0][0], actions[2][0][0])
    assert not np.array_equal(actions[0][0][0], actions[0][1][0])  # each episode draws its own
    drawn = np.concatenate(actions[0])
    assert drawn.dtype == np.float32
    assert (np.abs(drawn.min(0) + 2.0) < 0.15).all() and (np.abs(drawn.max(0) - 1.0) < 0.15).all()


@pytest.mark.parametrize("world", WORLDS)
def test_random_policy_acts_on_actions_of_every_kind(world) -> None:
    observation_space, action_space = WORLDS[world]
    spaces = Spaces(observations_of(observation_space)[0], actions_of(action_space))
    with EvaluationEnv(environment_id(world), spaces=spaces) as env:
        assert (evaluate(random_policy(env), env, 2).lengths > 0).all()  # an action of another space would be refused


def test_random_policy_covers_discrete_actions_and_refuses_unbounded_ones() -> None:
    with EvaluationEnv("CartPole-v1") as env:
        result = evaluate(random_policy(env), env, 3, record=True)
    assert set(np.concatenate([episode.actions for episode in result.episodes])) == {0, 1}

    class FromFive(Countdown):
        action_space = gym.spaces.Discrete(2, start=5)

    with small(FromFive) as env:
        result = evaluate(random_policy(env), env, 5, record=True)
    assert set(np.concatenate([episode.actions for episode in result.episodes])) == {5, 6}

    class Unbounded(Countdown):
        action_space = gym.spaces.Box(-np.inf, np.inf, (2,))

    with small(Unbounded) as env, pytest.raises(DataError, match="bounded Box or Discrete"):
        random_policy(env)


def test_an_index_reaches_the_environment_as_an_action_of_its_own() -> None:
    class Alternates(nn.Module):
        def forward(self, observation: torch.Tensor) -> torch.Tensor:
            return (observation[:, 1] > 0.0).long()  # [1, O] -> [1]

    policy = TensorDictModule(Alternates(), in_keys=["observation"], out_keys=["action"])
    with EvaluationEnv("CartPole-v1") as env:
        for episode in evaluate(policy, env, 3, record=True).episodes:
            assert episode.actions.shape == episode.rewards.shape and episode.actions.dtype == np.int64
            np.testing.assert_array_equal(episode.actions, episode.observations[:-1, 1] > 0.0)


def test_failing_policy_stops_the_other_workers_and_restores_torch(threads: int) -> None:
    calls = itertools.count()

    class Fails(nn.Module):
        def forward(self, observation: torch.Tensor) -> torch.Tensor:
            if next(calls) == 30:
                raise ValueError("from the policy")
            return observation[:, :2] * 0.0

    policy = TensorDictModule(Fails(), in_keys=["observation"], out_keys=["action"]).train()
    with small(Endless, num_envs=2) as env, pytest.raises(ValueError, match="from the policy"):
        evaluate(policy, env, 6)
    assert policy.training and policy.module.training and torch.get_num_threads() == threads
    assert next(calls) < 30_000  # the other worker's episode would never have ended


def test_nan_action_is_refused_with_its_place() -> None:
    def act(observation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.array([0.0, np.nan if observation[0] == 1 else 0.0])

    with small(Countdown) as env, pytest.raises(AgentsError, match="non-finite action in episode 0, step 1"):
        evaluate(act, env, 2)


@pytest.mark.parametrize("make", [pen_policy, torch_policy])
def test_nan_action_of_a_network_is_refused(make: Callable[[], TensorDictModule]) -> None:
    broken = make()
    nn.init.constant_(broken.module[0].weight, math.nan)
    with adroit("pen") as env, pytest.raises(AgentsError, match="non-finite action in episode 0, step 0"):
        evaluate(broken, env, 1)


def test_num_episodes_must_be_positive() -> None:
    with small(Countdown) as env, pytest.raises(ConfigError, match="num_episodes must be at least 1, got 0"):
        evaluate(zeros, env, 0)


def test_video_shows_the_evaluated_episode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iio = pytest.importorskip("imageio.v2")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    path = tmp_path / "videos" / "pen.mp4"
    with adroit("pen", max_episode_steps=12) as env:
        try:
            written = record_video(random_policy(env), env, path, seed=2)
        except AgentsError as error:
            pytest.skip(str(error))
    assert written == path and list(path.parent.iterdir()) == [path]
    with iio.get_reader(path) as video:
        assert video.get_meta_data()["fps"] == 25
    frames = iio.mimread(path)
    assert len(frames) == 4  # 13 states at 100 per second, every fourth of them
    assert frames[0].shape == (480, 480, 3)
    # the scene is lit and has many colours, and the hand moves between frames
    assert all(frame.std() > 30 for frame in frames)
    assert np.abs(frames[0].astype(float) - frames[-1]).max() > 60


def test_video_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    def fails(observation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if observation[0] == 1:
            raise ValueError("from the policy")
        return np.zeros(2)

    path = tmp_path / "drawn.mp4"
    with small(Drawn) as env:
        record_video(zeros, env, path, num_episodes=2)
        before = path.read_bytes()
        with pytest.raises(ValueError, match="from the policy"):
            record_video(fails, env, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    frames = pytest.importorskip("imageio.v2").mimread(path)
    assert [round(float(frame.mean()) / 40) for frame in frames] == [2, 1, 0, 3, 2, 1, 0]


def test_a_film_shows_the_episode_of_the_evaluation() -> None:
    def act(observation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(-2.0, 1.0, 2)

    with small(Drawn) as env:
        episodes = evaluate(act, env, 4, seed=3, record=True).episodes
        for index, episode in enumerate(episodes):
            shot = film(act, env, index, seed=3, max_fps=4)  # 10 a second, so every third state
            np.testing.assert_array_equal(shot.episode.actions, episode.actions)
            np.testing.assert_array_equal(shot.episode.rewards, episode.rewards)
            length = len(episode.rewards)
            assert shot.steps == (*range(0, length, 3), length) and shot.fps == pytest.approx(10 / 3)
            assert [frame[0, 0, 0] for frame in shot.frames] == [40 * (length - step) for step in shot.steps]


def test_a_film_of_adroit_needs_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    with adroit("pen", max_episode_steps=9) as env:
        try:
            shot = film(random_policy(env), env, 0, seed=2)
        except AgentsError as error:
            pytest.skip(str(error))
    assert shot.steps == (0, 4, 8, 9) and shot.fps == 25
    assert all(frame.shape == (480, 480, 3) and frame.std() > 30 for frame in shot.frames)


def test_rendering_is_checked_in_one_line() -> None:
    class Blind(Drawn):
        def render(self) -> None:
            return None

    with small(Drawn) as env:
        check_rendering(env)
    with small(Blind) as env:
        for attempt in (check_rendering, functools.partial(film, zeros, episode=0)):
            with pytest.raises(AgentsError, match="cannot render Blind-v0: it draws no pictures"):
                attempt(env=env)


def test_rendering_without_opengl_is_noticed_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "no_such_backend")
    with adroit("pen") as env, pytest.raises(AgentsError, match=r"tried no_such_backend.*apt-get install"):
        check_rendering(env)


def test_video_without_opengl_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "no_such_backend")
    with adroit("pen") as env, pytest.raises(AgentsError, match=r"tried no_such_backend.*apt-get install") as caught:
        record_video(random_policy(env), env, tmp_path / "pen.mp4")
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())
