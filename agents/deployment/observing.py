"""Observations as they come from a robot or a program, as the arrays that a policy in a file takes.

An observation is a vector, or where it has parts a dictionary by their names, as an environment gives it; where the
numbers of a vector have names, a dictionary by these. Shapes: ``B`` batch, 1 for a single observation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.deployment.contract import Contract, Observation
from agents.errors import PolicyError

Arrays = dict[str, NDArray[Any]]
SHOWN = 5  # names in a message


def arrays_of(contract: Contract, observation: Any, *, batch: bool) -> Arrays:
    """The inputs ``[B, *shape]`` of an observation, or of a batch of them.

    Raises:
        PolicyError: another length, type or name than the contract's, a NaN, or a category that there is not.
    """
    parts = contract.observations
    if len(parts) == 1 and isinstance(observation, Mapping) and {*observation} != {parts[0].key}:
        observation = {parts[0].key: _in_order(parts[0], observation)}
    elif len(parts) == 1 and not parts[0].path and not isinstance(observation, Mapping):
        observation = {parts[0].key: observation}
    arrays = {part.name: _array(part, _value(part, observation, parts), batch) for part in parts}
    if len({len(array) for array in arrays.values()}) > 1:
        sizes = ", ".join(f"{name} {len(array)}" for name, array in arrays.items())
        raise PolicyError(f"the parts of a batch of observations differ in their number: {sizes}")
    return arrays


def check_names(contract: Contract, names: Sequence[str]) -> None:
    """Refuse names of an observation's numbers that are not the contract's, in its order."""
    ours = [name for part in contract.observations for name in part.names]
    if [*names] == ours:
        return
    if sorted(names) == sorted(ours):
        place = next(i for i, (theirs, own) in enumerate(zip(names, ours)) if theirs != own)
        problem = f"in another order: number {place} is {names[place]!r} here, {ours[place]!r} in the policy"
    else:
        problem = _difference(ours, names)
    raise PolicyError(f"the names of the observation are {problem}; give its numbers as the contract has them")


def _in_order(part: Observation, values: Mapping[str, Any]) -> NDArray[Any]:
    """The numbers of a vector from a dictionary by their names, ``[..., *shape]``."""
    if {*part.names} != {*values}:
        raise PolicyError(f"the names of the observation are {_difference(part.names, [*map(str, values)])}")
    try:
        columns = np.stack([np.asarray(values[name]) for name in part.names], -1)
    except ValueError:
        raise PolicyError(f"the numbers of the observation are of different shapes: {_short(values)}") from None
    return columns.reshape(*columns.shape[:-1], *part.shape)


def _difference(ours: Sequence[str], theirs: Sequence[str]) -> str:
    missing, further = [name for name in ours if name not in theirs], [name for name in theirs if name not in ours]
    texts = [f"the policy's {_list(missing)} is missing"] if missing else []
    texts += [f"it knows no {_list(further)}"] if further else []
    return f"others: {', '.join(texts)}"


def _value(part: Observation, observation: Any, parts: Sequence[Observation]) -> Any:
    """A part of an observation, by its name or by the way that leads to it."""
    if isinstance(observation, Mapping) and part.key in observation:
        return observation[part.key]
    value = observation
    try:
        for key in part.path:
            value = value[key]
    except (IndexError, KeyError, TypeError):
        there = _list([*map(str, observation)]) if isinstance(observation, Mapping) else type(observation).__name__
        ours = _list([each.key for each in parts])
        raise PolicyError(f"the observation lacks {part.key!r}: the policy takes {ours}, this is {there}") from None
    return value


def _array(part: Observation, value: Any, batch: bool) -> NDArray[Any]:
    """``[B, *shape]`` in the type of the contract."""
    try:
        array = np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise PolicyError(f"{part.key!r} is no array: {error}") from None
    if array.dtype.kind not in "fiub":
        raise PolicyError(f"{part.key!r} must hold numbers ({part.type}), got {array.dtype} from {_short(value)}")
    shape = array.shape[1:] if batch else array.shape
    if shape != part.shape or (batch and not array.ndim):
        wanted = ("B", *part.shape) if batch else part.shape
        way_out = "" if batch or array.shape[1:] != part.shape else "; a batch of observations goes to policy.batch"
        raise PolicyError(f"{part.key!r} must have the shape {_shape(wanted)}, got {_shape(array.shape)}{way_out}")
    array = array if batch else array[None]
    if part.categories:
        return _categories(part, array)
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array.reshape(len(array), -1)))[0]
        where = f" in row {row}" if batch else ""
        raise PolicyError(
            f"the observation's {part.names[column]!r} is {array.reshape(len(array), -1)[row, column]}{where}"
        )
    return array


def _categories(part: Observation, array: NDArray[Any]) -> NDArray[np.int64]:
    whole = array.astype(np.int64, copy=False) if array.dtype.kind in "iub" else np.nan_to_num(array).astype(np.int64)
    flat, given = whole.reshape(len(whole), -1), array.reshape(len(whole), -1)
    low = np.array(part.starts)
    wrong = (flat != given) | (flat < low) | (flat >= low + np.array(part.categories))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        first, number = part.starts[column], part.categories[column]
        demand = f"must be a whole number from {first} to {first + number - 1}"
        raise PolicyError(f"the observation's {part.names[column]!r} {demand}, got {given[row, column]}")
    return np.ascontiguousarray(whole)


def _shape(shape: Sequence[Any]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:SHOWN])) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
