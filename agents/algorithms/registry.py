"""The registry, a line per algorithm: a config class with ``build(specs, *, device) -> Agent`` that knows no run.

Its class attribute ``actions`` says what it learns from: ``continuous`` or ``discrete`` actions. An installed package
brings algorithms by entry points of the group ``offline_agents.algorithms``: ``name = package.module:ConfigClass``.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from agents.algorithms.awac import AWACConfig
from agents.algorithms.bc import BCConfig
from agents.algorithms.cal_ql import CalQLConfig
from agents.algorithms.common import PenaltyDecayConfig
from agents.algorithms.cql import CQLConfig
from agents.algorithms.diffusion_bc import DiffusionBCConfig
from agents.algorithms.discrete_bc import DiscreteBCConfig
from agents.algorithms.discrete_cql import DiscreteCQLConfig
from agents.algorithms.discrete_iql import DiscreteIQLConfig
from agents.algorithms.dt import DTConfig
from agents.algorithms.edac import EDACConfig
from agents.algorithms.iql import IQLConfig
from agents.algorithms.rebrac import ReBRACConfig
from agents.algorithms.rlpd import RLPDConfig
from agents.algorithms.sac import SACConfig
from agents.algorithms.td3_bc import TD3BCConfig
from agents.algorithms.wsrl import WSRLConfig
from agents.errors import ConfigError, one_line, require

if TYPE_CHECKING:
    from agents.data.source import Source
    from agents.data.specs import Specs

ENTRY_POINTS = "offline_agents.algorithms"
ALGORITHMS: dict[str, type[Any]] = {
    "awac": AWACConfig,
    "bc": BCConfig,
    "cal_ql": CalQLConfig,
    "cql": CQLConfig,
    "diffusion_bc": DiffusionBCConfig,
    "discrete_bc": DiscreteBCConfig,
    "discrete_cql": DiscreteCQLConfig,
    "discrete_iql": DiscreteIQLConfig,
    "dt": DTConfig,
    "edac": EDACConfig,
    "iql": IQLConfig,
    "rebrac": ReBRACConfig,
    "rlpd": RLPDConfig,
    "sac": SACConfig,
    "td3_bc": TD3BCConfig,
    "wsrl": WSRLConfig,
}
# classes of version 0.1, which its files name, and the setting of another class that each of them is now
FORMER: dict[str, tuple[type[Any], str, Any]] = {
    "DQNConfig": (DiscreteCQLConfig, "alpha", None),
    "BCTopConfig": (BCConfig, "best_episodes", 0.1),
}
# settings that it had not, with the value that means the same
LATER: dict[str, Any] = {"penalty_decay": asdict(PenaltyDecayConfig())}
INSTALLED: set[str] = set()  # names that installed packages brought
POSTPONED: list[EntryPoint] = []


def tuned(algorithm: str, dataset_id: str) -> dict[str, float]:
    """Settings that a paper tuned for a dataset, ``TUNED`` in the algorithm's file; a ConfigError without any."""
    table = sys.modules[ALGORITHMS[algorithm].__module__].TUNED
    if dataset_id not in table:
        raise ConfigError(f"no tuned settings for {dataset_id!r}; there are some for {', '.join(table)}")
    return table[dataset_id]


def check_actions(config: Any, data: Specs | Source, name: str | None = None) -> None:
    """Refuse data whose actions are of the other kind by a ConfigError that names the algorithms for them.

    Args:
        name: of the algorithm, or of a preset of its, in the message; None: the algorithm's.
    """
    kind = "discrete" if data.discrete else "continuous"
    if config.actions == kind:
        return
    name = name or next((name for name, known in ALGORITHMS.items() if known is type(config)), type(config).__name__)
    suited = [name for name, known in ALGORITHMS.items() if known.actions == kind]
    raise ConfigError(
        f"{name} learns from {config.actions} actions, the data have {kind} ones; choose from {', '.join(suited)}"
    )


def config_of(class_name: str) -> Any | None:
    """The defaults of the config class that a checkpoint or a run folder names; None: it is not registered."""
    register_postponed()
    known = {config.__name__: config for config in ALGORITHMS.values()}
    if class_name in known:
        return known[class_name]()
    config, setting, value = FORMER.get(class_name, (None, "", None))
    return config and config(**{setting: value})


def config_with(defaults: Any, values: Mapping[str, Any]) -> Any:
    """The config whose ``dataclasses.asdict`` these values are; what they lack is as in the defaults.

    Raises:
        AttributeError: the config has no field of such a name.
        TypeError: a value is not of the type of its field.
    """
    try:
        hints = get_type_hints(type(defaults))
    except (NameError, TypeError):  # of a stranger's class: imported for type checkers alone, or too new
        hints = {}
    fields = {}
    for name, value in values.items():
        default = getattr(defaults, name)
        if not _is_of(Mapping if is_dataclass(default) else hints.get(name, Any), value):
            raise TypeError(f"{name} is {value!r}")
        fields[name] = config_with(type(default)(), value) if is_dataclass(default) else value
    return replace(defaults, **fields)


def _is_of(hint: Any, value: Any) -> bool:
    """Whether a value out of a file is of a field's type."""
    kind, arguments = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return any(_is_of(each, value) for each in arguments)
    if kind in (list, tuple):
        return isinstance(value, list) and all(_is_of(arguments[0] if arguments else Any, each) for each in value)
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return not isinstance(kind, type) or isinstance(value, kind)


def as_formerly(class_name: str, fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A config's class and fields as version 0.1 had them, from which names of run folders are computed."""
    for former, (config, setting, value) in FORMER.items():
        if class_name == config.__name__:
            fields_then = {name: field for name, field in fields.items() if (name, field) != (setting, None)}
            return (former if (fields[setting] is None) == (value is None) else class_name), fields_then
    return class_name, {name: field for name, field in fields.items() if (name, field) not in LATER.items()}


def register(name: str, config: Any) -> None:
    """Add an algorithm; a ConfigError if it is none, or its name or its class's, which checkpoints have, is taken."""
    if ALGORITHMS.get(name) is config:
        return
    require(re.fullmatch(r"\w[\w-]*", name) is not None, "its name", "be a word, which names a folder", name)
    require(name not in ALGORITHMS, "its name", "be new", name)
    require(isinstance(config, type) and is_dataclass(config), "the entry", "be a dataclass", config)
    taken = {known.__name__ for known in ALGORITHMS.values()} | FORMER.keys()
    require(config.__name__ not in taken, "the name of its class", "be new", config.__name__)
    require_build(config)
    kinds = ("continuous", "discrete")
    require(getattr(config, "actions", None) in kinds, "its class", f"have actions, of {kinds}", config.__name__)
    config()  # every recipe shows its defaults
    ALGORITHMS[name] = config


def require_build(config: Any) -> None:
    """A ConfigError where a class's ``build`` does not take what recipes give it."""
    takes = False
    with contextlib.suppress(AttributeError, TypeError):
        takes = bool(inspect.signature(config.build).bind(config, "specs", device="cpu"))
    require(takes, "its class", "have build(specs, *, device)", config.__name__)


def register_installed() -> None:
    """Add the algorithms of installed packages; one that cannot be had is a line on stderr, and the others stay."""
    _register(entry_points(group=ENTRY_POINTS))


def register_postponed() -> None:
    """Add those of packages that, while they were imported, asked for the registry themselves."""
    _register([POSTPONED.pop() for _ in [*POSTPONED]])


def _register(entries: Iterable[EntryPoint]) -> None:
    for entry in entries:
        spec = getattr(sys.modules.get(entry.module), "__spec__", None)
        if getattr(spec, "_initializing", False):
            POSTPONED.append(entry)
            continue
        try:
            register(entry.name, entry.load())
            INSTALLED.add(entry.name)
        except (Exception, SystemExit) as error:  # of whatever kind: the module is a stranger's
            algorithm = f"{entry.dist.name if entry.dist is not None else entry.module}'s algorithm {entry.name!r}"
            print(f"warning: {algorithm} ({entry.value}) is left out: {one_line(error)}", file=sys.stderr)


register_installed()
