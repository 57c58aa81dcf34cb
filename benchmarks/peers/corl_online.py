"""CORL's fine-tuning code as a whole, from the same data and in the same environment as ours: scores of both phases.

    python benchmarks/peers/corl_online.py ~/CORL --offline 20000 --online 20000 --results corl_online.json

Its ``algorithms/finetune/<algorithm>.py`` runs as it is, with its settings on cloned data. What it imports of D4RL,
gym, pyrallis and Weights & Biases is stood in for: data and environment are those of a dataset of this project on pen,
whose evaluations end episodes where D4RL does. (On the other tasks D4RL's rewards are not the environment's.)
"""

from __future__ import annotations

import argparse
import csv
import importlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import gymnasium
import numpy as np
import torch
import yaml
from corl import number_of

import agents
from agents.data.layout import DEFAULT_KEYS
from agents.environments.adroit import ADROIT_TASKS, PEN_DROPPED, PEN_HEIGHT

ALGORITHMS = ("iql", "awac", "cal_ql")
GOAL = "goal_achieved"  # of D4RL's environments
PEN = ADROIT_TASKS["pen"]


class OldEnv:
    """An environment as gym had them before Gymnasium.

    Args:
        limit: steps of an episode; ``early``: end it where a pen has dropped, as D4RL does.
    """

    def __init__(self, env: gymnasium.Env, *, limit: int, early: bool) -> None:
        self._env, self._seed, self._change = env, None, lambda observation: observation
        self._early, self._steps = early, 0
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self._max_episode_steps = limit
        self.ref_min_score = PEN.d4rl_reference.min

    def seed(self, seed: int) -> None:
        self._seed = seed

    def reset(self) -> np.ndarray:
        seed, self._seed, self._steps = self._seed, None, 0
        return self._change(self._env.reset(seed=seed)[0])

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self._env.step(action)
        self._steps += 1
        dropped = self._early and observation[PEN_HEIGHT] < PEN_DROPPED
        done = terminated or truncated or dropped or self._steps == self._max_episode_steps
        return self._change(observation), float(reward), bool(done), {**info, GOAL: bool(info["success"])}

    def get_normalized_score(self, episode_return: float) -> float:
        return float(PEN.d4rl_reference.score(np.asarray(episode_return))) / 100.0

    def changed(self, change: Any) -> OldEnv:
        """The same, whose observations are changed so."""
        self._change = change
        return self


class Log:
    """Stands for Weights & Biases: evaluations, by the updates until then."""

    def __init__(self, offline: int) -> None:
        self.rows: list[dict[str, float]] = []
        self._offline = offline

    def log(self, values: dict[str, float], step: int) -> None:
        if "eval/d4rl_normalized_score" in values:
            row = {name.removeprefix("eval/"): float(value) for name, value in values.items()}
            self.rows.append({"step": step, "env_step": max(step - self._offline, 0), **row})
            print(self.rows[-1], flush=True)


def columns(dataset: agents.OfflineDataset) -> dict[str, np.ndarray]:
    """The steps as ``d4rl.qlearning_dataset`` has them."""
    steps = dataset.replay_buffer(1, keys=DEFAULT_KEYS)[:]
    following = steps["next"]
    return {
        "observations": steps["observation"].numpy(),
        "actions": steps["action"].numpy(),
        "next_observations": following["observation"].numpy(),
        "rewards": following["reward"].flatten().numpy(),
        "terminals": following["terminated"].flatten().numpy(),
    }


def run(corl: Path, algorithm: str, dataset: agents.OfflineDataset, **settings: Any) -> list[dict[str, float]]:
    """Both phases by CORL's code; its evaluations."""
    log = Log(settings["offline_iterations"])
    stand_ins = {name: MagicMock() for name in ("d4rl", "gym", "pyrallis", "wandb")}
    env = dataset.make_env()
    limits = [(env.spec.max_episode_steps, False), (PEN.d4rl_horizon, True)]  # to learn in, and to be evaluated in

    def make(_: str) -> OldEnv:
        limit, early = limits.pop(0)
        return OldEnv(env.make(), limit=limit or 200, early=early)

    stand_ins["gym"].make = make
    stand_ins["gym"].wrappers.TransformObservation = OldEnv.changed
    stand_ins["d4rl"].qlearning_dataset.return_value = columns(dataset)
    stand_ins["pyrallis"].wrap.return_value = lambda train: train
    stand_ins["wandb"].log = log.log
    sys.modules.update(stand_ins)
    sys.path.insert(0, str(corl))
    module = importlib.import_module(f"algorithms.finetune.{algorithm}")
    theirs = yaml.safe_load((corl / "configs" / "finetune" / algorithm / "pen" / "cloned_v1.yaml").read_text())
    known = inspect.signature(module.TrainConfig).parameters
    config = {name: number_of(value) for name, value in {**theirs, **settings}.items() if name in known}
    module.train(module.TrainConfig(**config))
    return log.rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corl", type=Path, help="a checkout of corl-team/CORL")
    parser.add_argument("--algorithm", choices=ALGORITHMS, default="iql")
    parser.add_argument("--dataset", default="demo/pen/mixed-v1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--offline", type=int, default=20_000, help="updates from the data")
    parser.add_argument("--online", type=int, default=100_000, help="steps in the environment, with an update each")
    parser.add_argument("--every", type=int, default=5_000, help="updates between evaluations")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = agents.load_dataset(options.dataset)
    settings = {
        "env": "pen-cloned-v1",
        "device": "cpu",
        "seed": options.seed,
        "offline_iterations": options.offline,
        "online_iterations": options.online,
        "eval_freq": options.every,
        "n_episodes": options.episodes,
        "buffer_size": len(dataset) + options.online,
    }
    rows = run(options.corl, options.algorithm, dataset, **settings)
    if options.results is not None:
        options.results.write_text(json.dumps({**settings, "algorithm": options.algorithm, "rows": rows}, indent=1))
    names = [*dict.fromkeys(name for row in rows for name in row)]
    writer = csv.DictWriter(sys.stdout, names, restval="")
    writer.writeheader()
    writer.writerows(rows)


if __name__ == "__main__":
    main()
