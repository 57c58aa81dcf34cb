"""Mistakes in settings, each in one line: what is wrong, and the names or the form that are right.

Which mistake it is says the type of an exception and what it carries in its fields, never its text.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterator
from types import NoneType
from typing import Any, get_args

from hydra.core.override_parser.types import Override, OverrideType, ValueType
from hydra.errors import HydraException
from omegaconf import BooleanNode, DictConfig, FloatNode, IntegerNode, ListConfig, OmegaConf, StringNode
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationKeyError,
    InterpolationResolutionError,
    InterpolationValidationError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from agents.algorithms.registry import ALGORITHMS
from agents.errors import AgentsError, one_line
from recipes.settings.overrides import KEPT, handed_on, key_names, list_names
from recipes.settings.schema import RECIPES, TrainConfig, presets

NEEDED = {  # by the kind of a setting: what it takes
    (BooleanNode, bool): "'{}' is neither true nor false",
    (IntegerNode, int): "'{}' is not a whole number",
    (FloatNode, float): "'{}' is not a number",
    (StringNode, str): "'{}' is not a text",
    (ListConfig, list): "a list is needed, as in [a,b]",
    (DictConfig, dict): "this holds settings of its own, which are set one by one",
}


def problem(override: Override, recipe: str, known: Collection[str]) -> str | None:
    """What is wrong with a setting, its type apart, given all :func:`known_keys`; None: nothing."""
    typed, key, value = override.input_line or "", override.key_or_group, override.value()
    key += "" if override.package is None else f"@{override.package}"
    if override.type is not OverrideType.CHANGE:
        way_out = f"write {key}={typed.partition('=')[2] or '<value>'}" if key in known else unknown_key(key, recipe)
        return f"{typed}: settings can be changed, not added or removed; {way_out}"
    if not key:
        return f"{typed}: write name=value"
    if key not in known:
        return unknown_key(key, recipe)
    if override.is_sweep_override():
        way_out = "add -m to run one after the other"
        if key == "seeds" or key in list_names(RECIPES[recipe]()):
            is_list = override.value_type is ValueType.SIMPLE_CHOICE_SWEEP
            example = "0,1,2" if key == "seeds" else "a,b"
            way_out = f"{key}=[{typed.partition('=')[2] if is_list else example}] is a list"
        return f"{typed} has several values: {way_out}"
    if (recipe, key) == ("train", "algorithm") and str(value) not in presets():
        if isinstance(value, (list, dict)):
            return f"{typed} is no name: one algorithm is needed, as in algorithm=iql; -m takes several"
        return unknown_algorithm("" if value is None else str(value))
    if value == "":
        return f"{key}: a value has to be given after the ="
    return None


def explain(error: BaseException, recipe: str) -> str:
    """What Hydra, OmegaConf or a config has found wrong with the settings."""
    if isinstance(error, AgentsError):
        return one_line(error)
    causes = [*_causes(error)]
    found = next((each for each in causes if isinstance(each, OmegaConfBaseException)), None)
    if found is None:
        return f"{one_line(error)}; --help lists all settings"
    if isinstance(found, (ConfigKeyError, ConfigAttributeError)):
        return unknown_key(found.full_key or str(found.key), recipe)
    of_resolver = next(
        (each for each in causes if not isinstance(each, (HydraException, OmegaConfBaseException))), None
    )
    if isinstance(of_resolver, AgentsError):
        reason = one_line(of_resolver)
    else:
        reason = f"{_reason(found, of_resolver)}; --help lists all settings"
    return f"{found.full_key}: {reason}" if found.full_key else reason


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, what it was raised from, and so on; OmegaConf leaves its own in the context alone."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: OmegaConfBaseException, of_resolver: BaseException | None) -> str:
    if isinstance(error, MissingMandatoryValue):
        return "a value has to be given"
    if isinstance(error, ValidationError):
        of_reference = f"in {_written(error)}, " if isinstance(error, InterpolationValidationError) else ""
        return of_reference + _needed(error)
    if isinstance(error, InterpolationKeyError):
        references = re.findall(r"\$\{([^${}:]+)\}", _written(error))
        return f"in {_written(error)}, {' or '.join(map(repr, references))} not found"
    if isinstance(error, InterpolationResolutionError):
        return f"{_written(error)} stands for nothing" + ("" if of_resolver is None else f": {one_line(of_resolver)}")
    return str(error).splitlines()[0]


def _written(error: OmegaConfBaseException) -> str:
    """The value of a setting with its references as they stand."""
    values: Any = OmegaConf.to_container(error.parent_node, resolve=False)
    return str(values[error.key])


def _needed(error: ValidationError) -> str:
    if error.value is None:
        return "null is not allowed"
    if isinstance(error.child_node, IntegerNode) and isinstance(error.value, float) and error.value.is_integer():
        return f"'{error.value}' is not a whole number; write {error.value:.0f}"
    for (node, kind), text in NEEDED.items():
        if isinstance(error.child_node, node) or (error.child_node is None and _element(error.ref_type) is kind):
            return text.format(error.value)
    return f"'{error.value}' is not allowed here"


def _element(hint: Any) -> Any:
    """The type of the elements in a list: ``int`` of ``list[int]`` and of ``list[int] | None``."""
    while arguments := [argument for argument in get_args(hint) if argument is not NoneType]:
        hint = arguments[0]
    return hint


def unknown_algorithm(name: str) -> str:
    options = sorted(presets())
    return f"unknown algorithm {name!r}{closest(name, options)}; choose from {', '.join(options)}"


def unknown_key(key: str, recipe: str) -> str:
    """A name that no setting has, with one that is meant, perhaps."""
    owners = {name: [*key_names(config(), "algorithm.")] for name, config in ALGORITHMS.items()}
    of_algorithms = [name for name, _ in Counter(itertools.chain(*owners.values())).most_common()]  # commonest first
    if recipe == "train" and key.startswith("algorithm."):
        if others := [name for name, keys in owners.items() if key in keys]:
            text = f"{key!r} is a setting of {', '.join(others)}, not of the algorithm chosen"
            return f"{text}; algorithm=<name> --help lists those of each"
        return f"unknown setting {key!r}{closest(key, of_algorithms)}; --help lists those of each algorithm"
    names = [*key_names(RECIPES[recipe]()), *(name for name in key_names(TrainConfig()) if handed_on(name, recipe))]
    meant = [*names, *(of_algorithms if recipe in ("train", *KEPT) else [])]
    return f"unknown setting {key!r}{closest(key, meant)}; --help lists all settings"


def bare_word(word: str, recipe: str) -> str:
    """A word without ``=``: the name or, more often, the value of a setting."""
    plural = "s" if recipe == "compare" else ""
    if word in known_keys(recipe):
        meant = f"{word}=<value>"
    elif recipe in ("train", "compare") and word in presets():
        meant = f"algorithm{plural}={word}"
    elif recipe in ("train", "compare"):
        meant = f"dataset{plural}={word}" if "/" in word else None
    else:
        meant = f"{next(key_names(RECIPES[recipe]()))}={word}"
    hint = f" (did you mean {meant}?)" if meant else ""
    return f"{word!r} has no ={hint}; settings are written name=value, --help lists them"


def known_keys(recipe: str) -> Iterator[str]:
    """Every key of a recipe; of ``train`` those of every algorithm."""
    yield from key_names(RECIPES[recipe]())
    if recipe == "train":
        for config in ALGORITHMS.values():
            yield from key_names(config(), "algorithm.")


def closest(name: str, names: list[str]) -> str:
    """A hint at a word but for a letter or two, else at the same word elsewhere, else at one somewhat like it."""
    place, _, word = name.rpartition(".")
    elsewhere = [each for each in names if each.rpartition(".")[2] == word]
    elsewhere.sort(key=lambda each: -difflib.SequenceMatcher(None, name, each).ratio())
    beside = {own: each for each in names for there, _, own in [each.rpartition(".")] if there == place}
    near, like = (difflib.get_close_matches(word, beside, n=1, cutoff=cutoff) for cutoff in (0.8, 0.6))
    words = {each.rpartition(".")[2]: each for each in reversed(names)}
    close = [beside[own] for own in near] or elsewhere[:1]
    close = close or [words[own] for own in difflib.get_close_matches(word, words, n=1, cutoff=0.8)]
    close = close or [beside[own] for own in like] or difflib.get_close_matches(name, names, n=1, cutoff=0.8)
    return f" (did you mean {close[0]}?)" if close else ""
