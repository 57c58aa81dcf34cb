"""What going on online costs beside its parts: a checkpoint at a million steps, and a step with its update.

    python benchmarks/online_cost.py                 both, a line each
    python benchmarks/online_cost.py --rows 100000   with fewer steps on disk

It writes 468 bytes a step into a temporary folder; name one on the disk that matters by TMPDIR. Times are of the
processor, which other processes do not change, and for what waits for a disk of the clock too.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

import agents
from agents.checkpoint import CheckpointFolder
from agents.online import Collection, Experience, Exploration, MixedBatches, joined

DATASET = "demo/pen/mixed-v1"
PIECE = 5_000  # steps between two checkpoints
CHECKPOINTS = 10
BATCH, STEPS, ROUNDS = 256, 500, 5


@contextmanager
def timed(times: list[tuple[float, float]]) -> Iterator[None]:
    """Note seconds of the clock and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    yield
    times.append((time.perf_counter() - wall, time.process_time() - processor))


def checkpoints(dataset: agents.OfflineDataset, agent: agents.Agent, rows: int, folder: Path) -> None:
    """Checkpoints as a run makes them, each after further steps; and the way back into the file."""
    keys, file, times = agent.sampling["keys"], folder / "experience.f32", []
    capacity = rows + CHECKPOINTS * PIECE
    experience = Experience(file, dataset.layout, capacity=capacity, num_envs=PIECE, keys=keys)
    generator, saved = np.random.default_rng(0), CheckpointFolder(folder / "checkpoints")
    parts = [generator.standard_normal((PIECE, width), np.float32) for width in experience.widths]
    observations, actions, rewards, *_, following = parts
    running = np.zeros((PIECE, 1), np.bool_)
    while experience.length < capacity:
        experience.append(observations, actions, rewards, running, running, following)
        if experience.length > rows:
            with timed(times):
                experience.flush()
                options = {"config": agents.IQLConfig(), "specs": dataset.specs}
                saved.save(agent, is_best=False, extra={"online": {"env_step": experience.length}}, **options)
        else:
            experience.flush()
    wall, processor = (max(column) for column in zip(*times))
    middle = statistics.median(each[0] for each in times)
    print(
        f"checkpoint at {rows:,} steps, {file.stat().st_size / 2**20:,.0f} MiB: {middle:.2f} s by the clock, at most "
        f"{wall:.2f} s, of which the processor {processor:.2f} s"
    )
    experience.close()
    again: list[tuple[float, float]] = []
    with timed(again):
        Experience(file, dataset.layout, capacity=capacity, num_envs=PIECE, keys=keys, length=capacity).close()
    print(f"going back to it: {again[0][0]:.2f} s by the clock, {again[0][1]:.2f} s of the processor")


def speed(dataset: agents.OfflineDataset, agent: agents.Agent, folder: Path) -> None:
    """Milliseconds of the processor for an update, for a step in the environment, and for both together."""
    buffer = dataset.replay_buffer(None, **agent.sampling)
    like = joined([buffer.sample(BATCH)])
    mode = agent.compile(like, "trace")
    with dataset.make_env() as env:
        keys, capacity = agent.sampling["keys"], 3 * STEPS * (ROUNDS + 1)
        experience = Experience(folder / "speed.f32", dataset.layout, capacity=capacity, keys=keys)
        batches = MixedBatches(buffer, experience, like=like, generator=torch.Generator())
        with Collection(env, Exploration(agent, dataset.specs), experience) as collection:

            def both() -> None:
                collection.step()
                agent.update(batches.sample())

            kinds: list[Callable[[], object]] = [lambda: agent.update(buffer.sample(BATCH)), collection.step, both]
            rounds = [[_milliseconds(kind) for kind in kinds] for _ in range(ROUNDS + 1)][1:]
        experience.close()
    update, step, together = (statistics.median(column) for column in zip(*rounds))
    print(
        f"IQL, {mode}: an update {update:.2f} ms, a step in the environment {step:.2f} ms, both {together:.2f} ms: "
        f"{together / (update + step):.2f} times the sum, by the processor"
    )


def _milliseconds(act: Callable[[], object]) -> float:
    begin = time.process_time()
    for _ in range(STEPS):
        act()
    return 1e3 * (time.process_time() - begin) / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    torch.set_num_threads(1)
    dataset = agents.load_dataset(DATASET)
    agent = agents.IQLConfig().build(dataset.specs)
    with tempfile.TemporaryDirectory() as folder:
        speed(dataset, agent, Path(folder))
        checkpoints(dataset, agent, rows, Path(folder))


if __name__ == "__main__":
    main()
