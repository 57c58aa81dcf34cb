"""What ``throughput.py`` measures: one function per contestant, ours and others', and the data they share.

The shapes are Adroit's pen: 45 observations, 24 actions.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import logging
import multiprocessing
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torchrl.data import Bounded, Categorical, TensorDictReplayBuffer, Unbounded

import agents
import references
from agents import metrics
from agents.data.layout import Layout
from agents.environments.adroit import ADROIT_TASKS
from agents.training.compilation import LossAndGradients
from agents.training.cuda_graphs import GraphedUpdates
from agents.training.generators import random_generator
from agents.training.stack import AgentStack
from recipes.runs.metrics_log import CsvLog
from references import BATCH_SIZE

NUM_OBSERVATIONS, NUM_ACTIONS, NUM_ROWS, NUM_STEPS = 45, 24, 100_000, 200  # the last one: of an episode
EPISODES_PER_ENV = 2  # in each round
STAGES = ("sample", "loss", "backward", "loss and backward, compiled", "optimizer", "target", "log")
NUM_SEEDS = {"cpu": os.cpu_count() or 1, "cuda": 16}  # trained at once

Sample = Callable[[], TensorDict]
Run = Callable[[int], dict[str, float]]  # number of updates -> seconds per update, or per environment step, of each row


@dataclass(frozen=True)
class Contestant:
    """What runs in every round, and the matmul precision it runs with: a global setting of torch."""

    measure: Run
    precision: str  # highest, high or medium

    def run(self, num_updates: int) -> dict[str, float]:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(self.precision)
        try:
            return self.measure(num_updates)
        finally:
            torch.set_float32_matmul_precision(before)


@dataclass(frozen=True)
class Setup:
    """What all contestants share."""

    device: torch.device
    num_threads: int  # of torch
    num_envs: int  # of an evaluation
    precision: str  # of our own contestants
    compile: str = "inductor"  # mode of the compiled ones

    @property
    def dataset(self) -> agents.OfflineDataset:
        return random_dataset(self.device)

    def dataset_of(self, algorithm: str) -> agents.OfflineDataset:
        """The same, or one with discrete actions where the algorithm learns from those."""
        return random_dataset(self.device, discrete=agents.ALGORITHMS[algorithm].actions == "discrete")

    def transitions(self) -> TensorDict:
        """Every row of the dataset, ``[N]``."""
        return self.dataset.replay_buffer(BATCH_SIZE)[:]

    def agent(self, algorithm: str) -> agents.Agent:
        """An agent with the defaults of its config."""
        torch.manual_seed(0)
        return agents.ALGORITHMS[algorithm]().build(self.dataset_of(algorithm).specs, device=self.device)


@functools.cache
def random_dataset(device: torch.device, *, discrete: bool = False) -> agents.OfflineDataset:
    """Transitions of the right shapes: what they hold changes no timing."""
    layout = Layout((None,) * NUM_OBSERVATIONS, 1 if discrete else NUM_ACTIONS, discrete, discrete)
    generator, num_episodes = torch.Generator().manual_seed(0), NUM_ROWS // NUM_STEPS
    rows = torch.randn(NUM_ROWS + num_episodes, layout.num_columns, generator=generator)
    _, action, _, terminated = rows.split(layout.widths, -1)
    if discrete:
        action.random_(NUM_ACTIONS, generator=generator)
    else:
        action.uniform_(-1.0, 1.0, generator=generator)
    terminated.bernoulli_(0.01, generator=generator)
    return agents.OfflineDataset(
        id="random",
        layout=layout,
        rows=rows.to(device),
        specs=agents.Specs(
            observation=Unbounded((NUM_OBSERVATIONS,)),
            action=Categorical(NUM_ACTIONS) if discrete else Bounded(-1.0, 1.0, (NUM_ACTIONS,)),
            observation_mean=torch.zeros(NUM_OBSERVATIONS),
            observation_std=torch.ones(NUM_OBSERVATIONS),
            max_return=0.0,
        ),
        statistics=SimpleNamespace(  # of episodes, all that a replay buffer asks for
            lengths=np.full(num_episodes, NUM_STEPS), returns=np.arange(num_episodes), num_steps=NUM_ROWS
        ),
        reference=None,
        env_spec=None,
        fingerprint="",
        device=device,
    )


class Clock:
    """Wall time per stage in seconds; waits for the device at both ends of a stage."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self._wait()
        start = time.perf_counter()
        yield
        self._wait()
        self.seconds[stage] += time.perf_counter() - start

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def known_contestants() -> dict[str, Callable[[Setup], Contestant]]:
    """Every contestant by its name, not built yet, in the order of the table."""
    known: dict[str, Callable[[Setup], Contestant]] = {
        "plain": lambda setup: plain("plain", setup, precision="highest"),  # torch's default
        "plain_medium": lambda setup: plain("plain_medium", setup, precision="medium"),
        "torchrl": lambda setup: in_own_process(torchrl, setup),
        "d3rlpy": lambda setup: in_own_process(d3rlpy, setup),
    }
    for name in agents.ALGORITHMS:
        known[name] = lambda setup, name=name: ours(name, setup)
        known[f"{name}_compiled"] = lambda setup, name=name: ours(name, setup, compile=setup.compile)
    return {**known, "iql_seeds": seeds, "stages": stages, "evaluate": evaluation}


def ours(algorithm: str, setup: Setup, *, compile: str = "off", batch_size: int = BATCH_SIZE) -> Contestant:
    """An algorithm with the defaults of its config; compiled on a GPU, it runs as CUDA graphs too, as in the recipe."""
    agent = setup.agent(algorithm)
    buffer = replay_buffer(setup.dataset_of(algorithm), agent, batch_size)
    compilation = agent.compile(buffer.sample(), compile)
    row = algorithm if compile == "off" else f"{algorithm}_compiled"
    if compile != "off":
        print(f"{algorithm}: {compilation}", file=sys.stderr)
    if compile != "off" and setup.device.type == "cuda":
        return Contestant(graphed(row, agent, buffer.sample, [buffer._rng], setup), setup.precision)
    return Contestant(in_one_block(row, lambda: agent.update(buffer.sample()), setup.device), setup.precision)


def replay_buffer(
    dataset: agents.OfflineDataset, agent: agents.Agent, batch_size: int = BATCH_SIZE
) -> TensorDictReplayBuffer:
    """Batches of so many transitions, at most, also where an agent wants them in windows."""
    return dataset.replay_buffer(max(batch_size // (agent.sampling.context_length or 1), 1), **agent.sampling)


def graphed(row: str, agent: agents.Agent, sample: Sample, generators: list[torch.Generator], setup: Setup) -> Run:
    updates = GraphedUpdates(agent, sample, generators=generators)

    def run(num_updates: int) -> dict[str, float]:
        clock = Clock(setup.device)
        with clock(row):
            updates(num_updates)
        if updates.problem:
            print(f"{row}: {updates.problem}", file=sys.stderr)
        return {row: clock.seconds[row] / num_updates}

    return run


def seeds(setup: Setup) -> Contestant:
    """Several seeds at once, the time per update of any of them: a process per core, or stacked on a GPU."""
    num_seeds = NUM_SEEDS[setup.device.type]
    if setup.device.type == "cuda":
        parts, generators = zip(*((setup.agent("iql"), random_generator(setup.device)) for _ in range(num_seeds)))
        stack = AgentStack(parts, generators)
        buffers = [setup.dataset.replay_buffer(BATCH_SIZE, seed=seed) for seed in range(num_seeds)]

        def sample() -> TensorDict:
            return torch.stack([buffer.sample() for buffer in buffers])

        print(f"{num_seeds} seeds: {stack.compile(sample(), setup.compile)}", file=sys.stderr)
        run_all = graphed("iql_seeds", stack, sample, [*generators, *(buffer._rng for buffer in buffers)], setup)
        per_update = lambda num_updates: {name: t / num_seeds for name, t in run_all(num_updates).items()}  # noqa: E731
        return Contestant(per_update, setup.precision)
    alone = dataclasses.replace(setup, num_threads=1)
    processes = [in_own_process(one_seed, alone) for _ in range(num_seeds)]

    def run(num_updates: int) -> dict[str, float]:
        with concurrent.futures.ThreadPoolExecutor(num_seeds) as pool:
            clock = Clock(setup.device)
            with clock("all"):
                list(pool.map(lambda process: process.measure(num_updates), processes))
        return {"iql_seeds": clock.seconds["all"] / (num_updates * num_seeds)}

    return Contestant(run, setup.precision)


def one_seed(setup: Setup) -> Contestant:
    torch.set_float32_matmul_precision(setup.precision)
    return ours("iql", setup, compile=setup.compile)


def difference(algorithm: str, setup: Setup, *, num_updates: int = 100) -> float:
    """Largest difference, relative above 1, of a loss or parameter between compiled updates and eager ones.

    On a GPU the compiled ones are CUDA graphs, as in the recipe.
    """
    results = []
    for compile in ("off", setup.compile):
        agent, dataset = setup.agent(algorithm), setup.dataset_of(algorithm)
        buffer = replay_buffer(dataset, agent)
        agent.compile(replay_buffer(dataset, agent).sample(), compile)
        torch.manual_seed(0)
        if compile != "off" and setup.device.type == "cuda":
            losses = GraphedUpdates(agent, buffer.sample, generators=[buffer._rng])(num_updates)
        else:
            for _ in range(num_updates):
                losses = agent.update(buffer.sample())
        results.append([*losses.values(), *agent.loss_module.parameters()])
    return max(((mine - other).abs() / other.abs().clamp_min(1.0)).max().item() for mine, other in zip(*results))


def plain(row: str, setup: Setup, *, precision: str) -> Contestant:
    iql = references.PlainIQL(NUM_OBSERVATIONS, NUM_ACTIONS, device=setup.device)
    sample = references.plain_sampler(setup.transitions())
    return Contestant(in_one_block(row, lambda: iql.update(*sample()), setup.device), precision)


def torchrl(setup: Setup) -> Contestant:
    logging.getLogger("torchrl").setLevel(logging.WARNING)  # its notices would stand among the lines of the table
    iql = references.TorchRLIQL(NUM_OBSERVATIONS, NUM_ACTIONS, device=setup.device)
    sample = references.torchrl_sampler(setup.transitions(), setup.device)
    run = in_one_block("torchrl", lambda: iql.update(sample()), setup.device)
    return Contestant(run, precision="high")  # as TorchRL's recipe sets it


def d3rlpy(setup: Setup) -> Contestant:
    update = references.d3rlpy_update(setup.transitions(), setup.device)
    return Contestant(in_one_block("d3rlpy", update, setup.device), precision="highest")  # torch's default


def in_own_process(make: Callable[[Setup], Contestant], setup: Setup) -> Contestant:
    """A contestant that shares the machine with the others, but no process.

    The threads that TorchRL's replay buffer prefetches with have OpenMP threads of their own. As soon as there are more
    of those in a process than cores, OpenMP stops spinning between loops, and with two threads every update in that
    process takes up to twice as long, whoever wrote it.
    """
    context = multiprocessing.get_context("spawn")  # OpenMP and CUDA do not survive a fork
    here, there = context.Pipe()
    context.Process(target=serve, args=(there, make, setup), daemon=True).start()
    there.close()  # so that its end is noticed
    precision = here.recv()

    def run(num_updates: int) -> dict[str, float]:
        here.send(num_updates)
        return here.recv()

    return Contestant(run, precision)


def serve(connection: Connection, make: Callable[[Setup], Contestant], setup: Setup) -> None:
    """The other end: the contestant's precision, then measurements for numbers of updates until nobody asks."""
    torch.set_num_threads(setup.num_threads)
    with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(EOFError, KeyboardInterrupt):
        contestant = make(setup)
        connection.send(contestant.precision)
        while True:
            connection.send(contestant.run(connection.recv()))


def in_one_block(row: str, update: Callable[[], object], device: torch.device) -> Run:
    """Updates timed as a whole, so that a device is waited for once."""

    def run(num_updates: int) -> dict[str, float]:
        clock = Clock(device)
        with clock(row):
            for _ in range(num_updates):
                update()
        return {row: clock.seconds[row] / num_updates}

    return run


def stages(setup: Setup) -> Contestant:
    """An eager IQL update taken apart, and what a log point adds; on a GPU, waiting after each stage costs time too."""
    agent, buffer = setup.agent("iql"), setup.dataset.replay_buffer(BATCH_SIZE)
    trained = [p for p in agent.loss_module.parameters() if p.requires_grad]
    compiled = LossAndGradients(agent.loss_module, trained)
    compiled.compile(buffer.sample(), setup.compile)

    def run(num_updates: int) -> dict[str, float]:
        clock = Clock(setup.device)
        with tempfile.TemporaryDirectory() as folder:
            log = CsvLog(Path(folder, "metrics.csv"))
            for step in range(1, num_updates + 1):
                with clock("sample"):
                    batch = buffer.sample()
                with clock("loss"):
                    losses = agent.loss_module(batch)
                    total = sum(loss for name, loss in losses.items() if name.startswith("loss_"))
                with clock("backward"):
                    gradients = torch.autograd.grad(total, trained)
                with clock("loss and backward, compiled"):
                    compiled(batch)
                with clock("optimizer"):
                    agent.rule.optimizer.apply(trained, gradients, agent.rule.rates(step))
                with clock("target"):
                    agent.rule.target_net_updater.step()
                with clock("log"):
                    log.write(step, metrics.training(losses.detach(), agent.learning_rates))
        return {f"iql/{stage}": clock.seconds[stage] / num_updates for stage in STAGES}

    return Contestant(run, setup.precision)


def evaluation(setup: Setup) -> Contestant:
    """The same episodes of the pen through :func:`agents.evaluate` and through a bare loop, whatever the updates."""
    policy = setup.agent("iql").policy.cpu()
    env = agents.EvaluationEnv(ADROIT_TASKS["pen"].env_id, num_envs=setup.num_envs)
    bare_env = env.make()
    num_episodes = EPISODES_PER_ENV * setup.num_envs

    def run(_: int) -> dict[str, float]:
        clock = Clock(setup.device)
        with clock("evaluate"):
            num_steps = int(agents.evaluate(policy, env, num_episodes).lengths.sum())
        with clock("bare_loop"):
            num_bare_steps = bare_loop(policy, bare_env, num_episodes)
        return {
            "bare_loop": clock.seconds["bare_loop"] / num_bare_steps,
            "evaluate": clock.seconds["evaluate"] / num_steps,
        }

    return Contestant(run, setup.precision)


@torch.no_grad()
def bare_loop(policy: TensorDictModule, env: gym.Env, num_episodes: int) -> int:
    """How one evaluates a policy in plain PyTorch; returns the number of steps."""
    num_steps = 0
    for episode in range(num_episodes):
        observation, _ = env.reset(seed=episode)
        ended = False
        while not ended:
            action = policy.module(torch.as_tensor(observation, dtype=torch.float32)[None])
            observation, _, terminated, truncated, _ = env.step(action[0].numpy())
            ended = terminated or truncated
            num_steps += 1
    return num_steps
