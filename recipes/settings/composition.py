"""Hydra's compose interface, with the dataclasses as its schema: from settings as typed to settings as they hold."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Iterator, Sequence
from typing import Any, cast

import hydra
from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from agents.algorithms.registry import ALGORITHMS, INSTALLED, register_postponed, require_build, tuned
from agents.errors import ConfigError, one_line, require
from recipes.settings.mistakes import explain, known_keys, problem
from recipes.settings.overrides import KEPT, forced, literal
from recipes.settings.schema import CONF, INSTEAD, RECIPES, TrainConfig, preset_files
from recipes.settings.sizes import require_room

# Hydra copies its sources for each composition and, of what it takes from them, once more: the first copy, of every
# algorithm's schema, is a third of a composition's time.
cast(Any, ConfigStore).__deepcopy__ = lambda store, memo: store


def register(recipe: str = "train") -> None:
    """Make the dataclasses the schema of the YAML files, so that Hydra knows every key and its type.

    Args:
        recipe: what is to be composed; one that trains nothing can do without the algorithms, which take a while.
    """
    for name, config in RECIPES.items():  # a file says what of the settings of train is derived from others
        _store("train_schema" if name == "train" else name, config)
    if recipe == "train" or recipe in KEPT:
        _register_algorithms()


def _register_algorithms() -> None:
    register_postponed()
    files = preset_files()
    for name, config in [*ALGORITHMS.items()]:
        try:
            require(name not in files & INSTALLED, "its name", "be none of a preset's", name)
            require_build(config)  # what a script has put there itself
            _store(name, config, group="algorithm/schema")
            if name not in files:  # its defaults are the preset: so is an algorithm from outside
                _store(name, config, group="algorithm")
        except Exception as error:  # a stranger's fields may be of types that no setting can have
            del ALGORITHMS[name]
            print(f"warning: the algorithm {name!r} is left out: {one_line(error)}", file=sys.stderr)
    OmegaConf.register_new_resolver(
        "tuned", lambda algorithm, dataset, name: tuned(algorithm, dataset)[name], replace=True
    )


@functools.cache  # a class takes milliseconds
def _store(name: str, config: type, *, group: str | None = None) -> None:
    ConfigStore.instance().store(group=group, name=name, node=config)


def parse(overrides: Sequence[str]) -> list[Override]:
    """Settings as Hydra's grammar has them; a ConfigError if one does not follow it."""
    try:
        return OverridesParser.create().parse_overrides([*overrides])
    except OverrideParseException as error:
        way_out = "write name=value, lists as [1,2], what has special characters in quotes of its own"
        raise ConfigError(f"cannot read {error.override!r}: {way_out}, as 'name=\"a (b)\"'") from error


def compose(recipe: str, overrides: Sequence[str]) -> DictConfig:
    """A recipe's settings, and Hydra's own in ``hydra``; a ConfigError if one is unknown or of another type."""
    overrides, known = [*map(literal, overrides)], {*known_keys(recipe)}
    for override in parse(overrides):
        if mistake := problem(override, recipe, known):
            raise ConfigError(mistake)
    try:
        with _plain_hydra(), hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            return hydra.compose(recipe, [*map(forced, overrides)], return_hydra_config=True)
    except Exception as error:  # Hydra finds mistakes with every type of exception
        raise ConfigError(explain(error, recipe)) from error


@contextlib.contextmanager
def _plain_hydra() -> Iterator[None]:
    """Hydra without what a script or a notebook has set up of it, and without the files of its launchers and logs.

    To read those is more than half of a composition's time, and nothing here asks for them.
    """
    store, outer = ConfigStore.instance().repo["hydra"], GlobalHydra.instance().hydra
    whole = store["config.yaml"]
    store["config.yaml"] = dataclasses.replace(whole, node=_hydras_own())
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        store["config.yaml"], GlobalHydra.instance().hydra = whole, outer


@functools.cache
def _hydras_own() -> DictConfig:
    return OmegaConf.structured(HydraConf(defaults=[]))


def in_force(cfg: DictConfig) -> DictConfig:
    """The settings of :func:`compose` without Hydra's own, which are from now on those of ``HydraConfig``."""
    HydraConfig.instance().set_config(cfg)
    cfg = cfg.copy()
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def algorithm_choice() -> str:
    """The word that chose the algorithm of the settings in force: its name, or a preset's."""
    return HydraConfig.get().runtime.choices["algorithm"]


def build(cfg: DictConfig, recipe: str) -> Any:
    """The recipe's config dataclass, or a ConfigError.

    The run's settings are checked first: the algorithm's may be derived from them.
    """
    try:
        cfg = cfg.copy()
        for name, others in INSTEAD.items():
            if OmegaConf.is_missing(cfg, name) and any(cfg.get(other) is not None for other in others):
                cfg[name] = None
        RECIPES[recipe](**{str(name): cfg[name] for name in cfg if name != "algorithm"})
        config = OmegaConf.to_object(cfg)
        if recipe == "train":
            require_room(cast(TrainConfig, config))
        return config
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error, recipe)) from error
