"""How the updates of a run are computed."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import torch
from tensordict import TensorDictBase

from agents.errors import ConfigError
from agents.training.agent import Agent
from agents.training.precision import choose_matmul_precision
from recipes.settings.schema import TrainConfig


def speed_up(
    agent: Agent, example: TensorDictBase, config: TrainConfig, *, before: Mapping[str, str]
) -> dict[str, str]:
    """Choose how updates are computed, in one line for the user.

    Args:
        example: a batch, to be measured with.
        before: what an earlier part of the run chose: it is taken again, since another way rounds differently.

    Returns:
        What ``run.json`` keeps: ``compile`` and ``matmul_precision``, as they are in force.

    Raises:
        ConfigError: if the settings ask for a way that cannot be had here.
    """
    wanted = {"compile": config.compile, "matmul_precision": config.matmul_precision}
    chosen = {name: before.get(name, value) if value == "auto" else value for name, value in wanted.items()}
    matmul_precision = choose_matmul_precision(chosen["matmul_precision"], agent.device)
    dtype = getattr(torch, config.precision)
    try:
        compilation = agent.compile(example, chosen["compile"], dtype=dtype)
    except ConfigError as error:
        if config.compile != "auto":
            raise
        print(f"warning: {error}; the run goes on with other rounding errors", file=sys.stderr)
        compilation = agent.compile(example, "auto", dtype=dtype)
    print(f"{compilation}, {config.precision}, matmul_precision={matmul_precision}")
    return {"compile": compilation.mode, "matmul_precision": matmul_precision}
