"""Steps a second of evaluations beside those of the bare environment, and the share of a default run that they take.

    python benchmarks/evaluating.py                          all of Adroit's tasks, with 1, 2 and 4 threads
    python benchmarks/evaluating.py --tasks pen --threads 2

The bare environment is that of ``gymnasium.make``, without a policy: it is given the actions of the evaluation, so the
same episodes are simulated, by as many threads. All take turns, and a ratio is that of two times of one round. Prints
Markdown; with all tasks it is written to results/evaluating.json.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch

import agents
import contestants
from agents.environments.adroit import ADROIT_TASKS
from agents.environments.recording import Episode, record_all
from agents.environments.spec import register_robotics
from agents.training.precision import choose_matmul_precision
from recipes.runs.versions import versions
from recipes.settings.schema import TrainConfig

RESULTS = Path(__file__).parent / "results" / "evaluating.json"
SETTINGS = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
NUM_UPDATES = 200  # of a round

clock = time.perf_counter


def timed(run: Callable[[], object]) -> float:
    start = clock()
    run()
    return clock() - start


def replay(env: gym.Env, episode: Episode, seed: int) -> None:
    env.reset(seed=seed)
    for action in episode.actions:
        env.step(action)


def bare(env_id: str, episodes: Sequence[Episode], num_threads: int) -> Callable[[], object]:
    """Makes the steps of these episodes, and nothing else."""
    register_robotics()
    envs = [gym.make(env_id, disable_env_checker=True) for _ in range(num_threads)]
    return lambda: record_all(envs, len(episodes), lambda env, index, _: replay(env, episodes[index], index))


def learner(env_id: str) -> tuple[agents.Agent, Callable[[], None]]:
    """An agent of the environment's shapes, and a round of its updates."""
    with agents.EvaluationEnv(env_id) as env, env.borrow(1) as (instance,):
        spaces: tuple[Any, Any] = instance.observation_space, instance.action_space
    contestants.NUM_OBSERVATIONS, contestants.NUM_ACTIONS = (space.shape[0] for space in spaces)
    contestants.random_dataset.cache_clear()
    dataset = contestants.random_dataset(torch.device("cpu"))
    agent, buffer = agents.IQLConfig().build(dataset.specs), dataset.replay_buffer(contestants.BATCH_SIZE)
    agent.compile(buffer.sample(), "inductor")

    def update() -> None:
        for _ in range(NUM_UPDATES):
            agent.update(buffer.sample())

    return agent, update


def measure(env_id: str, threads: Sequence[int], *, rounds: int, num_episodes: int) -> list[dict[str, Any]]:
    """A row for each number of threads."""
    agent, update = learner(env_id)
    envs = {number: agents.EvaluationEnv(env_id, num_envs=number) for number in threads}
    result = agents.evaluate(agent.policy, envs[threads[0]], num_episodes, record=True)
    policy = copy.deepcopy(agent.policy)  # which the updates between leave as it is
    bare_envs = {number: bare(env_id, result.episodes or (), number) for number in threads}
    times: dict[str, list[list[float]]] = {name: [] for name in ("update", "ours", "bare")}  # rounds, threads
    for _ in range(rounds):
        ours = (functools.partial(agents.evaluate, policy, env, num_episodes) for env in envs.values())
        times["ours"].append([timed(run) for run in ours])
        times["bare"].append([timed(run) for run in bare_envs.values()])
        times["update"].append([timed(update) / NUM_UPDATES])
    return [
        row(env_id, number, index, times, int(result.lengths.sum()), num_episodes)
        for index, number in enumerate(threads)
    ]


def row(
    env_id: str, num_threads: int, index: int, times: dict[str, list[list[float]]], num_steps: int, num_episodes: int
) -> dict[str, Any]:
    ours, alone, together = (
        [each[column] for each in times[name]] for name, column in (("ours", index), ("bare", 0), ("bare", index))
    )
    updates = [seconds for (seconds,) in times["update"]]
    evaluation = [SETTINGS["num_eval_episodes"] / num_episodes * seconds for seconds in ours]
    training = [SETTINGS["eval_every"] * seconds for seconds in updates]
    return {
        "env": env_id,
        "threads": num_threads,
        "steps_per_second": num_steps / statistics.median(ours),
        "times_bare": spread([theirs / own for theirs, own in zip(together, ours)]),
        "times_bare_alone": spread([theirs / own for theirs, own in zip(alone, ours)]),
        "share": spread([part / (part + rest) for part, rest in zip(evaluation, training)]),
    }


def spread(values: Sequence[float]) -> list[float]:
    return [statistics.median(values), min(values), max(values)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=ADROIT_TASKS, default=list(ADROIT_TASKS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2, 4], help="of an evaluation, the first alone")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--episodes", type=int, default=4)
    parser.add_argument("--processor", action="store_true", help="measure processor time, where others are at work")
    arguments = parser.parse_args()
    global clock
    clock = time.process_time if arguments.processor else time.perf_counter
    choose_matmul_precision("auto", torch.device("cpu"))
    titles = "| environment | threads | steps/s | x bare, as many threads | x bare, one | share of a default run |"
    print(f"{titles}\n{'|---' * 6}|")
    table = []
    for task in arguments.tasks:
        rows = measure(
            ADROIT_TASKS[task].env_id, arguments.threads, rounds=arguments.rounds, num_episodes=arguments.episodes
        )
        for each in rows:
            ratios = [
                "{:.2f} ({:.2f}-{:.2f})".format(*each[name]) for name in ("times_bare", "times_bare_alone", "share")
            ]
            cells = each["env"], str(each["threads"]), f"{each['steps_per_second']:,.0f}", *ratios
            print(f"| {' | '.join(cells)} |", flush=True)
        table += rows
    if arguments.tasks == list(ADROIT_TASKS) and not arguments.processor:
        facts = {"update_threads": torch.get_num_threads(), "versions": versions()}
        RESULTS.write_text(json.dumps({**facts, "rows": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
