"""W&B's client, and questions to its server."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from agents.errors import AgentsError, ConfigError, one_line

Answer = TypeVar("Answer")
PATIENCE = 20  # seconds to wait for an answer of W&B's server
QUIET = {
    "WANDB_ERROR_REPORTING": "false",  # statistics of its use that it sends to its makers, from offline runs as well
    "WANDB_SILENT": "true",  # else it asks the server for the user's name, to say it, and waits for the answer
    "WANDB_DISABLE_WEAVE": "true",  # a tracer of language models that it advertises to any package named agents
}


def wandb_client() -> Any:
    """The ``wandb`` module, told to send nothing of its own accord."""
    for variable, value in QUIET.items():
        os.environ.setdefault(variable, value)
    import wandb

    _leave_launch_alone(wandb.Run)
    return wandb


@functools.cache
def _leave_launch_alone(run_type: Any) -> None:
    """Have runs not look for inputs of W&B's job launcher where nobody has loaded it, so that there are none.

    To look, each run would load it, and beside all that torch has loaded that takes a second of processor time.
    """
    name = "_detect_and_apply_job_inputs"
    if (apply_inputs := getattr(run_type, name, None)) is not None:
        setattr(run_type, name, lambda run: apply_inputs(run) if "wandb.sdk.launch" in sys.modules else None)


def query(question: Callable[[], Answer]) -> Answer:
    """The answer of W&B's server; a ConfigError of one line if it refuses, or cannot be reached."""
    try:
        return question()
    except AgentsError:
        raise
    except (wandb_client().errors.Error, OSError, ValueError, RuntimeError) as error:
        hint = "see `wandb status`, or try again later"
        raise ConfigError(f"W&B does not answer as hoped: {one_line(error)}; {hint}") from error
