"""Pieces of ways through a maze: none is the whole way, and Minari takes them as the environment gave them."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import minari
import numpy as np
import pytest
from gymnasium.wrappers import FlattenObservation

import agents
from agents.data.demos import making, pointmaze
from agents.data.demos.arithmetic import on_grid
from agents.data.demos.demo import FIRST_SEED
from agents.data.demos.pieces import record_piece
from agents.environments.environment import EvaluationEnv

UMAZE = "demo/pointmaze/umaze-v1"
GOAL = slice(2, 4)  # columns of the flat observation
MAZES = ["umaze", "medium"]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mazes of which twenty pieces are recorded."""
    for name, maze in pointmaze.MAZES.items():
        monkeypatch.setitem(pointmaze.MAZES, name, dataclasses.replace(maze, num_episodes=20))


def record(name: str) -> list:
    demo = pointmaze.demo(name)
    with demo.env:
        return demo.record(demo.env, lambda: None)


@pytest.mark.parametrize("name", MAZES)
def test_no_piece_is_the_way_of_an_evaluation(name, few) -> None:
    maze = pointmaze.MAZES[name]
    assert pointmaze.distances(maze.cells, maze.start)[maze.goal] >= 2 * maze.num_cells
    for episode in record(name):
        ends = episode.observations[[0, -1], pointmaze.ACHIEVED]
        assert np.abs(ends[0] - ends[1]).sum() < maze.num_cells + 1.0


@pytest.mark.parametrize("name", MAZES)
def test_the_controller_gets_from_the_start_of_an_evaluation_to_its_goal(name) -> None:
    maze = pointmaze.MAZES[name]
    way = pointmaze.path(maze.cells, maze.start, maze.goal)
    with EvaluationEnv(maze.eval_spec()) as env, env.borrow(1) as (gym_env,):
        flat = FlattenObservation(gym_env)
        for seed in range(3):
            observation, _ = flat.reset(seed=seed)
            assert np.abs(observation[pointmaze.ACHIEVED] - pointmaze.centre(maze.cells, maze.start)).max() < 0.3
            waypoints = [*(pointmaze.centre(maze.cells, cell) for cell in way[1:-1]), observation[GOAL]]
            episode = record_piece(flat, observation, pointmaze.Controller(waypoints), max_steps=10_000)
            assert episode.terminated and episode.rewards.sum() == maze.reference.max
            assert len(episode.actions) < env.spec.max_episode_steps


def test_a_piece_is_what_the_environment_answers_to_its_actions(few) -> None:
    maze, episode = pointmaze.MAZES["umaze"], record("umaze")[7]
    with EvaluationEnv(maze.spec(maze.cells)) as env, env.borrow(1) as (gym_env,):
        place = episode.observations[0, pointmaze.ACHIEVED]
        cell = min(
            pointmaze.distances(maze.cells, maze.goal),
            key=lambda c: np.abs(pointmaze.centre(maze.cells, c) - place).max(),
        )
        flat = FlattenObservation(gym_env)
        observation, _ = flat.reset(seed=FIRST_SEED + 7, options={"reset_cell": cell, "goal_cell": maze.goal})
        for step, action in enumerate(episode.actions):
            assert np.array_equal(on_grid(observation), episode.observations[step])
            observation, reward, _, _, info = flat.step(action)
            assert (reward, info["success"]) == (episode.rewards[step], episode.success[step])


@pytest.mark.parametrize("name", MAZES)
def test_a_path_is_a_shortest_way_through_free_cells(name) -> None:
    maze = pointmaze.MAZES[name]
    away = pointmaze.distances(maze.cells, maze.start)
    assert len(away) == sum(cell != 1 for row in maze.cells for cell in row)
    for end in away:
        way = pointmaze.path(maze.cells, maze.start, end)
        assert (way[0], way[-1], len(way)) == (maze.start, end, away[end] + 1)
        steps = np.abs(np.diff(np.array(way), axis=0)).sum(1)
        assert (steps == 1).all() and all(maze.cells[row][column] != 1 for row, column in way)


def test_minari_has_the_dictionary_and_both_environments(few, store: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        making.make(UMAZE, progress=False)
        dataset = minari.load_dataset(UMAZE)
        first = dataset[0]
        assert {key: part.shape[1:] for key, part in first.observations.items()} == {
            "achieved_goal": (2,),
            "desired_goal": (2,),
            "observation": (4,),
        }
        np.testing.assert_array_equal(first.observations["achieved_goal"], first.observations["observation"][:, :2])
        starts = []
        for eval_env in (False, True):
            env = dataset.recover_environment(eval_env=eval_env)
            starts.append([tuple(np.round(env.reset(seed=seed)[0]["achieved_goal"])) for seed in range(8)])
            env.close()
        assert len({*starts[0]}) > 1 and len({*starts[1]}) == 1


def test_it_trains_and_is_evaluated_as_it_is(few, store: Path) -> None:
    dataset = agents.load_dataset(UMAZE, progress=False)
    assert dataset.specs.observation_names[:3] == ("achieved_goal.0", "achieved_goal.1", "desired_goal.0")
    assert dataset.reference == agents.Reference(0.0, 1.0)
    assert dataset.statistics.num_episodes == 20
