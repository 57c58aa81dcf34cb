"""The contract of a policy in a file: what it takes, what it gives and where it comes from, as JSON.

It needs neither torch nor NumPy, so that whoever reads it needs them no more than this.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from agents.errors import PolicyError, one_line

VERSION = 1  # raised when a file means something else than before
FORMAT = "offline-agents policy"
PREFIX = "observation"  # of the names of inputs that are observations
REWARD, ACTION, OUTSIDE = "reward", "action", "outside"  # names of the other inputs and outputs
MEMORY, NEXT = "memory.", ".next"  # a memory is an input, and with the ending an output
TYPES = ("float32", "int64")
PRECISIONS = ("float32", "float16", "int8")


@dataclass(frozen=True)
class Observation:
    """An input: one part of what is observed; a tensor has a batch dimension before the shape."""

    name: str  # of the tensor: observation, or of several parts as observation.desired_goal
    path: tuple[str | int, ...]  # keys of Dicts and places in Tuples that lead there in an environment's observation
    type: str  # float32, or int64 where its numbers are categories
    shape: tuple[int, ...]
    names: tuple[str, ...]  # of its numbers, in their order
    units: tuple[str | None, ...]  # of its numbers, as far as they are known
    low: tuple[float, ...]  # the smallest value in the data of each number
    high: tuple[float, ...]  # the largest one
    mean: tuple[float, ...] | None  # what the graph subtracts from each number, None: it does not scale
    std: tuple[float, ...] | None  # and what it divides by then
    categories: tuple[int, ...] = ()  # how many each number has; (): they are no categories
    starts: tuple[int, ...] = ()  # the first of each number
    seen: tuple[tuple[int, ...], ...] = ()  # those of each number that are in the data
    words: tuple[str, ...] = ()  # of the categories of all its numbers, one after the other, where the data have any

    @property
    def key(self) -> str:
        """Its name among the parts."""
        return self.name.removeprefix(PREFIX).removeprefix(".") or PREFIX


@dataclass(frozen=True)
class Action:
    """The output ``action``, as an environment takes it; a tensor has a batch dimension before the shape."""

    type: str
    shape: tuple[int, ...]
    names: tuple[str, ...]  # of its numbers
    low: tuple[float, ...]  # the smallest value that the policy gives
    high: tuple[float, ...]
    categories: tuple[int, ...] = ()  # how many values each number has; (): it is a number
    starts: tuple[int, ...] = ()  # the first value of each
    words: tuple[str, ...] = ()  # of the values of all its numbers, one after the other, where the data have any
    units: tuple[str | None, ...] = ()  # of its numbers, as far as they are known


@dataclass(frozen=True)
class Memory:
    """A tensor that goes from step to step of an episode: an input, and the output of the same name and ``.next``."""

    name: str
    type: str
    shape: tuple[int, ...]
    reset: float  # every number of it at the first step of an episode


@dataclass(frozen=True)
class Contract:
    """What a policy in a file takes, what it gives and where it comes from."""

    observations: tuple[Observation, ...]
    action: Action
    memory: tuple[Memory, ...] = ()  # (): it acts on the observation alone
    takes_reward: bool = False  # of the step before, as the environment gave it; 0 at the first step of an episode
    guard: bool = False  # there is an output outside, the shares of the data's range by which each number is beyond it
    outside_names: tuple[str, ...] = ()  # of the numbers of that output
    random_numbers: str = "none"
    precision: str = "float32"  # of the weights, one of PRECISIONS
    rate: float | None = None  # steps a second that it was trained for; None: not known
    algorithm: str = ""
    step: int = 0  # updates that it was trained for
    dataset: Mapping[str, Any] = field(default_factory=dict)  # id, fingerprint, steps and episodes
    score: Mapping[str, Any] | None = None  # of the run's last evaluation; None: there was none
    environment: str | None = None  # JSON of Gymnasium's spec
    reference: tuple[float, float] | None = None  # returns of a random and of an expert policy there
    versions: Mapping[str, str] = field(default_factory=dict)  # of what it was made with

    @property
    def inputs(self) -> list[tuple[str, str, tuple[int, ...]]]:
        """Name, type and shape of each, in order."""
        reward = [(REWARD, "float32", (1,))] if self.takes_reward else []
        parts = [(part.name, part.type, part.shape) for part in self.observations]
        return parts + reward + [(each.name, each.type, each.shape) for each in self.memory]

    @property
    def outputs(self) -> list[str]:
        """Names, in order."""
        return [ACTION, *(f"{each.name}{NEXT}" for each in self.memory), *([OUTSIDE] if self.guard else [])]

    def to_json(self) -> str:
        """The text that travels with the policy."""
        return json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, owner: str) -> Contract:
        """Inverse of ``to_json``.

        Args:
            owner: the file, for messages.

        Raises:
            PolicyError: the text is none, or is of another version.
        """
        try:
            values = json.loads(text)
            known, version = values.get("format") == FORMAT, values.get("version")
        except (AttributeError, RecursionError, ValueError) as error:
            raise PolicyError(f"{owner} is damaged: its contract is no JSON ({one_line(error)})") from error
        if not known:
            raise PolicyError(f"{owner} is no policy of this project: it has another contract")
        if version != VERSION:
            way_out = "export the policy again, or install the offline-agents that wrote it"
            raise PolicyError(f"{owner} is of version {version!r}, this reads version {VERSION}: {way_out}")
        try:
            contract = _contract(values)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise PolicyError(f"{owner} is damaged: in its contract, {one_line(error)}") from error
        return contract


def _contract(values: Mapping[str, Any]) -> Contract:
    """A contract from JSON; an exception where that is none."""
    since = {"precision"}  # entries that the first files have not
    kept = {entry.name: values[entry.name] for entry in fields(Contract) if entry.name not in since - values.keys()}
    contract = Contract(
        **{
            **kept,
            "observations": tuple(Observation(**_tuples(part)) for part in kept["observations"]),
            "action": Action(**_tuples(kept["action"])),
            "memory": tuple(Memory(**_tuples(each)) for each in kept["memory"]),
            "outside_names": tuple(kept["outside_names"]),
            "reference": None if kept["reference"] is None else tuple(map(float, kept["reference"])),
        }
    )
    for each in (contract, *contract.observations, contract.action, *contract.memory):
        for name, kind in get_type_hints(type(each)).items():
            if not _fits(value := getattr(each, name), kind):
                raise ValueError(f"{name} is {str(value)[:60]!r}")
    if not contract.observations:
        raise ValueError("it observes nothing")
    for each in (*contract.observations, contract.action, *contract.memory):
        if each.type not in TYPES or not all(type(size) is int and size >= 0 for size in each.shape):
            raise ValueError(f"{each.type!r} of shape {each.shape} is no tensor")
    for part in contract.observations:
        width = math.prod(part.shape)
        lengths = {len(part.names), len(part.low), len(part.high), len(part.categories) or width}
        if lengths != {width} or len(part.starts) != len(part.categories):
            raise ValueError(f"{part.name!r} has not {width} numbers throughout")
    action, width = contract.action, math.prod(contract.action.shape)
    lengths = {len(action.names), len(action.low), len(action.high), len(action.categories) or width}
    if lengths != {width} or len(action.starts) != len(action.categories):
        raise ValueError(f"the action has not {width} numbers throughout")
    return contract


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of the type of a field."""
    inner = get_args(kind)
    if get_origin(kind) is UnionType:
        return any(_fits(value, each) for each in inner)
    if get_origin(kind) is tuple:
        kinds = inner[:1] * len(value) if inner[-1] is ... and isinstance(value, tuple) else inner
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(_fits, value, kinds))
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return isinstance(value, get_origin(kind) or kind) and not (kind is int and isinstance(value, bool))


def _tuples(value: Any) -> Any:
    """Lists of JSON as tuples, at every depth, beside what else there is in a dictionary."""
    if isinstance(value, Mapping):
        return {name: _tuples(each) for name, each in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
