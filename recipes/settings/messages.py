"""Mistakes in what was typed, as one line for the user."""

from __future__ import annotations

import difflib
import re

from hydra.errors import OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from agents.algorithms.registry import ALGORITHMS
from agents.errors import AgentsError
from recipes.settings.overrides import handed_on, key_names
from recipes.settings.presets import presets
from recipes.settings.schema import RECIPES, TrainConfig

PLAIN_WORDS = {  # of what OmegaConf says about a value
    r"Value '(.*)' of type '.*' could not be converted to Integer": r"'\1' is not a whole number",
    r"Value '(.*)' of type '.*' could not be converted to Float": r"'\1' is not a number",
    r"Value '(.*)' is not a valid bool.*": r"'\1' is neither true nor false",
    r"Invalid value assigned: .* is not a ListConfig, list or tuple\.": "a list is needed, as in [a,b]",
    r"Invalid type assigned: .* is not a subclass of .*": "this holds settings of its own, which are set one by one",
    r"field '.*' is not Optional": "null is not allowed",
    r"Missing mandatory value: .*": "a value has to be given",
}


def explain(error: BaseException, recipe: str) -> str:
    """One line for the user: what is wrong, and the valid names where a name was unknown."""
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
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    key = next((line.removeprefix("full_key: ") for line in lines if line.startswith("full_key: ")), "")
    reason = re.sub(r"^.*raised while resolving interpolation: ", "", lines[0])
    for pattern, replacement in PLAIN_WORDS.items():
        reason = re.sub(pattern, replacement, reason)
    return f"{key}: {reason}; --help lists all settings" if key else f"{reason}; --help lists all settings"


def unknown_key(key: str, recipe: str) -> str:
    """One line for a name that no setting has, with the valid ones."""
    names = [*key_names(RECIPES[recipe]()), *(name for name in key_names(TrainConfig()) if handed_on(name, recipe))]
    if recipe == "train" and key.startswith("algorithm."):
        owners = {name: [*key_names(config(), "algorithm.")] for name, config in ALGORITHMS.items()}
        if others := [name for name, keys in owners.items() if key in keys]:
            text = f"{key!r} is a setting of {', '.join(others)}, not of the algorithm chosen"
            return f"{text}; --help lists those of each"
        names = sorted({name for keys in owners.values() for name in keys})
        return f"unknown setting {key!r}{closest(key, names)}; --help lists those of each algorithm"
    return f"unknown setting {key!r}{closest(key, names)}; valid are {', '.join(names)}"


def closest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
