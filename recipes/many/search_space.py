"""Sweep files in W&B's format, and the settings to try next without W&B's server.

The parts of the format that are read here: ``method``, ``metric``, ``run_cap`` and ``parameters``, each with ``value``,
``values``, or ``min`` and ``max`` (``distribution``: uniform, int_uniform, log_uniform_values or q_uniform with ``q``).
The rest, such as ``command`` and ``early_terminate``, is for ``wandb agent``.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from agents.errors import ConfigError, optional_package, require_choice
from recipes.settings.many_runs import METHODS

if TYPE_CHECKING:
    import optuna


Settings = Mapping[str, Any]  # of a trial beside those that all trials share, by the name of the setting
SWEEPS = Path(__file__).parents[1] / "sweeps"
NUM_TRIALS = 20  # where neither the file nor the user says how many; a grid is tried as a whole
PATIENCE = 50  # proposals of settings that were tried already, for each new one, until nothing new is expected
KEYS = ("value", "values", "distribution", "min", "max", "q")
RANGES = ("uniform", "int_uniform", "log_uniform_values", "q_uniform")


@dataclass(frozen=True)
class Sweep:
    """A sweep file."""

    name: str
    method: str  # one of METHODS
    metric: str  # column of evaluations.csv whose last value is compared
    maximize: bool
    parameters: Mapping[str, Mapping[str, Any]]  # W&B's description of each setting's values, by the setting's name
    run_cap: int | None  # trials at most; None: the file does not say
    stops_early: bool  # the file asks W&B to end trials that look hopeless

    @property
    def fixed(self) -> dict[str, Any]:
        """Settings that have one value in all trials."""
        return {name: own[0] for name, its in self.parameters.items() if len(own := _values(its) or []) == 1}

    @property
    def varied(self) -> dict[str, Mapping[str, Any]]:
        """Parameters with more than one value."""
        return {name: parameter for name, parameter in self.parameters.items() if name not in self.fixed}

    def without(self, names: Collection[str]) -> Sweep:
        """The same, the settings of these names left to the user."""
        return replace(self, parameters={name: own for name, own in self.parameters.items() if name not in names})


def read_sweep(path: str | Path) -> Sweep:
    """A sweep file, or the one of this name that comes with the recipes; a ConfigError where it is not understood."""
    path = Path(path)
    if not path.exists() and (SWEEPS / f"{path}.yaml").exists():  # a name, as iql
        path = SWEEPS / f"{path}.yaml"
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read the sweep {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"the sweep {path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not isinstance(content.get("parameters"), dict):
        raise ConfigError(f"the sweep {path} needs a section 'parameters', with the values of each setting")
    metric = content.get("metric")
    if not isinstance(metric, dict) or not isinstance(metric.get("name"), str):
        raise ConfigError(f"the sweep {path} needs a section 'metric', with a name such as eval/d4rl_score and a goal")
    for name, parameter in content["parameters"].items():
        _check_parameter(name, parameter)
    method: Any = "tpe" if content.get("method") == "bayes" else content.get("method")  # as W&B calls it
    goal, run_cap = metric.get("goal", "minimize"), content.get("run_cap")
    require_choice("method", method, METHODS)
    require_choice("metric.goal", goal, ("maximize", "minimize"))
    if run_cap is not None and (not isinstance(run_cap, int) or run_cap < 1):
        raise ConfigError(f"run_cap must be at least 1, got {run_cap}")
    return Sweep(
        name=path.stem,
        method=method,
        metric=metric["name"],
        maximize=goal == "maximize",
        parameters=content["parameters"],
        run_cap=run_cap,
        stops_early="early_terminate" in content,
    )


def make_search(sweep: Sweep, *, num_trials: int | None, batch: int, seed: int) -> Search:
    """The search of a sweep's method; after the same scores in the same order, it proposes the same settings again.

    Args:
        num_trials: at most; None: what the file says, else all of a grid, and :data:`NUM_TRIALS` otherwise.
        batch: settings that TPE proposes before it is told how good they are.
        seed: of random, of TPE, and of the order in which a grid is tried that is cut.
    """
    num_trials = num_trials or sweep.run_cap
    if sweep.method == "grid":
        points = grid(sweep)
        if num_trials is not None and num_trials < len(points):  # cut in order, it would never vary the first parameter
            random.Random(seed).shuffle(points)
        return ListSearch(points[:num_trials])
    return OptunaSearch(sweep, num_trials=num_trials or NUM_TRIALS, batch=batch, seed=seed)


def grid(sweep: Sweep) -> list[Settings]:
    """Every combination of the values, the last parameter changing fastest; a ConfigError if a parameter is a range."""
    if ranges := [name for name, own in sweep.varied.items() if _values(own) is None]:
        raise ConfigError(f"method=grid needs values for {', '.join(ranges)}; use method=random or method=tpe")
    values = [_values(own) or [] for own in sweep.varied.values()]
    return [dict(zip(sweep.varied, point)) for point in itertools.product(*values)]


def extremes(sweep: Sweep) -> list[Settings]:
    """Points at which every value and every bound occurs once."""
    values = {name: _values(own) or [own["min"], own["max"]] for name, own in sweep.varied.items()}
    longest = max(map(len, values.values()))
    return [{name: own[min(index, len(own) - 1)] for name, own in values.items()} for index in range(longest)]


class ListSearch:
    """Settings that are known beforehand, all at once; its methods are those of :class:`OptunaSearch`."""

    def __init__(self, settings: Sequence[Settings]) -> None:
        self._left = [*settings]

    def next(self) -> list[Settings]:
        settings, self._left = self._left, []
        return settings

    def tell(self, settings: Settings, score: float | None) -> None:
        pass


class OptunaSearch:
    """Settings drawn at random, or by Optuna's tree-structured Parzen estimator (TPE) from the scores so far."""

    def __init__(self, sweep: Sweep, *, num_trials: int, batch: int, seed: int) -> None:
        self._left, self._batch = num_trials, num_trials if sweep.method == "random" else batch
        with optional_package("sweep", f"method={sweep.method}"):
            import optuna
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler if sweep.method == "tpe" else optuna.samplers.RandomSampler
        direction = "maximize" if sweep.maximize else "minimize"
        self._study = optuna.create_study(direction=direction, sampler=sampler(seed=seed))
        self._space = {name: _distribution(name, parameter) for name, parameter in sweep.varied.items()}
        self._open: dict[str, Any] = {}  # Optuna's trial of settings that are being tried, by the settings as text
        self._scores: dict[str, float | None] = {}

    def next(self) -> list[Settings]:
        """Settings that can be tried at the same time, none of them twice; nothing at the end."""
        new: list[Settings] = []
        size = min(self._batch, self._left)
        for _ in range(PATIENCE * size):
            if len(new) == size:
                break
            trial = self._study.ask(self._space)
            settings = {name: json.loads(own) if isinstance(own, str) else own for name, own in trial.params.items()}
            key = json.dumps(settings, sort_keys=True)
            if key in self._open or key in self._scores:
                self._finish(trial, self._scores.get(key))
            else:
                self._open[key] = trial
                new.append(settings)
        self._left = self._left - len(new) if new else 0
        return new

    def tell(self, settings: Settings, score: float | None) -> None:
        """How good settings of :meth:`next` were; None if they failed."""
        key = json.dumps(settings, sort_keys=True)
        self._scores[key] = score
        self._finish(self._open.pop(key), score)

    def _finish(self, trial: Any, score: float | None) -> None:
        from optuna.trial import TrialState

        self._study.tell(trial, score, TrialState.FAIL if score is None else None)


Search = ListSearch | OptunaSearch


def _distribution(name: str, parameter: Mapping[str, Any]) -> optuna.distributions.BaseDistribution:
    from optuna import distributions

    values = _values(parameter)
    if values is not None:  # as text: Optuna takes no lists
        return distributions.CategoricalDistribution([json.dumps(value) for value in values])
    kind, low, high = _kind(parameter), parameter["min"], parameter["max"]
    try:
        if kind == "int_uniform":
            return distributions.IntDistribution(low, high)
        step = parameter.get("q", 1.0) if kind == "q_uniform" else None
        return distributions.FloatDistribution(low, high, log=kind == "log_uniform_values", step=step)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: {' '.join(str(error).split())}") from error


def _values(parameter: Mapping[str, Any]) -> list[Any] | None:
    """All values of a parameter; None for a range."""
    return [parameter["value"]] if "value" in parameter else parameter.get("values")


def _kind(parameter: Mapping[str, Any]) -> str:
    """The distribution of a range; without a name, what W&B makes of its bounds."""
    whole = all(isinstance(parameter[bound], int) for bound in ("min", "max"))
    return parameter.get("distribution", "int_uniform" if whole else "uniform")


def _check_parameter(name: str, parameter: Any) -> None:
    known = f"known are {', '.join(KEYS)}"
    if not isinstance(name, str):
        raise ConfigError(f"parameters: a setting's name is text, got {name}")
    if not isinstance(parameter, dict):
        raise ConfigError(f"{name}: write values, as in {{values: [1, 2]}}, got {parameter}")
    if "parameters" in parameter:
        raise ConfigError(f"{name}: nested parameters are not known here; write the setting's name with dots")
    if unknown := [key for key in parameter if key not in KEYS]:
        raise ConfigError(f"{name}: {', '.join(map(str, unknown))} is not known here; {known}")
    if "value" in parameter or "values" in parameter:
        if not isinstance(parameter.get("values", []), list) or parameter.get("values") == []:
            raise ConfigError(f"{name}: values must be a list with at least one, got {parameter['values']}")
        return
    if not {"min", "max"} <= parameter.keys():
        raise ConfigError(f"{name}: needs a value, values, or min and max; {known}")
    for key in parameter.keys() & {"min", "max", "q"}:
        if not isinstance(parameter[key], (int, float)):
            way_out = "YAML takes 1e-5 for text, write 1.0e-5"
            raise ConfigError(f"{name}: {key} must be a number, got {parameter[key]!r}; {way_out}")
    require_choice(f"{name}.distribution", _kind(parameter), RANGES)
