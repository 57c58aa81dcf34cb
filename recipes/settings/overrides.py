"""Settings as they are typed: how values are written, and what a comparison or a sweep hands on to its runs."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import Field, fields, is_dataclass
from typing import Any

from recipes.settings.schema import RECIPES, TrainConfig

# settings of train.py that these two do not hand on: they have one of their own, or choose the value
OF_SWEEP = ("seed", "seeds", "stack", "run_dir", "resume", "overwrite", "logger", "wandb")
KEPT = {"compare": ("algorithm", "dataset", *OF_SWEEP), "sweep": (*OF_SWEEP, "online_steps")}
PATHS = (
    "run_dir",
    "resume",
    "checkpoint",
    "policy",
    "output",
    "runs",
    "sweep",
    "source",
    "reward",
)  # the last is an expression
# what Hydra reads as the text that it is; it takes 1e3 for a number
SAFE = re.compile(r"(?!(?:true|false|null|nan|inf)$)(?:\.{1,2}/)?[a-z_/][\w./:+-]*", re.ASCII | re.IGNORECASE)
WORDS = re.compile(r"""('[^']*'|"[^"]*")|[^][(){},'"]+""")  # in quotes, and without
ARGUMENTS = ("torch_optimizer", "torch_scheduler")
COMPILE = {"false": "off", "no": "off", "true": "auto", "yes": "auto", "on": "auto"}  # off is false, in YAML


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
        elif isinstance(value, dict):
            yield from (f"{prefix}{entry.name}.{name}" for name in value)


def list_names(config: Any, prefix: str = "") -> Iterator[str]:
    """Of these, the keys that hold lists."""
    for name, value in vars(config).items():
        if is_dataclass(value):
            yield from list_names(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield prefix + name


def handed_on(key: str, recipe: str) -> bool:
    """Whether a recipe gives a setting to each of its runs."""
    return recipe in KEPT and (
        key.startswith("algorithm.") or (key.split(".")[0] not in KEPT[recipe] and key in key_names(TrainConfig()))
    )


def normal(arguments: Sequence[str], recipe: str) -> list[str]:
    """Arguments as Hydra reads them: lists may be written with commas alone, but for train, of which these are runs."""
    lists = () if recipe == "train" else {*list_names(RECIPES[recipe]())}
    written = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key in lists and value != "null" and value[:1] not in ("", "[", "{"):
            argument = f"{key}=[{value}]"
        elif argument == "--json" and recipe == "inspect_dataset":
            argument = "json=true"
        written.append(argument)
    return written


def literal(setting: str, *, several: bool = False) -> str:
    """A setting as Hydra reads it: a path may have any characters, a name letters of any alphabet, and a yes or no
    stands for a word.

    Args:
        several: values may be lists of which each is tried; such a list is left as it stands.
    """
    key, sign, value = setting.partition("=")
    if key == "compile":
        return f"{key}={COMPILE.get(value.lower(), value)}"
    is_path = key in PATHS or (key == "dataset" and value[:1] in ("/", ".", "~"))  # the latter to be refused
    as_it_stands = value in ("", "null") or (len(value) > 1 and value[0] == value[-1] and value[0] in "'\"")
    if not is_path or as_it_stands or (several and re.search("[,(]", value)):
        return f"{key}{sign}{WORDS.sub(_in_quotes, value)}"
    return f"{key}={quoted(value)}"


def _in_quotes(words: re.Match[str]) -> str:
    """Words of another alphabet than Hydra's with quotes around them."""
    text = words[0]
    return text if words[1] or text.isascii() else text.replace(text.strip(), quoted(text.strip()))


def forced(setting: str) -> str:
    """The same where Hydra, which knows the names of all settings, has to take any, as of the arguments of a class."""
    return f"++{setting}" if setting.partition("=")[0].rpartition(".")[2] in ARGUMENTS else setting


def pasted(setting: str, value: object) -> str:
    """A setting as a shell takes it; a path as it is, see :func:`literal`."""
    return shlex.quote(f"{setting}={value}")


def split(arguments: Sequence[str], recipe: str) -> tuple[list[str], list[str]]:
    """Settings of the recipe, and those that it hands on to its runs; W&B's are both."""
    own, others = [], []
    for argument in normal(arguments, recipe):
        key = argument.partition("=")[0]
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
    return quoted(value) if isinstance(value, str) else str(value)


def quoted(value: object) -> str:
    """A text as Hydra's command line takes it, whatever characters it has."""
    text = str(value)
    if SAFE.fullmatch(text):
        return text
    # there a backslash is itself, except before a quotation mark
    return "'" + re.sub(r"(\\*)('|$)", lambda match: 2 * match[1] + (match[2] and "\\'"), text) + "'"
