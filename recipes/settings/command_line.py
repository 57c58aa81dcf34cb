"""The command line of every recipe: settings, a few options, and mistakes as one line and exit code 2."""

from __future__ import annotations

import contextlib
import errno
import gc
import itertools
import math
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.override_parser.types import ValueType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from agents.errors import AgentsError, ConfigError, is_out_of_memory, one_line, printable
from recipes.settings import interrupt
from recipes.settings.checks import require_checkpoint
from recipes.settings.composition import build, compose, in_force, parse, register
from recipes.settings.help import help_text
from recipes.settings.mistakes import bare_word, explain
from recipes.settings.overrides import KEPT, literal, normal, split
from recipes.settings.schema import CONF

HELP = {"--help", "-h"}
MULTIRUN = {"--multirun", "-m"}
OPTIONS = ("-m", "--multirun", "--cfg", "--resolve", "--help")
LISTS = (ValueType.SIMPLE_CHOICE_SWEEP, ValueType.CHOICE_SWEEP, ValueType.RANGE_SWEEP)
FORMAT_WARNING = warnings.formatwarning
OF_TYPE_HINTS = r"The name \w+ wasn't part of the annotations"  # TorchRL, of losses without them: its BCLoss is one
MOST_JOBS = 10_000  # of one call
NO_PLACE_TO_WRITE = (
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR,
    errno.ENAMETOOLONG, errno.ELOOP,
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One call of a recipe."""

    overrides: list[str]  # settings as typed
    handed_on: list[str]  # those of them that are for the runs of a comparison or a sweep
    cfg: DictConfig


def main(recipe: str, run: Callable[..., None], jobs: list[Job] | None = None) -> None:
    """Run a recipe; a mistake of the user's ends in one line and exit code 2.

    Args:
        run: takes the settings and, of a comparison or a sweep, those that are handed on to its runs, as typed.
        jobs: what :func:`answer` has read already.
    """
    gc.freeze()
    gc.enable()
    interrupt.stop_with_parent()
    warnings.formatwarning = _one_line_warning
    warnings.filterwarnings("ignore", message=OF_TYPE_HINTS)
    with _refusals(recipe, last=True):
        jobs = _read(recipe) if jobs is None else jobs
        if len(jobs) == 1 and MULTIRUN & {*sys.argv[1:]}:
            print("-m: no setting has several values, as in seed=0,1, so this is one run", file=sys.stderr)
        for number, job in enumerate(jobs, 1):
            if len(jobs) > 1:
                print(f"#{number} of {len(jobs)}: {shlex.join(job.overrides)}", flush=True)
            run(in_force(job.cfg), *([job.handed_on] if recipe in KEPT else []))


def answer(recipe: str) -> list[Job] | None:
    """End with what needs no more than the settings: help, the settings themselves, mistakes in them; else the jobs.

    Called by a script before it imports all else; a script of the user's own may yet import further algorithms. What is
    imported is not garbage: collecting it again and again would take a second of five.
    """
    jobs = None
    if not user_script():
        with _refusals(recipe):
            jobs = _read(recipe)
    gc.disable()  # until main
    return jobs


def _read(recipe: str) -> list[Job]:
    """The jobs that the arguments of the process ask for; it exits if they ask for a text alone."""
    register(recipe)
    options, typed = _options(normal(sys.argv[1:], recipe))
    for setting in typed:
        if setting and "=" not in setting and setting[0] != "~":  # the latter is explained where it is composed
            raise ConfigError(bare_word(setting, recipe))
    if HELP & {*options}:
        _end_with(help_text(recipe, _algorithm(typed)))
    jobs = []
    for overrides in _combinations(typed) if MULTIRUN & {*options} else [typed]:
        own, handed_on = split(overrides, recipe)
        jobs.append(Job(overrides, handed_on, compose(recipe, own)))
    texts, folders = [], []
    for job in jobs:
        cfg = in_force(job.cfg)
        if "--cfg" in options:
            texts.append(OmegaConf.to_yaml(cfg, resolve="--resolve" in options))
        if "--cfg" in options and OmegaConf.missing_keys(cfg):
            continue
        if cfg.get("resume") is None:  # else the saved settings hold
            config = build(cfg, recipe)
            if "--cfg" not in options:
                require_checkpoint(config)
            folders.append(cfg.get("run_dir"))
    if texts:
        _end_with("---\n".join(texts))
    if recipe == "train" and len({*folders}) < len(folders):
        way_out = "put what they differ in into run_dir, as in 'run_dir=runs/mine/${algorithm.expectile}'"
        raise ConfigError(f"-m: several of these runs would have the folder {folders[0]}; {way_out}")
    return jobs


def _options(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Options, and settings."""
    options, settings = [], []
    for before, argument, following in zip(["", *arguments], arguments, [*arguments[1:], ""]):
        if (argument == "--cfg" and following != "job") or argument.startswith("--cfg="):
            raise ConfigError("--cfg shows the settings of a run: write --cfg job")
        if argument.startswith("-"):
            if argument not in HELP | {*OPTIONS}:
                way_out = f"settings are written without dashes; options: {', '.join(OPTIONS)}"
                raise ConfigError(f"unknown option {argument!r}; {way_out}")
            options.append(argument)
        elif before != "--cfg":
            settings.append(argument)
    return options, settings


def _combinations(typed: Sequence[str]) -> list[list[str]]:
    """Every combination of the values of settings that have several; those of the last setting change first."""
    choices = {}
    for override in parse([literal(setting, several=True) for setting in typed]):
        key = override.get_key_element()
        if key in choices and (override.is_sweep_override() or len(choices[key]) > 1):
            raise ConfigError(f"{override.input_line}: {key} is given twice")
        if not override.is_sweep_override():
            choices[key] = [override.input_line]
        elif override.value_type in LISTS:
            values = itertools.islice(override.sweep_string_iterator(), MOST_JOBS + 1)
            choices[key] = [f"{key}={value}" for value in values]
        else:
            raise ConfigError(f"{override.input_line}: -m takes lists, as in seed=0,1, choice(...) and range(...)")
    if math.prod(map(len, choices.values())) > MOST_JOBS:
        raise ConfigError(f"-m: these are more than {MOST_JOBS} runs; give the settings fewer values")
    return [[*each] for each in itertools.product(*choices.values())]


def _algorithm(typed: Sequence[str]) -> str:
    """The last algorithm that is chosen, or the default."""
    return ["iql", *(setting.partition("=")[2] for setting in typed if setting.startswith("algorithm="))][-1]


@contextlib.contextmanager
def _refusals(recipe: str, *, last: bool = False) -> Iterator[None]:
    """Around what may find a mistake of the user's."""
    try:
        with interrupt.one_line(last=last):
            yield
    except (OmegaConfBaseException, AgentsError) as error:
        refuse(explain(error, recipe))
    except BrokenPipeError:  # nobody reads the rest of what is printed, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains once more as it exits
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        if error.errno not in NO_PLACE_TO_WRITE:
            raise
        where = f" ({error.filename})" if error.filename else ""
        way_out = "make room, mend its rights or name another place"
        refuse(f"{error.strerror}{where}; {way_out}; what was saved is whole")
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        way_out = "choose a smaller batch_size, smaller networks, or storage=memmap"
        refuse(f"out of memory ({one_line(error)[:200]}); {way_out}; what was saved is whole")


def refuse(message: str) -> NoReturn:
    """Print a mistake of the user's, and exit with the code that says so."""
    print(f"error: {printable(message)}", file=sys.stderr)
    sys.exit(2)


def _one_line_warning(message: Warning | str, category: type[Warning], *place: Any) -> str:
    """A warning for the user, without the line of code that it comes from; one for programmers as Python shows it."""
    if category is UserWarning:
        return f"warning: {printable(' '.join(str(message).split()))}\n"
    return FORMAT_WARNING(message, category, *place)


def show(text: str) -> None:
    """Print a text of which not all may be read, as in ``--help | head``."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    print(text)


def _end_with(text: str) -> NoReturn:
    show(text.rstrip("\n"))
    sys.exit()


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
