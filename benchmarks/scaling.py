"""How an update of IQL grows: with the batch, the networks' width, the observation and the data; and its floor.

    python benchmarks/scaling.py

The floor of an update is the time of its matrix products alone, each at its own shape, one after the other, into memory
that is there: of the forward passes of the actor, Q, its target and V (twice), and of the backward passes without the
gradient of what comes in. Update and floor take turns, and a share is that of two times of one round. The data are
random. Prints Markdown; all of it is written to results/scaling.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import agents
import contestants
from agents.training.precision import choose_matmul_precision
from recipes.runs.versions import versions

RESULTS = Path(__file__).parent / "results" / "scaling.json"
CPU = torch.device("cpu")
NUM_CRITICS = 2


@dataclass(frozen=True)
class Size:
    """Of everything that an update grows with."""

    batch: int = 256
    width: int = 256
    observation: int = 45
    rows: int = 100_000
    storage: str = "memory"


SIZES = (
    Size(),
    *(Size(batch=batch) for batch in (512, 1024, 2048, 4096)),
    *(Size(width=width) for width in (512, 1024)),
    *(Size(observation=observation) for observation in (180, 720)),
    *(Size(rows=1_000_000, storage=storage) for storage in ("memory", "memmap")),
)


def products(size: Size, num_actions: int) -> Iterator[tuple[int, int, int, int]]:
    """Of an update: how many at once, and the sizes of ``[m, k] @ [k, n]``."""
    networks = (  # at once, inputs, outputs, forward passes, of which one is followed by a backward pass
        (1, size.observation, num_actions, 1),
        (NUM_CRITICS, size.observation + num_actions, 1, 2),
        (1, size.observation, 1, 2),
    )
    for count, inputs, outputs, passes in networks:
        layers = ((inputs, size.width), (size.width, size.width), (size.width, outputs))
        for number, (before, after) in enumerate(layers):
            yield from [(count, size.batch, before, after)] * passes
            yield count, before, size.batch, after  # gradient of the weights
            if number:
                yield count, size.batch, after, before  # of what came in


def floor(size: Size, num_actions: int) -> Callable[[], None]:
    """Makes the products of an update."""
    shapes = list(products(size, num_actions))
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []
    for count, m, k, n in shapes:
        lead = (count,) if count > 1 else ()
        pairs.append((torch.randn(*lead, m, k), torch.randn(*lead, k, n), torch.empty(*lead, m, n)))

    def run() -> None:
        for left, right, out in pairs:
            torch.matmul(left, right, out=out)

    return run


def update(size: Size, folder: Path) -> Callable[[], object]:
    """Samples and learns once."""
    contestants.NUM_OBSERVATIONS, contestants.NUM_ROWS = size.observation, size.rows
    contestants.random_dataset.cache_clear()
    dataset = contestants.random_dataset(CPU)
    if size.storage == "memmap":
        dataset = on_disk(dataset, folder / "rows")
    config = agents.IQLConfig()
    hidden = [size.width, size.width]
    networks = {
        name: dataclasses.replace(getattr(config, name), hidden_sizes=hidden) for name in ("actor", "qvalue", "value")
    }
    agent = dataclasses.replace(config, **networks).build(dataset.specs)
    buffer = dataset.replay_buffer(size.batch)
    agent.compile(buffer.sample(), "inductor")
    return lambda: agent.update(buffer.sample())


def on_disk(dataset: agents.OfflineDataset, path: Path) -> agents.OfflineDataset:
    rows = torch.from_file(str(path), shared=True, size=dataset.rows.numel(), dtype=dataset.rows.dtype)
    rows = rows.view_as(dataset.rows).copy_(dataset.rows)
    return dataclasses.replace(dataset, rows=rows)


def seconds(run: Callable[[], object], number: int) -> float:
    start = time.perf_counter()
    for _ in range(number):
        run()
    return (time.perf_counter() - start) / number


def measure(size: Size, *, rounds: int, length: float) -> dict[str, Any]:
    """Milliseconds of an update, and the floor's share of it: median, lowest and highest.

    Args:
        length: of a round, in seconds.
    """
    with tempfile.TemporaryDirectory() as folder:
        contestant = {"update": update(size, Path(folder)), "floor": floor(size, contestants.NUM_ACTIONS)}
        for run in contestant.values():
            seconds(run, 10)
        number = max(5, round(length / seconds(contestant["update"], 10)))
        times: dict[str, list[float]] = {name: [] for name in contestant}
        for index in range(rounds):
            for name in ("update", "floor") if index % 2 else ("floor", "update"):
                times[name].append(seconds(contestant[name], number))
    shares = [products / whole for products, whole in zip(times["floor"], times["update"])]
    flop = sum(2 * count * m * k * n for count, m, k, n in products(size, contestants.NUM_ACTIONS))
    return {
        **dataclasses.asdict(size),
        "gflop": 1e-9 * flop,
        "ms": 1e3 * statistics.median(times["update"]),
        "floor_share": [statistics.median(shares), min(shares), max(shares)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--length", type=float, default=1.0, help="seconds of a round")
    arguments = parser.parse_args()
    precision = choose_matmul_precision("auto", CPU)
    print(
        "| batch | width | observation | rows | from | GFLOP | ms | transitions/s | floor's share |\n"
        + "|---" * 9
        + "|"
    )
    table = []
    for size in SIZES:
        row = measure(size, rounds=arguments.rounds, length=arguments.length)
        table.append(row)
        share = "{:.2f} ({:.2f}-{:.2f})".format(*row["floor_share"])
        sizes = f"{size.batch} | {size.width} | {size.observation} | {size.rows:,} | {size.storage}"
        speed = f"{row['gflop']:.2f} | {row['ms']:.2f} | {1e3 * size.batch / row['ms']:,.0f}"
        print(f"| {sizes} | {speed} | {share} |", flush=True)
    facts = {"threads": torch.get_num_threads(), "matmul_precision": precision, "versions": versions()}
    RESULTS.write_text(json.dumps({**facts, "rows": table}, indent=1) + "\n")


if __name__ == "__main__":
    main()
