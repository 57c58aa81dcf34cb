"""The check of a loss and a policy, which may be anybody's, on a batch of the data that they are to learn from."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule
from torch import nn

from agents.errors import ConfigError, one_line
from agents.training.compilation import LossAndGradients, place


def check_loss(function: LossAndGradients, batch: TensorDictBase) -> None:
    """See :meth:`agents.Agent.check`."""
    loss = function.loss_module
    before = {*loss.state_dict()}
    with _by_name(loss, batch), function.undone():
        function.eager(batch)
    if late := sorted({*loss.state_dict()} - before):
        problem = f"{type(loss).__name__} makes {', '.join(late)} at its first call"
        raise ConfigError(f"{problem}, so no saved run could be loaded: make them in build, before Agent(...)")


def check_policy(policy: TensorDictModule, batch: TensorDictBase) -> None:
    """See :meth:`agents.Agent.check`; a policy that remembers the episode is left to its evaluation."""
    if list(policy.in_keys) == ["observation"] and batch.batch_dims == 1:
        with _by_name(policy, batch), torch.random.fork_rng(), torch.no_grad():
            action = copy.deepcopy(policy).eval()(batch.select("observation")).get("action", None)
        expected = batch["action"].shape
        if action is None or action.shape != expected:
            got = "none" if action is None else f"{list(action.shape)}"
            raise ConfigError(f"the policy is to give the entry 'action' {list(expected)} of a batch, got {got}")


@contextmanager
def _by_name(module: nn.Module, batch: TensorDictBase) -> Iterator[None]:
    """Around a call of a stranger's module: any error is a line with what is missing, or where it arose."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        there = {*batch.keys(True, True)}
        keys: Any = getattr(module, "in_keys", ())
        missing = [key for key in keys if key not in there]
        name = type(module).__name__
        text = f"{name} fails on a batch of these data ({type(error).__name__}: {one_line(error)}{place(error)})"
        if missing:
            text += f"; it reads {', '.join(map(repr, missing))}, which the batch has not"
        raise ConfigError(text) from error
