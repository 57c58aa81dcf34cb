"""Settings as they are typed: how values are written, what a comparison or a sweep hands on, and mistakes in them."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import Field, fields, is_dataclass
from typing import Any

from hydra.errors import OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from agents.algorithms.registry import ALGORITHMS
from agents.errors import AgentsError
from recipes.settings.schema import RECIPES, TrainConfig, presets

# settings of train.py that these two do not hand on: they have one of their own, or choose the value
OF_SWEEP = ("seed", "seeds", "stack", "run_dir", "resume", "overwrite", "logger", "wandb")
KEPT = {"compare": ("algorithm", "dataset", *OF_SWEEP), "sweep": OF_SWEEP}
SAFE = re.compile(r"[\w./:+-]+")  # what Hydra reads as it stands
PLAIN_WORDS = {  # of what OmegaConf says about a value
    r"Value '(.*)' of type '.*' could not be converted to Integer": r"'\1' is not a whole number",
    r"Value '(.*)' of type '.*' could not be converted to Float": r"'\1' is not a number",
    r"Value '(.*)' is not a valid bool.*": r"'\1' is neither true nor false",
    r"Invalid value assigned: .* is not a ListConfig, list or tuple\.": "a list is needed, as in [a,b]",
    r"Invalid type assigned: .* is not a subclass of .*": "this holds settings of its own, which are set one by one",
    r"field '.*' is not Optional": "null is not allowed",
    r"Missing mandatory value: .*": "a value has to be given",
}


def own_first(config: Any) -> list[Field]:
    """The fields of a config; those that it shares with others come last."""
    return sorted(fields(config), key=lambda entry: bool(entry.kw_only))


def key_names(config: Any, prefix: str = "") -> Iterator[str]:
    """Every key of a config, nested ones with dots."""
    for entry in own_first(config):
        yield prefix + entry.name
        value = getattr(config, entry.name)
        if is_dataclass(value):
            yield from key_names(value, f"{prefix}{entry.name}.")


def handed_on(key: str, recipe: str) -> bool:
    """Whether a recipe gives a setting to each of its runs."""
    return recipe in KEPT and (
        key.startswith("algorithm.") or (key.split(".")[0] not in KEPT[recipe] and key in key_names(TrainConfig()))
    )


def split(arguments: Sequence[str], recipe: str) -> tuple[list[str], list[str]]:
    """Arguments as Hydra reads them: settings of the recipe, and those handed on to its runs; W&B's are both.

    Lists of a recipe that has runs may be written with commas alone.
    """
    lists = {name for name, value in vars(RECIPES[recipe]()).items() if isinstance(value, list) and recipe in KEPT}
    own, others = [], []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key in lists and value[:1] not in ("", "["):
            argument = f"{key}=[{value}]"
        elif argument == "--json" and recipe == "inspect_dataset":
            argument = "json=true"
        for_runs = handed_on(key, recipe)
        if not for_runs:
            own.append(argument)
        if for_runs or key.startswith("wandb."):
            others.append(argument)
    return own, others


def as_typed(value: Any) -> str:
    """A value as Hydra's command line takes it."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, list):
        return f"[{','.join(map(as_typed, value))}]"
    return quoted(value)


def quoted(value: object) -> str:
    """A text as Hydra's command line takes it, whatever characters it has."""
    text = str(value)
    if SAFE.fullmatch(text):
        return text
    # there a backslash is itself, except before a quotation mark
    return "'" + re.sub(r"(\\*)('|$)", lambda match: 2 * match[1] + (match[2] and "\\'"), text) + "'"


def explain(error: BaseException, recipe: str) -> str:
    """A mistake in one line: what is wrong, and the valid names where a name was unknown."""
    text = " ".join(str(error).split())
    if isinstance(error, AgentsError):
        return text
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r}: write name=value, lists as [1,2], special characters in quotes"
    if unknown := re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct", text):
        return unknown_key(unknown[1] or unknown[2], recipe)
    if missing := re.search(r"Could not find 'algorithm/(?:schema/)?([^']*)'|Config group override must be", text):
        name, options = missing[1] or "", sorted(presets())
        return f"unknown algorithm {name!r}{closest(name, options)}; choose from {', '.join(options)}"
    if ambiguous := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return f"{ambiguous[1]} has several values: add -m to run one after the other"
    while isinstance(error.__cause__, (OmegaConfBaseException, AgentsError)):
        error = error.__cause__
    text = str(error).strip()
    reason = re.sub(r"^.*raised while resolving interpolation: ", "", text.partition("\n")[0])
    for pattern, replacement in PLAIN_WORDS.items():
        reason = re.sub(pattern, replacement, reason)
    key = re.search(r"^\s*full_key: (.+)$", text, re.MULTILINE)
    return f"{f'{key[1]}: ' if key else ''}{reason}; --help lists all settings"


def unknown_key(key: str, recipe: str) -> str:
    """A name that no setting has, in one line with the valid ones."""
    if recipe == "train" and key.startswith("algorithm."):
        owners = {name: [*key_names(config(), "algorithm.")] for name, config in ALGORITHMS.items()}
        if others := [name for name, keys in owners.items() if key in keys]:
            text = f"{key!r} is a setting of {', '.join(others)}, not of the algorithm chosen"
            return f"{text}; --help lists those of each"
        names = sorted({name for keys in owners.values() for name in keys})
        return f"unknown setting {key!r}{closest(key, names)}; --help lists those of each algorithm"
    names = [*key_names(RECIPES[recipe]()), *(name for name in key_names(TrainConfig()) if handed_on(name, recipe))]
    return f"unknown setting {key!r}{closest(key, names)}; valid are {', '.join(names)}"


def closest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
