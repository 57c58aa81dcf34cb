"""Hydra behind one call: the dataclasses as its schema and its help, mistakes as one line and exit code 2."""

from __future__ import annotations

import ast
import contextlib
import errno
import functools
import inspect
import os
import re
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from agents.algorithms.registry import ALGORITHMS, INSTALLED, register_postponed, tuned
from agents.errors import AgentsError, ConfigError, one_line, printable, require
from recipes.settings.overrides import KEPT, as_typed, explain, key_names, own_first, split, unknown_key
from recipes.settings.schema import CONF, RECIPES, preset_files

SHOWN = ("job", "hydra", "all")  # by --cfg
HELP = {"--help", "-h"}
OPTIONS = ("-m", "--multirun", "--cfg", "--resolve", "--info", "-sc", "--shell-completion")  # Hydra's, where of use
NO_PLACE_TO_WRITE = (
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR,
    errno.ENAMETOOLONG,
)  # fmt: skip


def register() -> None:
    """Make the dataclasses the schema of the YAML files, so that Hydra knows every key and its type."""
    for name, config in RECIPES.items():
        _store(f"{name}_schema", config)
        if name != "train":  # a file says what of its settings is derived from others
            ConfigStore.instance().store(name, {"defaults": [f"{name}_schema", "quiet", "_self_"]})
    register_postponed()
    files = preset_files()
    for name, config in [*ALGORITHMS.items()]:
        try:
            require(name not in files & INSTALLED, "its name", "be none of a preset's", name)
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


def main(recipe: str, run: Callable[..., None]) -> None:
    """Run a recipe under Hydra; a mistake of the user's ends in one line and exit code 2.

    Args:
        run: takes the settings and, of a comparison or a sweep, those that are handed on to its runs, as typed.
    """
    register()
    if HELP & {*sys.argv[1:]}:
        show(help_text(recipe))
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing several lines and exiting with 1
    own, handed_on = split(sys.argv[1:], recipe)
    started = False

    def guarded(cfg: DictConfig) -> None:
        nonlocal started
        started = True
        _guard(functools.partial(run, cfg, *([handed_on] if recipe in KEPT else [])), recipe)

    try:
        _check(own, recipe)
        sys.argv[1:] = sorted(own, key=lambda argument: "=" in argument)  # Hydra wants options before settings
        with contextlib.ExitStack() as scratch:  # of a sweep's settings Hydra writes a copy that no one needs
            folder = tempfile.TemporaryDirectory
            OmegaConf.register_new_resolver("scratch", lambda: scratch.enter_context(folder()), replace=True)
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=recipe)(guarded)()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if started:
            raise
        refuse(explain(error, recipe))  # Hydra finds mistakes with every type of exception


def _guard(run: Callable[[], None], recipe: str) -> None:
    """Run, inside Hydra: of an exception that leaves it, Hydra would print a line of its own first."""
    try:
        run()
    except (HydraException, OmegaConfBaseException, AgentsError) as error:
        refuse(explain(error, recipe))
    except OSError as error:
        if error.errno not in NO_PLACE_TO_WRITE:
            raise
        where = f" ({error.filename})" if error.filename else ""
        way_out = "make room, mend its rights or name another place"
        refuse(f"{error.strerror}{where}; {way_out}; what was saved is whole")


def refuse(message: str) -> NoReturn:
    """Print a mistake of the user's, and exit with the code that says so."""
    print(f"error: {printable(message)}", file=sys.stderr)
    sys.exit(2)


def build(cfg: DictConfig, recipe: str) -> Any:
    """The recipe's config dataclass, checked: first the run's settings, from which the algorithm's may be derived."""
    RECIPES[recipe](**{str(name): cfg[name] for name in cfg if name != "algorithm"})
    return OmegaConf.to_object(cfg)


def invocation() -> str:
    """The call of this process as typed, without its settings: ``offline-agents train``, ``python my_script.py``."""
    command = sys.argv[0]  # recipes/__main__.py has its word in it
    return command if command.startswith("offline-agents ") else f"python {shlex.join(_arguments_of_python())}"


def user_script() -> tuple[str, ...]:
    """Arguments of Python that start the user's own script, which may know more algorithms; none for a recipe."""
    script = Path(sys.argv[0]).resolve()
    return _arguments_of_python() if script.is_file() and not script.is_relative_to(CONF.parent) else ()


def _arguments_of_python() -> tuple[str, ...]:
    """The script that was started, or ``-m`` and the module."""
    main = sys.modules["__main__"]
    if main.__spec__ is None or getattr(main, "__file__", None) != sys.argv[0]:
        return (sys.argv[0],)
    return "-m", main.__spec__.name.removesuffix(".__main__")


def _check(arguments: Sequence[str], recipe: str) -> None:
    """Refuse what Hydra would accept without an effect, or refuse with a page of text."""
    for argument, following in zip(arguments, [*arguments[1:], ""]):
        key, _, value = argument.lstrip("+~-").partition("=")
        if argument[:1] in ("+", "~") and not key.startswith("hydra"):
            known = key in key_names(RECIPES[recipe]()) or key.startswith("algorithm.")
            way_out = f"write {key}={value or '<value>'}" if known else unknown_key(key, recipe)
            raise ConfigError(f"{argument}: settings can be changed, not added or removed; {way_out}")
        if argument.startswith("-") and argument not in OPTIONS:
            way_out = f"settings are written without dashes; options: {', '.join(OPTIONS)}"
            raise ConfigError(f"unknown option {argument!r}; {way_out}")
        if argument == "--cfg" and following not in SHOWN:
            raise ConfigError(f"--cfg shows {', '.join(SHOWN)}: write --cfg job for the settings of a run")


def show(text: str) -> None:
    """Print a text of which not all may be read, as in ``--help | head``."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    print(text)


def docstring(recipe: str) -> str:
    return ast.get_docstring(ast.parse((CONF.parent / f"{recipe}.py").read_text())) or ""


def help_text(recipe: str) -> str:
    """The recipe's docstring, then every setting with its default and the comment beside it; imports no recipe."""
    parts = [docstring(recipe), "\nSettings:", *_settings(RECIPES[recipe]())]
    if recipe == "train":
        for name, config in ALGORITHMS.items():
            parts += [f"\nSettings of algorithm={name}:", *_settings(config(), "algorithm.")]
        parts.append(f"\nFurther presets for algorithm=: {', '.join(sorted(preset_files() - ALGORITHMS.keys()))}")
    return "\n".join(parts)


def _settings(config: Any, prefix: str = "") -> Iterator[str]:
    comments = {}
    for cls in reversed(type(config).__mro__[:-1]):
        with contextlib.suppress(OSError, TypeError):  # a class that was made without a file
            comments |= dict(re.findall(r"^    (\w+): [^#\n]*  # (.+)$", inspect.getsource(cls), re.MULTILINE))
    for entry in own_first(config):
        value = getattr(config, entry.name)
        if is_dataclass(value):
            yield from _settings(value, f"{prefix}{entry.name}.")
            continue
        default = "" if value == MISSING else f"={as_typed(value)}"
        comment = comments.get(entry.name, "").replace("None", "null")
        yield f"  {prefix}{entry.name}{default}".ljust(46) + f"  {comment}".rstrip()
