"""How the updates of a run are computed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Generator

from agents.errors import ConfigError
from agents.training.agent import Agent
from agents.training.cuda_graphs import GraphedUpdates
from agents.training.precision import choose_matmul_precision
from agents.training.stack import AgentStack
from agents.training.threads import choose_num_threads
from recipes.runs.process import Stopwatch
from recipes.settings.schema import TrainConfig

GRAPHED_AT_ONCE = 100  # updates on a GPU between two looks at Ctrl-C and the progress bar


def speed_up(
    agent: Agent | AgentStack, example: TensorDictBase, config: TrainConfig, *, before: Mapping[str, Any]
) -> dict[str, Any]:
    """Choose how updates are computed, in one line for the user; returns what ``run.json`` keeps, as it is in force.

    Args:
        example: a batch, to be measured with.
        before: what an earlier part of the run chose: it is taken again, since another way rounds differently.
    """
    ways = {"compile": config.compile, "matmul_precision": config.matmul_precision}
    ways = {name: before.get(name, way) if way == "auto" else way for name, way in ways.items()}
    several = num_threads = torch.get_num_threads()
    if agent.device.type == "cpu" and ("num_threads" in before or not before):  # runs of earlier versions have no note
        num_threads = choose_num_threads(before.get("num_threads"))
    matmul_precision = choose_matmul_precision(ways["matmul_precision"], agent.device)
    dtype = getattr(torch, config.precision)
    try:
        compilation = agent.compile(example, ways["compile"], dtype=dtype)
    except ConfigError as error:
        if config.compile != "auto":
            raise
        print(f"warning: {error}; the run goes on with other rounding errors", file=sys.stderr)
        compilation = agent.compile(example, "auto", dtype=dtype)
    alone = ", one thread, since others are at work on these cores" if num_threads < several else ""
    print(f"{compilation}, {config.precision}, matmul_precision={matmul_precision}{alone}")
    return {"compile": compilation.mode, "matmul_precision": matmul_precision, "num_threads": num_threads}


def updates(
    agent: Agent | AgentStack,
    sample: Callable[[], TensorDictBase],
    config: TrainConfig,
    clock: Stopwatch,
    *,
    generators: Sequence[Generator],
) -> Iterator[tuple[int, TensorDictBase]]:
    """Make the updates of a run that are left; yields steps, counted from 1, and what their updates returned.

    On a CPU that is every step. On a GPU most updates are made by CUDA graphs, which have to know the generators that
    ``sample`` and stacked agents draw from, and a step is yielded when something is to be done after it.
    """
    sample, step = clock("sample")(sample), agent.num_updates
    capturable = agent.device.type == "cuda" and not any(agent.rule.optimizer.others)
    graphed = GraphedUpdates(agent, sample, generators=generators) if capturable else None
    while step < config.gradient_steps:
        stop = step + 1 if graphed is None else next_stop(step, config)
        with clock("update"):
            losses = agent.update(sample()) if graphed is None else graphed(stop - step)
        step = stop
        yield step, losses


def next_stop(step: int, config: TrainConfig) -> int:
    """The next step after which something is to be done, or looked at."""
    eval_every = config.eval_every
    periods = (config.log_every, eval_every, config.checkpoint_every or eval_every, config.estimate_every or eval_every)
    return min(step + GRAPHED_AT_ONCE, config.gradient_steps, *(step - step % period + period for period in periods))
