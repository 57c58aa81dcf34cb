"""How an update of IQL grows: with the batch, the networks' width, the observation and the data; and every floor.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --only td3_bc cql     these algorithms alone, which nothing is written of
    python benchmarks/scaling.py --figure              the figure, from the results

The floor of an update is the time of its matrix products alone, each at its own shape and layout, one after the other,
into memory that is there: of those that are in its trace, so of the forward passes and of the backward passes without
the gradient of what comes in. Attention is no product here. Update and floor take turns, and a share is that of two
times of one round. The data are random. Prints Markdown, and writes results/scaling.json and results/scaling.png.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

import agents
import contestants
from agents.training.precision import choose_matmul_precision
from recipes.runs.versions import versions

RESULTS = Path(__file__).parent / "results" / "scaling.json"
CPU = torch.device("cpu")
PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.bmm.default)


@dataclass(frozen=True)
class Size:
    """Of everything that an update grows with."""

    algorithm: str = "iql"
    batch: int = 256
    width: int | None = 256  # None: the algorithm's own networks
    observation: int = 45
    rows: int = 100_000
    storage: str = "memory"


SIZES = (
    Size(),
    *(Size(batch=batch) for batch in (512, 1024, 2048, 4096)),
    *(Size(width=width) for width in (512, 1024)),
    *(Size(observation=observation) for observation in (180, 720)),
    *(Size(rows=1_000_000, storage=storage) for storage in ("memory", "memmap")),
    *(Size(algorithm=name, width=None) for name in agents.ALGORITHMS if name != "iql"),
)


def products(agent: agents.Agent, batch: TensorDict) -> Iterator[tuple[Tensor, Tensor]]:
    """The two sides of each product of a period of updates, as its trace has their shapes and layouts."""
    rule = agent.rule
    for step in range(1, rule.period + 1):
        graph = rule.function(rule.due(step)).trace(batch).graph
        for node in graph.graph.nodes:
            if node.target in PRODUCTS:
                left, right = (side.meta["val"] for side in node.args)
                yield laid_out_as(left), laid_out_as(right)


def laid_out_as(tensor: Tensor) -> Tensor:
    size = 1 + sum((length - 1) * stride for length, stride in zip(tensor.shape, tensor.stride()))
    return torch.randn(size).as_strided(tensor.shape, tensor.stride())


def floor(pairs: Sequence[tuple[Tensor, Tensor]]) -> Callable[[], None]:
    """Makes products."""
    outs = [torch.matmul(left, right) for left, right in pairs]

    def run() -> None:
        for (left, right), out in zip(pairs, outs):
            torch.matmul(left, right, out=out)

    return run


def make(size: Size, folder: Path) -> tuple[agents.Agent, contestants.TensorDictReplayBuffer]:
    """An agent, and what it learns from."""
    contestants.NUM_OBSERVATIONS, contestants.NUM_ROWS = size.observation, size.rows
    contestants.random_dataset.cache_clear()
    info = agents.ALGORITHMS[size.algorithm]
    dataset = contestants.random_dataset(CPU, discrete=info.actions == "discrete")
    if size.storage == "memmap":
        dataset = on_disk(dataset, folder / "rows")
    config: Any = info()
    if size.width is not None:
        networks = ("actor", "qvalue", "value")
        hidden = [size.width, size.width]
        wide = {name: dataclasses.replace(getattr(config, name), hidden_sizes=hidden) for name in networks}
        config = dataclasses.replace(config, **wide)
    agent = config.build(dataset.specs)
    return agent, contestants.replay_buffer(dataset, agent, size.batch)


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
        agent, buffer = make(size, Path(folder))
        pairs, period = list(products(agent, buffer.sample())), agent.rule.period
        agent.compile(buffer.sample(), "inductor")

        def update() -> None:
            for _ in range(period):
                agent.update(buffer.sample())

        contestant = {"update": update, "floor": floor(pairs)}
        for run in contestant.values():
            seconds(run, 5)
        number = max(3, round(length / seconds(update, 3)))
        times: dict[str, list[float]] = {name: [] for name in contestant}
        for index in range(rounds):
            for name in ("update", "floor") if index % 2 else ("floor", "update"):
                times[name].append(seconds(contestant[name], number) / period)
    shares = [products / whole for products, whole in zip(times["floor"], times["update"])]
    flop = sum(2 * left.numel() * right.shape[-1] for left, right in pairs) / period
    return {
        **dataclasses.asdict(size),
        "gflop": 1e-9 * flop,
        "ms": 1e3 * statistics.median(times["update"]),
        "floor_share": [statistics.median(shares), min(shares), max(shares)],
    }


def draw(rows: Sequence[dict[str, Any]]) -> None:
    """Milliseconds of an update of IQL and of its floor, along each of the sizes."""
    figure, axes = plt.subplots(1, 3, figsize=(9, 3), sharey=True, layout="constrained")
    usual = dataclasses.asdict(SIZES[0])
    for axis, name in zip(axes, ("batch", "width", "observation")):
        others = {key: value for key, value in usual.items() if key != name}
        own = sorted((row for row in rows if others.items() <= row.items()), key=lambda row: row[name])
        sizes, times = [row[name] for row in own], np.array([row["ms"] for row in own])
        axis.loglog(sizes, times, "ko-", label="an update")
        axis.loglog(sizes, times * [row["floor_share"][0] for row in own], "o--", color="0.5", label="its products")
        axis.set_xlabel(name)
        axis.set_xticks(sizes, [f"{size}" for size in sizes])
        axis.minorticks_off()
    axes[0].set_ylabel("ms")
    axes[0].set_yticks([5, 10, 20, 50], ["5", "10", "20", "50"])
    axes[0].legend(frameon=False)
    figure.savefig(RESULTS.with_suffix(".png"), dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--length", type=float, default=1.0, help="seconds of a round")
    parser.add_argument("--only", nargs="+", choices=agents.ALGORITHMS, metavar="NAME", help="algorithms")
    parser.add_argument("--figure", action="store_true", help="draw what was measured before")
    arguments = parser.parse_args()
    if arguments.figure:
        return draw(json.loads(RESULTS.read_text())["rows"])
    precision = choose_matmul_precision("auto", CPU)
    print(
        "| of | batch | width | observation | rows | from | GFLOP | ms | transitions/s | floor's share |\n"
        + "|---" * 10
        + "|"
    )
    table = []
    for size in SIZES if arguments.only is None else [Size(algorithm=name, width=None) for name in arguments.only]:
        row = measure(size, rounds=arguments.rounds, length=arguments.length)
        table.append(row)
        share = "{:.2f} ({:.2f}-{:.2f})".format(*row["floor_share"])
        sizes = f"{size.algorithm} | {size.batch} | {size.width or 'own'} | {size.observation}"
        data = f"{size.rows:,} | {size.storage}"
        speed = f"{row['gflop']:.2f} | {row['ms']:.2f} | {1e3 * size.batch / row['ms']:,.0f}"
        print(f"| {sizes} | {data} | {speed} | {share} |", flush=True)
    if arguments.only:
        return
    facts = {"threads": torch.get_num_threads(), "matmul_precision": precision, "versions": versions()}
    RESULTS.write_text(json.dumps({**facts, "rows": table}, indent=1) + "\n")
    draw(table)


if __name__ == "__main__":
    main()
