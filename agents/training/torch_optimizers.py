"""Torch's own optimizers and schedulers by name, for those who want another than Adam and a half cosine."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn, optim

from agents.errors import ConfigError, one_line
from agents.training.adam import AdamConfig


def make_optimizer(parameters: Sequence[nn.Parameter], config: AdamConfig) -> optim.Optimizer | None:
    """The optimizer of a group; None: Adam.

    Raises:
        ConfigError: torch has none of this name, it does not take the arguments, or it evaluates the loss on its own.
    """
    settings = config.torch_optimizer
    if not settings:
        return None
    kind = _find(optim, optim.Optimizer, "torch_optimizer", settings)
    if inspect.signature(kind.step).parameters["closure"].default is inspect.Parameter.empty:
        raise ConfigError(f"torch_optimizer {settings['name']} evaluates the loss on its own; choose another")
    arguments = {"lr": config.lr, "weight_decay": config.weight_decay, **_arguments(settings)}
    if "weight_decay" not in inspect.signature(kind).parameters and not config.weight_decay:
        del arguments["weight_decay"]
    return _make(kind, "torch_optimizer", parameters, **arguments)


class Schedule:
    """The rates of a scheduler of torch's, which depend on the number of updates alone."""

    def __init__(self, config: AdamConfig) -> None:
        self._config = config
        self._rates: dict[int, float] = {}
        self._start()

    def rate(self, num_updates: int) -> float:
        """Learning rate of the update that follows ``num_updates`` others; a resumed run steps through those before."""
        if num_updates not in self._rates and num_updates < self._num_steps:
            self._start()
        while self._num_steps < num_updates:
            self._optimizer.step()
            try:
                self._scheduler.step()
            except (ValueError, ArithmeticError) as error:  # OneCycleLR has an end, a step_size of 0 none
                name = f"{type(self._scheduler).__name__}, after {self._num_steps} updates"
                raise ConfigError(f"torch_scheduler {name}: {one_line(error)}") from error
            self._num_steps += 1
            self._note()
        return self._rates[num_updates]

    def _start(self) -> None:
        settings: Any = self._config.torch_scheduler
        kind = _find(optim.lr_scheduler, optim.lr_scheduler.LRScheduler, "torch_scheduler", settings)
        self._optimizer = optim.SGD([nn.Parameter(torch.zeros(()))], lr=self._config.lr)
        self._scheduler = _make(kind, "torch_scheduler", self._optimizer, **_arguments(settings))
        if "metrics" in inspect.signature(kind.step).parameters:
            raise ConfigError(f"torch_scheduler {settings['name']} waits for a metric; choose one that counts updates")
        self._num_steps = 0
        self._note()

    def _note(self) -> None:
        self._rates[self._num_steps] = float(self._optimizer.param_groups[0]["lr"])
        self._rates.pop(self._num_steps - 1000, None)  # the last ones may be asked for again


def tensors_of(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state of a parameter as a file can hold it; some optimizers have None for what they do not use."""
    return {name: torch.as_tensor(value) for name, value in state.items() if value is not None}


def _arguments(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "name"}


def _find(module: Any, base: type, setting: str, settings: Mapping[str, Any]) -> Any:
    names = [name for name, kind in vars(module).items() if inspect.isclass(kind) and issubclass(kind, base)]
    if settings["name"] not in names or settings["name"] == base.__name__:
        choices = ", ".join(sorted(name for name in names if name != base.__name__ and name[0] != "_"))
        raise ConfigError(f"{setting}: torch has no {settings['name']}; choose from {choices}")
    return getattr(module, settings["name"])


def _make(kind: Any, setting: str, *args: Any, **settings: Any) -> Any:
    try:
        return kind(*args, **settings)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{setting} {kind.__name__}: {one_line(error)}") from error
